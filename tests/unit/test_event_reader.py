"""Reading the events of a stream piece by piece."""

import tracemalloc

import pytest

from ccflare.sse import Event, EventReader

LIMIT = 100
LONG = b"x" * LIMIT


def read(stream: bytes, limit: int = LIMIT) -> list[Event]:
    reader = EventReader(frozenset({b"", b"wanted"}), limit)
    events = reader.feed(stream)
    last = reader.end()
    return [*events, last] if last else events


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"event: wanted\ndata: 1\n\n", [(b"wanted", b"1")]),
        (b"event: wanted\r\ndata: 1\r\n\r\n", [(b"wanted", b"1")]),
        (b"event: wanted\rdata: 1\r\r", [(b"wanted", b"1")]),
        (b"event:wanted\ndata:1\n\n", [(b"wanted", b"1")]),
        (b"data: 1\nevent: wanted\n\n", [(b"wanted", b"1")]),
        (b"event: other\nevent: wanted\ndata: 1\n\n", [(b"wanted", b"1")]),
        (b"event: other\ndata: 1\n\n", [(b"other", None)]),
        (b"data: 1\nevent: other\n\n", [(b"other", None)]),
        (b"event: other\ndata: 1\nevent: wanted\n\n", [(b"wanted", None)]),
        (b"data: 1\n\n", [(b"", b"1")]),
        (b"event:\ndata: 1\n\n", [(b"", b"1")]),
        (b"event: wanted\n\ndata: 1\n\n", [(b"", b"1")]),
        (b"event: wanted\ndata: 1\ndata\ndata:  2 \n\n", [(b"wanted", b"1\n\n 2 ")]),
        (b"event: wanted\ndata\n\n", [(b"wanted", b"")]),
        (b": hi\n\n:\nid: 7\nretry: 5\nnonsense\nevent: wanted\n:\ndata: 1\n\n\n", [(b"wanted", b"1")]),
        (b"\xef\xbb\xbfevent: wanted\ndata: 1\n\n", [(b"wanted", b"1")]),
        (b"\n\xef\xbb\xbfevent: wanted\ndata: 1\n\n", [(b"", b"1")]),
        (b"event: wanted\ndata: 1\n", [(b"wanted", b"1")]),
        (b"event: wanted\ndata: 1", [(b"wanted", b"1")]),
        (b"event: wanted\n", []),
        (b"", []),
        (b"event: wanted\ndata: " + LONG + b"\n\ndata: 2\n\n", [(b"wanted", None), (b"", b"2")]),
        (b"event: wanted\ndata: " + LONG[:50] + b"\ndata: " + LONG[:50] + b"\n\n", [(b"wanted", None)]),
        (b"event: other\ndata: " + LONG + b"\n\nevent: wanted\ndata: 2\n\n", [(b"other", None), (b"wanted", b"2")]),
        (b"event: wanted" + LONG + b"\ndata: 1\n\n", [(b"?", None)]),
        (b"data: 1\nevent: wanted" + LONG + b"\n\n", [(b"?", None)]),
        (b":" + LONG + b"\nevent: wanted\ndata: 1\n\n", [(b"wanted", b"1")]),
    ],
)
def test_events(stream: bytes, events: list[Event]) -> None:
    """Fields, comments, line ends and bounds are read as the standard says, all at once and byte by byte."""
    assert read(stream) == events
    reader = EventReader(frozenset({b"", b"wanted"}), LIMIT)
    one_by_one = [each for byte in stream for each in reader.feed(bytes([byte]))]
    last = reader.end()
    assert [*one_by_one, *([last] if last else [])] == events


@pytest.mark.parametrize("beginning", [b"event: other\ndata: ", b"event: wanted\ndata: ", b"data: ", b"event: ", b": "])
def test_an_endless_line_takes_no_memory(beginning: bytes) -> None:
    """However long a line becomes, and whatever it is, no more than the limit is kept of it."""
    reader = EventReader(frozenset({b"wanted"}), 10_000)
    piece = b"x" * 1000
    reader.feed(beginning)
    tracemalloc.start()
    for _ in range(2000):
        reader.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000
    assert reader.feed(b"\n\nevent: wanted\ndata: 1\n\n")[-1] == (b"wanted", b"1")


def test_an_event_of_endless_lines_takes_no_memory() -> None:
    """The limit counts all lines of an event together."""
    reader = EventReader(frozenset({b""}), 10_000)
    tracemalloc.start()
    for _ in range(5000):
        reader.feed(b"data: " + b"x" * 500 + b"\n")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000
    assert reader.feed(b"\n") == [(b"", None)]
