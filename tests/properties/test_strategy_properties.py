"""Peeking at arbitrary requests, and ordering arbitrary candidates."""

import json
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from ccflare.strategy import named_session, order, peek, session_key

JSON: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 7, "", "text", [], ["x"], {}, {"user_id": "u"}, {"user_id": 1}, {"user_id": "{"}, [[]], [{}]]
    + [[{"role": role, "content": content}] for role in ("user", "x", 1) for content in ("hi", [], [{"text": 5}], 5)]
)
FIELDS = st.sampled_from(["model", "stream", "metadata", "system", "tools", "messages"])
HEADERS = st.lists(
    st.tuples(st.sampled_from([b"X-Claude-Code-Session-Id", b"host"]), st.binary(max_size=8)), max_size=3
)


@dataclass(frozen=True)
class Seat:
    """A candidate."""

    id: str
    priority: int
    bucket: int
    in_flight: int
    idle_rank: int


SEATS = st.lists(
    st.builds(
        Seat,
        st.text("abcdef", min_size=1, max_size=3),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(-2, 0),
    ),
    max_size=8,
    unique_by=lambda seat: seat.id,
)


@settings(deadline=None)
@given(HEADERS, st.binary(max_size=200) | st.dictionaries(FIELDS, JSON).map(lambda d: json.dumps(d).encode()))
def test_every_request_has_a_session(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """No request raises, and the same request always belongs to the same session."""
    key = session_key(peek(b"/v1/messages", named_session(headers), body), "c")
    assert len(key) == 32
    assert key == session_key(peek(b"/v1/messages", named_session(headers), bytearray(body)), "c")


@settings(deadline=None)
@given(st.integers(1, 6), st.booleans(), st.text(max_size=20))
def test_turns_of_a_conversation_share_a_session(turns: int, stream: bool, text: str) -> None:
    """However long a conversation has become, its session is that of its first turn."""
    start = {"model": "m", "messages": [{"role": "user", "content": text}]}
    later = {
        "stream": stream,
        "messages": start["messages"] + [{"role": r, "content": r} for r in ["assistant", "user"] * turns],  # type: ignore[operator]  # test literals
        "model": "m",
    }
    keys = {session_key(peek(b"/v1/messages", None, json.dumps(r).encode()), "c") for r in (start, later)}
    assert len(keys) == 1


@settings(deadline=None)
@given(SEATS, st.randoms(use_true_random=False))
def test_order_is_deterministic(seats: list[Seat], rng: object) -> None:
    """The order does not depend on the order of the input."""
    ordered = order(seats)
    shuffled = list(seats)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert order(shuffled) == ordered


@settings(deadline=None)
@given(SEATS)
def test_bound_only_moves_to_the_front(seats: list[Seat]) -> None:
    """A binding changes nothing but the place of the bound account."""
    for seat in seats:
        ordered = order(seats, seat.id)
        assert ordered[0] == seat
        assert ordered[1:] == [other for other in order(seats) if other != seat]
