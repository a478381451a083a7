"""Event streams (WHATWG HTML §9.2.6): lines, fields, events, and whether a stream begins with an error.

Everything works on the bytes that have arrived so far and is right for every split of them: a decision that
has been made is never changed by what follows. Arbitrary bytes never raise.
"""

import re
from collections.abc import Iterator
from typing import TypeAlias

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


Event: TypeAlias = tuple[bytes, bytes | None]
"""Name (`b""` where the stream gives none) and data: None where it was not wanted or longer than the limit."""

_HEAD = 16
"""How much is kept of a line that is not wanted: enough to know its field."""
_NO_DATA = -1
_LOST = -2


class EventReader:
    """Reads the events of a stream from pieces of any size, and keeps the data only of those that are wanted.

    What has no data is no event. Memory is bounded: of the unfinished event and of the unfinished line at most
    `limit` bytes each are kept.
    """

    __slots__ = ("_after_cr", "_begun", "_cut", "_limit", "_line", "_name", "_parts", "_size", "_wanted", "_wanting")

    def __init__(self, wanted: frozenset[bytes], limit: int) -> None:
        self._wanted = wanted
        self._limit = limit
        self._begun = False
        self._after_cr = False
        self._line = bytearray()
        """The unfinished line."""
        self._cut = False
        """Only the head of that line is kept."""
        self._name = b""
        self._wanting = True
        """The unfinished event is wanted as far as is known: its name may come after its data."""
        self._parts: list[bytes] = []
        """The event's data lines, their field names included."""
        self._size = _NO_DATA
        """The length of these."""

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that `piece` completes, in order. Every line end is read as LF."""
        events: list[Event] = []
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if piece.find(b"\r") >= 0:  # `in` would make and forget an error: bytes may be asked for a number
            self._after_cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = piece.split(b"\n")
        rest = lines.pop()
        if lines and (self._line or not self._begun):
            lines[0] = self._complete(lines[0])
        for line in lines:
            if line[:5] == b"data:":
                self._add_data(line)
            elif line:
                self._add_field(line)
            elif self._size != _NO_DATA:
                events.append(self._end_event())
            else:
                self._reset()
        if rest:
            self._hold(rest)
        return events

    def end(self) -> Event | None:
        """Return the event that stands at the end of the stream without the blank line that would complete it."""
        self._after_cr = False
        if self._line:
            self.feed(b"\n")
        return self._end_event() if self._size != _NO_DATA else None

    def _hold(self, rest: bytes) -> None:
        """Keep more of an unfinished line, unless it will not be needed."""
        if self._cut:
            return
        line = self._line
        line += rest
        if len(line) > self._limit or (not self._wanting and line.startswith(b"data:")):
            del line[_HEAD:]
            self._cut = True

    def _complete(self, rest: bytes) -> bytes:
        """Return the line that was unfinished; an empty comment where it was not kept."""
        self._hold(rest)
        line = bytes(self._line)
        self._line.clear()
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if self._cut:
            self._cut = False
            self._add_overlong(line)
            return b":"
        return line

    def _add_data(self, line: bytes) -> None:
        if not self._wanting:
            self._size = _LOST
        elif self._size != _LOST:
            self._size = max(self._size, 0) + len(line)
            if self._size <= self._limit:
                self._parts.append(line)
            else:
                self._lose_data()

    def _add_field(self, line: bytes) -> None:
        """Take a line of another field, or one without a colon."""
        if len(line) > self._limit:
            self._add_overlong(line)
            return
        key, value = field(line)
        if key == b"event":
            self._name = value
            self._wanting = not value or value in self._wanted
            if not self._wanting and self._size != _NO_DATA:
                self._lose_data()
        elif key == b"data":
            self._add_data(b"data:")

    def _add_overlong(self, line: bytes) -> None:
        """Take a line of which no more than its field matters: data is lost, an event's name is no known one."""
        key, _ = field(line)
        if key == b"data":
            self._lose_data()
        elif key == b"event":
            self._name, self._wanting = b"?", False
            if self._size != _NO_DATA:
                self._lose_data()

    def _lose_data(self) -> None:
        self._parts.clear()
        self._size = _LOST

    def _end_event(self) -> Event:
        name, data = self._name, None
        if self._size != _LOST and name in self._wanted:
            data = b"\n".join([field(line)[1] for line in self._parts])
        self._reset()
        return name, data

    def _reset(self) -> None:
        self._name, self._wanting, self._size = b"", True, _NO_DATA
        self._parts.clear()
