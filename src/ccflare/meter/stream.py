"""The event stream of a message (Messages API, "Streaming"; the older Text Completions as well)."""

from ccflare.meter.objects import MOST_SHOWN, Finder
from ccflare.meter.said import NOTHING, Document, Said, read_document
from ccflare.sse import EventReader, read_error

EVENT_BYTES = 1 << 20
"""A longer event is skipped. Those that tell of usage are below 2 KB."""

_CONTENT = frozenset({b"content_block_delta", b"content_block_start"})
_UNNAMED = frozenset({b"", b"message"})
"""No name, and the name that means none: the data's `type` decides."""
_WANTED = _UNNAMED | {b"message_start", b"message_delta", b"message_stop", b"error", b"completion"}
_READ = _WANTED | {b"content_block_start"}
"""A block that begins may be a result of code execution, which names the files that were written."""


class StreamMeter:
    """Reads events. Content is only counted as such: its data is neither kept nor decoded."""

    __slots__ = (
        "_events", "_find", "_now", "_said", "error", "finished", "first_content_at", "last_content_at", "objects",
    )  # fmt: skip

    def __init__(self, said: Said, find: Finder | None = None) -> None:
        self._events = EventReader(_WANTED if find is None else _READ, EVENT_BYTES)
        self._find = find
        self._said = said
        self._now = 0.0
        self.finished = False
        self.error: tuple[str | None, str | None] | None = None
        """Type and message of the first error event."""
        self.first_content_at: float | None = None
        self.last_content_at: float | None = None
        self.objects: dict[str, None] = {}
        """Ids of the objects that were shown."""

    def feed(self, data: bytes, now: float) -> None:
        """Take more of the decoded stream."""
        self._now = now
        for name, payload in self._events.feed(data):
            if name in _CONTENT:
                self._note_content()
                if payload is not None:
                    self._look(payload)
            elif name in _WANTED:
                self._take(name, payload)

    def end(self) -> None:
        """Take the event whose blank line is missing at the end: it counts when its data is whole."""
        name, payload = self._events.end() or (b"", None)
        if name in _WANTED and payload is not None and read_document(payload) is not None:
            self._take(name, payload)

    def _note_content(self) -> None:
        self.last_content_at = self._now
        if self.first_content_at is None:
            self.first_content_at = self._now

    def _look(self, payload: bytes) -> None:
        """Look for objects in the data of an event."""
        if self._find is not None and (found := self._find(payload)) and len(self.objects) < MOST_SHOWN:
            self.objects.update(dict.fromkeys(found[:MOST_SHOWN]))

    def _take(self, name: bytes, payload: bytes | None) -> None:
        """Take an event by its name, or by the type that its data has where there is no name."""
        document = None if payload is None else read_document(payload)
        if document is None:
            what = name.decode("ascii", "replace") or "an event"
            self._said.skip(f"{what} is too long" if payload is None else f"{what} is not a JSON object")
            document = NOTHING
        elif name in _UNNAMED:
            name = document.type.encode() if isinstance(document.type, str) else b""
        if payload is not None:
            self._look(payload)
        if name in _CONTENT:
            self._note_content()
        elif name == b"message_stop":
            self.finished = True
        elif name == b"error":
            self._take_error(payload or b"")
        else:
            self._take_document(name, document)

    def _take_error(self, payload: bytes) -> None:
        if self.error is None:
            error_type, message, _ = read_error(payload)
            self.error = error_type, message

    def _take_document(self, name: bytes, document: Document) -> None:
        """Take what an event says of its message. Only the completions of the older API end by their stop reason."""
        said = self._said
        if name == b"message_start" and isinstance(document.message, dict):
            message = document.message
            said.take_message(message.get("model"), message.get("stop_reason"), message.get("usage"))
        elif name == b"message_delta":
            delta = document.delta
            said.take_message(None, delta.get("stop_reason") if isinstance(delta, dict) else None, document.usage)
        elif name == b"completion":
            said.take_message(document.model, document.stop_reason, document.usage)
            self.finished |= document.stop_reason is not None
