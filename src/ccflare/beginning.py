"""As much of an upstream answer as its judgement needs, read before anything reaches the client."""

import asyncio
from collections.abc import Iterable

from ccflare.coding import decoder
from ccflare.errors import TransportError
from ccflare.limits import STATUS_FIELD
from ccflare.sse import NOT_AN_ERROR, FirstEvent, first_event, read_error
from ccflare.transport import Response
from ccflare.wire import HOP_BY_HOP, Headers, connection_tokens

ERROR_BODY_BYTES = 64 * 1024
"""How much of an error's body is read before it is judged."""
ERROR_BODY_S = 5.0
"""How long that may take."""
REFUSED_BODY_S = 0.5
"""How long the rest of an answer that is not delivered for now is waited for."""
FIRST_EVENT_S = 10.0
"""How long a stream that has begun is held back until its first event is whole."""
FIRST_EVENT_BYTES = 128 * 1024
"""How much decoded text a first event may take before the stream is taken for one without an error."""


_DROPPED = HOP_BY_HOP | {b"content-length"}
_known: dict[tuple[bytes, ...], "_Places"] = {}
"""By the names of a head in their order: an upstream has the same few orders in all of its answers."""
_MOST_KNOWN = 256
_LONGEST_KNOWN_BYTES = 4096


class _Places:
    """Where the fields of a head stand that mean something here: it depends on the names alone.

    Of a repeated field the last one counts. None: there is no such field.
    """

    __slots__ = ("coding", "connection", "content_type", "dropped", "limits")

    def __init__(self, names: Iterable[bytes]) -> None:
        lower = [name.lower() for name in names]
        last = {name: at for at, name in enumerate(lower)}
        self.content_type = last.get(b"content-type")
        self.coding = last.get(b"content-encoding")
        self.limits = last.get(STATUS_FIELD)
        self.connection = [at for at, name in enumerate(lower) if name == b"connection"]
        self.dropped = [at for at, name in enumerate(lower) if name in _DROPPED][::-1]
        """From the last to the first."""


def _places(names: tuple[bytes, ...]) -> _Places:
    places = _known.get(names)
    if places is None:
        places = _Places(names)
        if sum(map(len, names)) <= _LONGEST_KNOWN_BYTES:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[names] = places
    return places


class Head:
    """What matters of an answer's head; `names` are those of its fields."""

    __slots__ = ("coding", "end_to_end", "routine", "streamed")

    def __init__(self, headers: Headers, names: tuple[bytes, ...]) -> None:
        places = _places(names)
        content_type, coding, limits = places.content_type, places.coding, places.limits
        self.streamed = content_type is not None and headers[content_type][1][:17].lower() == b"text/event-stream"
        """The body is a stream of server-sent events."""
        self.coding = None if coding is None else headers[coding][1]
        """`Content-Encoding`."""
        self.routine = limits is None or headers[limits][1].strip().lower() == b"allowed"
        """Its limit headers can wait to be read: they do not say that there is no more."""
        self.end_to_end = headers.copy()
        """What is meant for the client; the framing is written anew."""
        for at in places.dropped:
            del self.end_to_end[at]
        if places.connection:
            tokens = connection_tokens([headers[at] for at in places.connection]) - {b"close", b"keep-alive"}
            if tokens:
                self.end_to_end = [pair for pair in self.end_to_end if pair[0].lower() not in tokens]


async def read_error_body(response: Response, coding: bytes | None) -> tuple[bytes, FirstEvent]:
    """Read the body of an error, or the beginning of a long or slow one, and what error it tells of.

    Raises TransportError when it is cut.
    """
    body, _ = await _read_on(response, b"", ERROR_BODY_S)
    plain = decoder(coding, ERROR_BODY_BYTES)
    if plain is None:
        return body, NOT_AN_ERROR
    return body, FirstEvent(True, *read_error(plain.feed(body)))


async def read_first_event(response: Response, coding: bytes | None) -> tuple[bytes, FirstEvent]:
    """Read an event stream until it is known whether it begins with an error. Raises TransportError when it is cut.

    A stream that has begun, with comments for example, is not held back longer than `FIRST_EVENT_S`.
    """
    plain = decoder(coding, FIRST_EVENT_BYTES)
    if plain is None:
        return b"", NOT_AN_ERROR
    parts = [await response.read()]
    text = bytearray()
    clock = asyncio.get_running_loop().time
    give_up = clock() + FIRST_EVENT_S
    while part := parts[-1]:
        text += plain.feed(part)
        event = first_event(text)
        if event is not None or plain.broken:
            return b"".join(parts), event or NOT_AN_ERROR
        more = await response.read_within(max(0.0, give_up - clock()))
        if more is None:
            return b"".join(parts), NOT_AN_ERROR
        parts.append(more)
    return b"".join(parts), first_event(text, ended=True) or NOT_AN_ERROR


async def read_whole(response: Response, beginning: bytes) -> bytes | None:
    """Read a refused answer to its end; None when it is long, slow or cut."""
    try:
        body, ended = await _read_on(response, beginning, REFUSED_BODY_S)
    except TransportError:
        return None
    return body if ended else None


async def _read_on(response: Response, body: bytes, seconds: float) -> tuple[bytes, bool]:
    """Read until the end, `ERROR_BODY_BYTES` or some seconds, whichever comes first; True: that was the end."""
    parts, size = [body], len(body)
    clock = asyncio.get_running_loop().time
    give_up = clock() + seconds
    while size < ERROR_BODY_BYTES:
        part = await response.read_within(max(0.0, give_up - clock()))
        if not part:
            return b"".join(parts), part is not None
        parts.append(part)
        size += len(part)
    return b"".join(parts), False
