"""A body told by another one is the same again, whatever the two are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccflare.store.difference import MOST_PIECES, difference, restored

TEXT = st.binary(max_size=80) | st.integers(0, 3000).map(lambda size: b"ab" * size)
EDIT = st.tuples(st.integers(0, 4000), st.integers(0, 600), TEXT)


@given(base=TEXT, body=TEXT)
def test_any_body_can_be_told_by_any_other(base: bytes, body: bytes) -> None:
    """Also by an empty one, and by one that has nothing in common with it."""
    pieces, fresh = difference(base, body)
    assert restored(base, pieces, fresh) == body


@given(base=st.lists(TEXT, max_size=30).map(b"".join), edits=st.lists(EDIT, max_size=6))
def test_what_was_changed_in_some_places_is_told_by_them(base: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    """However texts are taken out and put in; the pieces are few."""
    body = bytearray(base)
    for at, length, text in edits:
        body[at : at + length] = text
    pieces, fresh = difference(base, bytes(body))
    assert restored(base, pieces, fresh) == bytes(body)
    assert len(pieces) <= MOST_PIECES


@pytest.mark.parametrize(
    ("pieces", "fresh"),
    [([(0, 9, 0)], b""), ([(-1, 2, 0)], b""), ([(0, 4, 2)], b"x"), ([(0, 4, 0)], b"x"), ([(2, -1, 1)], b"x")],
)
def test_pieces_that_do_not_fit_are_an_error(pieces: list[tuple[int, int, int]], fresh: bytes) -> None:
    """Beyond the base, before it, or with another number of new bytes."""
    with pytest.raises(ValueError, match=r"piece|bytes"):
        restored(b"base", pieces, fresh)
