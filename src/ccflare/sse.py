"""Event streams (WHATWG HTML §9.2.6): lines, fields, and whether a stream begins with an error.

Everything works on the bytes that have arrived so far and is right for every split of them: a decision that
has been made is never changed by what follows. Arbitrary bytes never raise.
"""

import re
from collections.abc import Iterator

import msgspec

DECIDE_WITHIN = 64 * 1024
"""A stream whose first event is not known after this many bytes is taken for one without an error."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


class FirstEvent(msgspec.Struct, frozen=True):
    """What the first event of a stream is. What an error does not say is None."""

    is_error: bool
    error_type: str | None = None
    message: str | None = None
    code: str | None = None
    """`error.details.error_code`."""


NOT_AN_ERROR = FirstEvent(is_error=False)


def complete_lines(data: bytes | bytearray, start: int = 0) -> Iterator[tuple[bytes, int]]:
    """Yield each line that has its end, without it, and the offset of what follows.

    LF, CR LF and CR end a line. A CR that is the last byte ends its line already; should an LF follow, it
    belongs to that end, so who continues at the offset skips one LF there when the byte before it is a CR.
    """
    while (end := _LINE_END.search(data, start)) is not None:
        yield bytes(data[start : end.start()]), end.end()
        start = end.end()


def field(line: bytes) -> tuple[bytes, bytes]:
    """Split a line into field name and value; a comment has the name `b""`."""
    name, _, value = line.partition(b":")
    return name, value.removeprefix(b" ")


def first_event(data: bytes | bytearray, *, ended: bool = False) -> FirstEvent | None:
    """Decide from the beginning of an event stream whether its first event is an `error`.

    None: not decidable yet. With `ended` there is no more to come, and what is there decides. A named event
    other than `error` decides with its `event` line; an error needs its whole data.
    """
    overlong = len(data) > DECIDE_WITHIN
    if overlong:
        data = data[:DECIDE_WITHIN]
    name = b""
    parts: list[bytes] = []
    start = len(_BOM) if data.startswith(_BOM) else 0
    consumed = start
    for line, after in complete_lines(data, start):
        consumed = after
        if not line:
            if parts:
                return _decide(name, parts)
            name = b""
            continue
        key, value = field(line)
        if key == b"event":
            name = value
            if name not in {b"", b"error"}:
                return NOT_AN_ERROR
        elif key == b"data":
            parts.append(value)
    if overlong:
        return NOT_AN_ERROR
    return _decide_ended(name, parts, bytes(data[consumed:])) if ended else None


def _decide_ended(name: bytes, parts: list[bytes], rest: bytes) -> FirstEvent:
    key, value = field(rest)
    if key == b"data":
        parts = [*parts, value]
    return _decide(name, parts) if parts else NOT_AN_ERROR


def _decide(name: bytes, parts: list[bytes]) -> FirstEvent:
    data = b"\n".join(parts)
    kind, *error = _read(data)
    if name != b"error" and kind != "error":
        return NOT_AN_ERROR
    return FirstEvent(True, *error)


def read_error(body: bytes | bytearray) -> tuple[str | None, str | None, str | None]:
    """Return type, message and `details.error_code` of a JSON error; None for each that is not there.

    Reads the API's shape `{"type": "error", "error": {...}}` and OAuth's `{"error": "...",
    "error_description": "..."}`.
    """
    _, error_type, message, code = _read(body)
    return error_type, message, code


def _read(body: bytes | bytearray) -> tuple[str | None, str | None, str | None, str | None]:
    """Return the outer `type`, then what `read_error` returns."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None, None, None
    if not isinstance(document, dict):
        return None, None, None, None
    error = document.get("error")
    if isinstance(error, str):
        return _text(document.get("type")), error, _text(document.get("error_description")), None
    if not isinstance(error, dict):
        return _text(document.get("type")), None, None, None
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return _text(document.get("type")), _text(error.get("type")), _text(error.get("message")), _text(code)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
