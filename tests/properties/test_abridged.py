"""Documents whose long strings are cut, compared with the whole ones."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ccflare.abridged import KEPT_BYTES, abridged

PIECES = st.sampled_from(
    ["words ", "a\\b", "\\", '"', 'say "so" ', "\n", "\t1", "é", "漢字", "\U0001f600", "{}[],:", "12 34, ", "null"]
)  # fmt: skip
LONG = st.tuples(st.lists(PIECES, min_size=1, max_size=4).map("".join), st.integers(1, 3000)).map(
    lambda made: (made[0] * made[1])[:12_000]
)
TEXTS = LONG | st.tuples(LONG, PIECES, LONG, PIECES).map("".join)
SHORT = st.text(max_size=20) | st.integers() | st.booleans() | st.none()
VALUES: st.SearchStrategy[Any] = st.recursive(
    SHORT | TEXTS | st.integers(0, 3000).map(lambda count: [7] * count),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def parsed(document: bytes | bytearray) -> Any:
    # A character may be cut in two.
    return json.loads(document.decode("utf-8", "surrogateescape"))


def assert_cut(short: Any, whole: Any, *, ascii_only: bool) -> None:
    """Assert that a value is another one whose long strings were cut, and that nothing else of it is missing."""
    assert type(short) is type(whole)
    match whole:
        case dict():
            assert list(short) == list(whole)
            for name in whole:
                assert_cut(short[name], whole[name], ascii_only=ascii_only)
        case list():
            assert len(short) == len(whole)
            for one, other in zip(short, whole, strict=True):
                assert_cut(one, other, ascii_only=ascii_only)
        case str() if short != whole:
            assert len(short) < len(whole)
            kept = json.dumps(short, ensure_ascii=ascii_only).encode("utf-8", "surrogateescape")
            assert len(kept) - 2 >= KEPT_BYTES
            assert whole.startswith(short[: KEPT_BYTES // 12])
        case _:
            assert short == whole


@example("plain words " * 300 + "\\", True, None)
@example("plain words " * 300 + '\\"', True, None)
@example("plain words " * 300 + '"', True, None)
@settings(deadline=None, max_examples=300)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_nothing_but_the_middles_of_long_strings_is_missing(value: Any, ascii_only: bool, indent: int | None) -> None:
    """Whatever a document is made of, and however it is written."""
    document = json.dumps({"before": 1, "value": value, "after": "x"}, ensure_ascii=ascii_only, indent=indent).encode()
    short = abridged(document)
    assert_cut(parsed(short), parsed(document), ascii_only=ascii_only)
    assert bytes(abridged(bytearray(document))) == short
    assert len(short) <= len(document)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20) | st.binary(max_size=3).map(lambda some: some * 3000), max_size=5).map(b"".join))
def test_what_is_no_json_raises_nothing(document: bytes) -> None:
    """Any bytes may come."""
    assert len(abridged(document)) <= len(document)
