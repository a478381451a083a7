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
_MEANT = _DROPPED | {b"content-type", b"content-encoding", STATUS_FIELD}
_others: set[bytes] = set()
"""Names, by their spelling, that mean nothing here: an upstream has the same few in every answer."""
_MOST_OTHERS = 1000
_LONGEST_OTHER = 64


def _note_others(names: Iterable[bytes]) -> None:
    for name in names:
        if name.lower() not in _MEANT and len(name) <= _LONGEST_OTHER and len(_others) < _MOST_OTHERS:
            _others.add(name)


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
        # One look into a set for each field; of some thirty, three or four mean something.
        told = [pair for pair in headers if pair[0] not in _others]
        dropped: set[bytes] = set()
        named = False
        for name, value in told:
            lower = name.lower()
            if lower in _DROPPED:
                dropped.add(name)
                named |= lower == b"connection"
            elif lower == b"content-type":
                self.streamed = value[:17].lower() == b"text/event-stream"
            elif lower == b"content-encoding":
                self.coding = value
            elif lower == STATUS_FIELD:
                self.routine = value.strip().lower() == b"allowed"
            else:
                _note_others((name,))
        self.end_to_end = [pair for pair in headers if pair[0] not in dropped]
        """What is meant for the client; the framing is written anew."""
        if named:
            tokens = connection_tokens(told) - {b"close", b"keep-alive"}
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
