"""The first event of a stream."""

import pytest

from ccflare.sse import DECIDE_WITHIN, FirstEvent, complete_lines, field, first_event, read_error

OVERLOADED = b'{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"}}'
ERROR = FirstEvent(True, "overloaded_error", "Overloaded", None)
FINE = FirstEvent(False)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"event: message_start\n", FINE),
        (b"event:message_start\r", FINE),
        (b"event: ping\r\n", FINE),
        (b"event: message_start", None),
        (b"event: error\n", None),
        (b"event: error\ndata: " + OVERLOADED + b"\n", None),
        (b"event: error\ndata: " + OVERLOADED + b"\n\n", ERROR),
        (b"event: error\r\ndata: " + OVERLOADED + b"\r\n\r\n", ERROR),
        (b"event: error\rdata: " + OVERLOADED + b"\r\r", ERROR),
        (b"event:error\ndata:" + OVERLOADED + b"   \n\n", ERROR),
        (b"\xef\xbb\xbfevent: error\ndata: " + OVERLOADED + b"\n\n", ERROR),
        (b"\xef\xbb", None),
        (b": hello\n\n:\nevent: error\ndata: " + OVERLOADED + b"\n\n", ERROR),
        (b"id: 1\nretry: 5\nnonsense\nevent: error\ndata: " + OVERLOADED + b"\n\n", ERROR),
        (b"data: " + OVERLOADED + b"\n\n", ERROR),
        (b"data: " + OVERLOADED + b"\n", None),
        (b'data: {"type":"message_start"}\n\n', FINE),
        (b"data: [DONE]\n\n", FINE),
        (b"data\n\n", FINE),
        (b"event\ndata: " + OVERLOADED + b"\n\n", ERROR),
        (b"event: error\n\nevent: message_start\n", FINE),
        (b'event: error\n\ndata: {"type":"ping"}\n\n', FINE),
        (
            b'event: error\ndata: {"type":"error",\ndata: "error":{"type":"api_error"}}\n\n',
            FirstEvent(True, "api_error"),
        ),
        (b"event: error\ndata: not json\n\n", FirstEvent(True)),
        (b'event: error\ndata: {"error": 7}\n\n', FirstEvent(True)),
        (b'event: error\ndata: {"error": {"type": 1, "message": []}}\n\n', FirstEvent(True)),
        (b" event: message_start\n", None),
        (b"", None),
    ],
)
def test_first_event(data: bytes, expected: FirstEvent | None) -> None:
    """Lines, fields, comments, line ends and the byte order mark are read as the standard says."""
    assert first_event(data) == expected
    assert first_event(bytearray(data)) == expected


def test_error_code_is_found() -> None:
    """The code in the error's details is part of the answer."""
    data = b'event: error\ndata: {"error":{"type":"rate_limit_error","details":{"error_code":"spent"}}}\n\n'
    assert first_event(data) == FirstEvent(True, "rate_limit_error", None, "spent")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", FINE),
        (b"event: error\n", FINE),
        (b"event: error\ndata: " + OVERLOADED, ERROR),
        (b"event: error\ndata: " + OVERLOADED + b"\n", ERROR),
        (b"data: " + OVERLOADED, ERROR),
        (b"event: error\ndata: half a", FirstEvent(True)),
    ],
)
def test_end_of_the_stream_decides(data: bytes, expected: FirstEvent) -> None:
    """When there is no more to come, what is there decides."""
    assert first_event(data, ended=True) == expected


def test_gives_up_after_a_bounded_number_of_bytes() -> None:
    """A stream of comments alone is decided in the end, and an error behind the bound is not looked for."""
    comments = b": keep-alive\n" * (DECIDE_WITHIN // 13 + 1)
    assert first_event(comments[:DECIDE_WITHIN]) is None
    assert first_event(comments) == FINE
    assert first_event(comments + b"event: error\ndata: " + OVERLOADED + b"\n\n") == FINE


def test_lines_resume_at_the_offset() -> None:
    """Lines and offsets allow a reader to go on where it stopped."""
    assert list(complete_lines(b"a\nb\r\nc\rd")) == [(b"a", 2), (b"b", 5), (b"c", 7)]
    assert list(complete_lines(b"a\nb\n", 2)) == [(b"b", 4)]


def test_fields() -> None:
    """One space after the colon belongs to the syntax, a second one to the value."""
    assert field(b"data:  x:y") == (b"data", b" x:y")
    assert field(b": note") == (b"", b"note")
    assert field(b"data") == (b"data", b"")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (OVERLOADED, ("overloaded_error", "Overloaded", None)),
        (b'{"error":"invalid_grant","error_description":"gone"}', ("invalid_grant", "gone", None)),
        (b'{"error":{"details":{"error_code":"x"}}}', (None, None, "x")),
        (b"<html>", (None, None, None)),
        (b"", (None, None, None)),
        (b"[1]", (None, None, None)),
        (b'"\xff"', (None, None, None)),
        (b"[" * 100_000, (None, None, None)),
    ],
)
def test_error_bodies(body: bytes, expected: tuple[str | None, str | None, str | None]) -> None:
    """Error bodies of every kind are read as far as they can be, and never raise."""
    assert read_error(body) == expected
