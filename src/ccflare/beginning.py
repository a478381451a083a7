"""As much of an upstream answer as its judgement needs, read before anything reaches the client."""

import asyncio

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


_OTHER, _FRAMING, _CONNECTION, _TYPE, _CODING, _LIMIT_STATUS = range(6)
_MEANINGS = dict.fromkeys(HOP_BY_HOP | {b"content-length"}, _FRAMING) | {
    b"connection": _CONNECTION,
    b"content-type": _TYPE,
    b"content-encoding": _CODING,
    STATUS_FIELD: _LIMIT_STATUS,
}


class _Meanings(dict[bytes, int]):
    """What a header name means here, by its spelling: an upstream has the same few in every answer."""

    def __missing__(self, name: bytes) -> int:
        meaning = _MEANINGS.get(name.lower(), _OTHER)
        if len(self) < 1000 and len(name) <= 64:
            self[name] = meaning
        return meaning


_meaning_of = _Meanings()


class Head:
    """What matters of an answer's head, found in one pass over it."""

    __slots__ = ("coding", "end_to_end", "routine", "streamed")

    def __init__(self, headers: Headers) -> None:
        self.streamed = False
        """The body is a stream of server-sent events."""
        self.coding: bytes | None = None
        """`Content-Encoding`."""
        self.routine = True
        """Its limit headers can wait to be read: they do not say that there is no more."""
        self.end_to_end = kept = []
        """What is meant for the client; the framing is written anew."""
        named = False
        for pair in headers:
            meaning = _meaning_of[pair[0]]
            if meaning == _FRAMING:
                continue
            if meaning == _CONNECTION:
                named = True
                continue
            kept.append(pair)
            if meaning == _TYPE:
                self.streamed = pair[1][:17].lower() == b"text/event-stream"
            elif meaning == _CODING:
                self.coding = pair[1]
            elif meaning == _LIMIT_STATUS:
                self.routine = pair[1].strip().lower() == b"allowed"
        if named:
            tokens = connection_tokens(headers) - {b"close", b"keep-alive"}
            self.end_to_end = [pair for pair in kept if pair[0].lower() not in tokens]


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
