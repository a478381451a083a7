"""Event streams for every split of the bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccflare.sse import first_event, read_error

LINES = st.sampled_from(
    [
        b"event: error",
        b"event: message_start",
        b"event:",
        b'data: {"type":"error","error":{"type":"api_error","message":"m"}}',
        b'data: {"type":"ping"}',
        b"data:",
        b": comment",
        b"",
        b"",
        b"id: 1",
        b"\xef\xbb\xbf",
        b"nonsense \xff",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda lines: b"".join(a + b for a, b in lines))


@settings(deadline=None)
@given(STREAMS)
def test_a_decision_is_never_changed_by_what_follows(stream: bytes) -> None:
    """Reading byte by byte ends in the decision that reading all at once makes, and sticks to it."""
    decided = None
    for end in range(len(stream) + 1):
        now = first_event(stream[:end])
        if decided is not None:
            assert now == decided
        decided = now
    assert decided == first_event(stream)


@settings(deadline=None)
@given(STREAMS, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_line_ends_do_not_matter(stream: bytes, end: bytes) -> None:
    """The same lines with other line ends give the same decision."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert first_event(lines.replace(b"\n", end)) == first_event(lines)


@settings(deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes_never_raise(data: bytes, ended: bool) -> None:
    """Whatever upstream sends, there is an answer; at the end there is a decision."""
    decision = first_event(data, ended=ended)
    assert decision is not None or not ended
    read_error(data)


@pytest.mark.parametrize("split", range(90))
def test_an_error_is_found_however_it_arrives(split: int) -> None:
    """An error event is undecided until its last byte and an error from then on."""
    stream = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"o"}}\n\n'
    assert first_event(stream[: min(split, len(stream) - 1)]) is None
    decision = first_event(stream)
    assert decision is not None
    assert decision.is_error
