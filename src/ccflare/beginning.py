"""As much of an upstream answer as its judgement needs, read before anything reaches the client."""

import asyncio

from ccflare.coding import decoder
from ccflare.errors import TransportError
from ccflare.sse import NOT_AN_ERROR, FirstEvent, first_event, read_error
from ccflare.transport import HeaderSection, Response

ERROR_BODY_BYTES = 64 * 1024
"""How much of an error's body is read before it is judged."""
ERROR_BODY_S = 5.0
"""How long that may take."""
REFUSED_BODY_S = 0.5
"""How long the rest of an answer that is not delivered for now is waited for."""
REFUSED_BODY_BYTES = 1024 * 1024
"""How long such an answer may be."""
FIRST_EVENT_S = 0.08
"""How long a stream that has begun is held back until its first event is whole."""
FIRST_EVENT_BYTES = 128 * 1024
"""How much decoded text a first event may take before the stream is taken for one without an error."""


def is_stream(section: HeaderSection) -> bool:
    """Say whether the body is a stream of server-sent events."""
    kind = section.content_type
    return kind is not None and kind[:17].lower() == b"text/event-stream"


def is_routine(section: HeaderSection) -> bool:
    """Say whether the limits in it can wait to be read: they do not say that there is no more."""
    status = section.limit_status
    return status is None or status.strip().lower() == b"allowed"


async def read_error_body(response: Response, coding: bytes | None) -> tuple[bytes, FirstEvent]:
    """Read the body of an error, or the beginning of a long or slow one, and what error it tells of.

    Raises TransportError when it is cut.
    """
    body, _ = await _read_on(response, b"", ERROR_BODY_S, ERROR_BODY_BYTES)
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
        body, ended = await _read_on(response, beginning, REFUSED_BODY_S, REFUSED_BODY_BYTES)
    except TransportError:
        return None
    return body if ended else None


async def _read_on(response: Response, body: bytes, seconds: float, at_most: int) -> tuple[bytes, bool]:
    """Read until the end, `at_most` bytes or some seconds, whichever comes first; True: that was the end."""
    parts, size = [body], len(body)
    clock = asyncio.get_running_loop().time
    give_up = clock() + seconds
    while size < at_most:
        part = await response.read_within(max(0.0, give_up - clock()))
        if not part:
            return b"".join(parts), part is not None
        parts.append(part)
        size += len(part)
    return b"".join(parts), False
