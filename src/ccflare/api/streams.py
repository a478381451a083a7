"""Server-sent events: what a feed tells, as long as somebody listens (WHATWG HTML §9.2).

A listener holds a position in the feed and nothing else: one that reads slowly learns by a `gap` event how much it has
missed, and one that does not read at all is let go. Silence is filled by a comment, so that no one between takes it
for an end. Whatever the traffic, a listener costs a few writes a second, and an event is encoded once for all.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Annotated, Generic, NamedTuple, TypeVar

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ccflare.api.json import encode
from ccflare.api.refusals import InvalidRequest, TooMany
from ccflare.feed import GAP, Event, Feed

T = TypeVar("T")

After = Annotated[int, Meta(ge=0, le=10**17, description="Go on behind the event with this id.")]

AT_MOST = 64
HEARTBEAT_S = 15.0
LOOK_S = 0.5
"""How often it is seen whether the listener still has the right to listen."""
RETRY_MS = 2000
"""When a browser tries again after the end of a stream."""
STALLED_S = 60.0
"""How long a listener may leave what was sent unread."""
PAUSE_S = 0.1
"""Between two writes to one listener, on average."""
MOST_AT_ONCE = 250
"""Events in one write: 2,500 a second reach a listener; of more it hears that it missed some."""
_REMEMBERED = 1024
STATE_EVERY_S = 0.25
"""How soon a new state is told."""


@dataclass(slots=True)
class Streams:
    """The streams that are open. `heartbeat_s`: how often a silent one shows that it lives."""

    at_most: int = field(default_factory=lambda: AT_MOST)
    heartbeat_s: float = field(default_factory=lambda: HEARTBEAT_S)
    open: int = 0
    encoded: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """The latest events by feed and id."""


class State(NamedTuple):
    """How something stands, as an event without an id: of states only the newest matters, and none is missed."""

    number: int
    """Another one with every change."""
    text: bytes
    """The whole event."""


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """What one listener hears: the events of a feed behind `after`, each as `shown` makes it."""

    feed: Feed
    shown: Callable[[Event], T]
    after: int | None = None
    wanted: Callable[[Event], bool] = lambda _event: True
    state: Callable[[], State] | None = None
    """What is told at the beginning, and whenever it has changed."""


class EventStream(Response):
    """Sends a stream until its feed closes or the listener leaves."""

    media_type = "text/event-stream"

    def __init__(
        self, streams: Streams, request: Request, stream: "Stream[object]", allowed: Callable[[], bool]
    ) -> None:
        """Take a place. The stream ends when its listener is not `allowed` any more.

        Raises TooMany when there is no place, InvalidRequest for an id that is no number.
        """
        if streams.open >= streams.at_most:
            raise TooMany(f"{streams.at_most} streams are open already")
        self._streams = streams
        self._stream = stream
        self._allowed = allowed
        after = _last_event_id(request, stream.after)
        self._start = b"" if after is not None else b"id: %d\nevent: start\ndata: {}\n\n" % stream.feed.last_id
        self._events = stream.feed.follow(after)
        self._state: int | None = None
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send everything there is, then what comes."""
        self._streams.open += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await self._tell(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.open -= 1

    async def _tell(self, send: Send) -> None:
        try:
            async for text in self._texts():
                async with asyncio.timeout(STALLED_S):
                    await send({"type": "http.response.body", "body": text, "more_body": True})
        except TimeoutError:
            return  # nobody reads: the end is written behind what waits, and the connection has its own deadlines

    async def _texts(self) -> AsyncIterator[bytes]:
        yield (b"retry: %d\n\n" % RETRY_MS) + self._start + self._new_state()
        now = asyncio.get_running_loop().time
        beat_at = now() + self._streams.heartbeat_s
        while self._allowed():
            texts = await self._next(min(beat_at, now() + (STATE_EVERY_S if self._stream.state else LOOK_S)))
            if texts is None or not self._allowed():
                return
            text = b"".join(texts) + self._new_state()
            if text or now() >= beat_at:
                yield text or b": still here\n\n"
                beat_at = now() + self._streams.heartbeat_s
                await asyncio.sleep(PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311  # so that not all wake together

    def _new_state(self) -> bytes:
        """Return the state where it is another than the one told last."""
        if self._stream.state is None:
            return b""
        number, text = self._stream.state()
        known, self._state = self._state, number
        return b"" if number == known else text

    async def _next(self, due: float) -> list[bytes] | None:
        """Return what has happened, nothing when `due` has come (loop time), None at the end."""
        texts: list[bytes] = []
        try:
            async with asyncio.timeout_at(due) as waiting:
                while len(texts) < MOST_AT_ONCE:
                    event = await anext(self._events)
                    if event.kind == GAP or self._stream.wanted(event):
                        if not texts:
                            waiting.reschedule(0)  # from now on only what is there already
                        texts.append(self._text(event))
        except TimeoutError:
            return texts
        except StopAsyncIteration:
            return texts or None
        return texts

    def _text(self, event: Event) -> bytes:
        key = id(self._stream.feed), event.id
        text = self._streams.encoded.get(key) if event.kind != GAP else None
        if text is None:
            shown = {"missed": event.thing} if event.kind == GAP else self._stream.shown(event)
            text = b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.kind.encode(), encode(shown))
            if event.kind != GAP:
                self._keep(key, text)
        return text

    def _keep(self, key: tuple[int, int], text: bytes) -> None:
        if len(self._streams.encoded) >= _REMEMBERED:
            self._streams.encoded.clear()
        self._streams.encoded[key] = text


def _last_event_id(request: Request, asked: int | None) -> int | None:
    """Return the id to go on behind: a browser that connects again says it, and knows better than the address."""
    text = request.headers.get("last-event-id", "")
    if not text:
        return asked
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidRequest("last-event-id", "expected the id of an event")
    return int(text)
