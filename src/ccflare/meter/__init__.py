"""Reads usage and objects' ids out of an answer while it passes: on the side, in any coding, right for every split.

The one rule: metering never touches an exchange. It never raises, its memory is bounded, and what it cannot read is
null in the end, with a word about why.
"""

import msgspec

from ccflare.coding import decoder
from ccflare.meter.body import Outline
from ccflare.meter.objects import MATCH_BYTES, Finder, Sightings
from ccflare.meter.said import NOTHING, Said, read_document, read_message
from ccflare.meter.stream import EVENT_BYTES, StreamMeter
from ccflare.sse import read_error
from ccflare.usage import NOT_SAID, Usage

__all__ = ["EVENT_BYTES", "MATCH_BYTES", "OUTLINE_BYTES", "PLAIN_BYTES", "Finder", "Meter", "Metered", "Sightings"]

PLAIN_BYTES = 64 << 20
"""A compressed answer is read up to this length: a small one could stand for any amount of memory."""
OUTLINE_BYTES = 1 << 20
"""How much of a JSON body is kept besides its arrays."""
_IDENTITY = b"identity"
SHORT_BYTES = 16 * 1024
MIN_SPEED_S = 0.001
"""Content that came within less came at once: its speed would be that of a buffer."""


class Metered(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer told, as far as it came."""

    streamed: bool
    complete: bool
    """The body came to its end; else upstream or the client broke it off."""
    usage: Usage = NOT_SAID
    readable: bool = True
    """False: the coding is not known or broken, or the body is too long, so nothing can be said about the rest."""
    finished: bool = False
    """The message ended by itself: `message_stop`, or a whole JSON body."""
    has_error: bool = False
    """A stream had an `error` event, or the body is an error."""
    error_type: str | None = None
    error_message: str | None = None
    first_content_at: float | None = None
    """Instant of the first content of a stream, in the time given to `Meter.feed`."""
    last_content_at: float | None = None
    objects: tuple[str, ...] = ()
    """Ids of the upstream objects that the message shows: its container, files that its code has written."""
    problem: str | None = None
    """The first thing that could not be read, for the log; no text of the answer is in it."""
    skipped: int = 0
    """How many things could not be."""

    @property
    def failure(self) -> str | None:
        """Why an answer with a good status is no success; None when it is one, or when that cannot be known."""
        if self.has_error:
            return f"{self.error_type or 'error'}: {self.error_message or ''}".rstrip(": ")
        if self.streamed and self.readable and not self.finished:
            return "truncated stream"
        return None if self.complete else "truncated answer"

    @property
    def output_tokens_per_second(self) -> float | None:
        """Output tokens over the time from the first content to the last; None where there is no such time."""
        first, last, tokens = self.first_content_at, self.last_content_at, self.usage.output_tokens
        if first is None or last is None or not tokens or last - first < MIN_SPEED_S:
            return None
        return tokens / (last - first)


class Meter:
    """Meters one answer. `coding` is its `Content-Encoding`, `streamed` says that it is an event stream.

    `find` reads the ids of objects out of the text of a message; without it none are looked for.
    """

    __slots__ = ("_body", "_coding", "_decoder", "_find", "_known", "_said", "_short", "_sightings", "_stream")

    def __init__(self, *, streamed: bool, coding: bytes | None, find: Finder | None = None) -> None:
        self._coding = _IDENTITY if coding is None else coding.strip().lower()
        self._decoder = None if self._coding == _IDENTITY else decoder(self._coding, PLAIN_BYTES)
        self._known = self._decoder is not None or self._coding == _IDENTITY
        self._said = Said()
        self._find = find
        self._stream = StreamMeter(self._said, find) if streamed else None
        self._short = b""
        """A body that came in one short piece, as most do: it is decoded as it is."""
        self._body: Outline | None = None
        self._sightings: Sightings | None = None

    def feed(self, data: bytes, now: float) -> None:
        """Take the next piece of the answer, as it is on the wire, that came at `now` (seconds of any clock)."""
        if self._decoder is not None:
            data = self._decoder.feed(data)
        elif not self._known:
            return
        if self._stream is not None:
            self._stream.feed(data, now)
        elif self._body is not None:
            self._feed_body(self._body, data)
        elif self._short or len(data) > SHORT_BYTES:
            self._body = Outline(OUTLINE_BYTES)
            self._feed_body(self._body, self._short + data)
        else:
            self._short = data

    def _feed_body(self, body: Outline, data: bytes) -> None:
        """Take a piece of a long body, whose content is not kept."""
        body.feed(data)
        if self._find is not None:
            if self._sightings is None:
                self._sightings = Sightings(self._find)
            self._sightings.feed(data)

    def end(self, *, complete: bool) -> Metered:
        """Return what was told. `complete`: the body came to its end. To be called once, behind the last piece."""
        readable = self._readable()
        if self._stream is not None:
            return self._end_stream(self._stream, complete=complete, readable=readable)
        return self._end_body(complete=complete, readable=readable)

    def _readable(self) -> bool:
        if self._known and self._decoder is None and self._body is None:
            return True
        coding = self._coding[:40].decode("ascii", "replace")
        if not self._known:
            self._said.skip(f"the coding {coding!r} is not known")
        elif self._decoder is not None and self._decoder.broken:
            self._said.skip(f"the {coding} coding is broken, or there is too much of it")
        elif self._body is not None and self._body.overlong:
            self._said.skip("the body is too long")
        else:
            return True
        return False

    def _end_stream(self, stream: StreamMeter, *, complete: bool, readable: bool) -> Metered:
        stream.end()
        error_type, message = stream.error or (None, None)
        return Metered(
            streamed=True,
            complete=complete,
            usage=self._said.usage(),
            readable=readable,
            finished=stream.finished,
            has_error=stream.error is not None,
            error_type=error_type,
            error_message=message,
            first_content_at=stream.first_content_at,
            last_content_at=stream.last_content_at,
            objects=tuple(stream.objects),
            problem=self._said.problem,
            skipped=self._said.skipped,
        )

    def _end_body(self, *, complete: bool, readable: bool) -> Metered:
        text = b""
        if readable:
            text = self._short if self._body is None else self._body.text()
        usage = read_message(text)
        if usage is not None:
            return Metered(streamed=False, complete=complete, usage=usage, finished=complete, objects=self._objects())
        document = read_document(text)
        if document is None:
            if complete and text:
                self._said.skip("the body is not a JSON object")
            document = NOTHING
        self._said.take_message(document.model, document.stop_reason, document.usage)
        has_error = document.type == "error" or document.error is not None
        error_type, message, _ = read_error(text) if has_error else (None, None, None)
        return Metered(
            streamed=False,
            complete=complete,
            usage=self._said.usage(),
            readable=readable,
            finished=complete and document is not NOTHING,
            has_error=has_error,
            error_type=error_type,
            error_message=message,
            objects=self._objects(),
            problem=self._said.problem,
            skipped=self._said.skipped,
        )

    def _objects(self) -> tuple[str, ...]:
        if self._find is None:
            return ()
        if self._sightings is not None:
            return self._sightings.end()
        found = self._find(self._short)
        return tuple(dict.fromkeys(found)) if found else ()
