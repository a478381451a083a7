"""As much of an upstream answer as its judgement needs, read before anything reaches the client."""

import asyncio
import logging

from ccflare.coding import decoder
from ccflare.errors import TransportError
from ccflare.sse import NOT_AN_ERROR, FirstEvent, first_event, read_error
from ccflare.transport import Response
from ccflare.wire import HOP_BY_HOP, Headers, connection_tokens, header

log = logging.getLogger("ccflare.Proxy")

ERROR_BODY_BYTES = 64 * 1024
"""How much of an error's body is read before it is judged."""
ERROR_BODY_S = 5.0
"""How long that may take."""
FIRST_EVENT_BYTES = 128 * 1024
"""How much decoded text a first event may take before the stream is taken for one without an error."""

_NOT_RELAYED = HOP_BY_HOP | {b"content-length"}


def is_event_stream(headers: Headers) -> bool:
    """Whether an answer is a stream of server-sent events."""
    content_type = header(headers, b"content-type")
    return content_type is not None and content_type[:17].lower() == b"text/event-stream"


async def read_error_body(response: Response) -> tuple[bytes, FirstEvent]:
    """Read the body of an error, or the beginning of a long or slow one, and what error it tells of.

    Raises TransportError when it is cut.
    """
    body = await _read_on(response, b"")
    plain = decoder(header(response.headers, b"content-encoding"), ERROR_BODY_BYTES)
    if plain is None:
        return body, NOT_AN_ERROR
    return body, FirstEvent(True, *read_error(plain.feed(body)))


async def read_first_event(response: Response) -> tuple[bytes, FirstEvent]:
    """Read an event stream until it is known whether it begins with an error. Raises TransportError when it is cut."""
    plain = decoder(header(response.headers, b"content-encoding"), FIRST_EVENT_BYTES)
    if plain is None:
        return b"", NOT_AN_ERROR
    parts: list[bytes] = []
    text = bytearray()
    while part := await response.read():
        parts.append(part)
        text += plain.feed(part)
        event = first_event(text)
        if event is not None or plain.broken:
            return b"".join(parts), event or NOT_AN_ERROR
    return b"".join(parts), first_event(text, ended=True) or NOT_AN_ERROR


async def read_whole(response: Response, beginning: bytes) -> bytes | None:
    """Read a refused answer to its end; None when it is long, slow or cut."""
    try:
        body = await _read_on(response, beginning)
        async with asyncio.timeout(ERROR_BODY_S):
            rest = await response.read()
    except (TransportError, TimeoutError):
        return None
    return None if rest else body


async def _read_on(response: Response, body: bytes) -> bytes:
    """Read until the end, `ERROR_BODY_BYTES` or `ERROR_BODY_S`, whichever comes first."""
    parts, size = [body], len(body)
    try:
        async with asyncio.timeout(ERROR_BODY_S):
            while size < ERROR_BODY_BYTES and (part := await response.read()):
                parts.append(part)
                size += len(part)
    except TimeoutError:
        log.debug("The body of an upstream error came too slowly to be read whole")
    return b"".join(parts)


def end_to_end(headers: Headers) -> Headers:
    """Return what of an answer's head is meant for the client; its framing is written anew."""
    kept = []
    named = False
    for pair in headers:
        name = pair[0].lower()
        if name not in _NOT_RELAYED:
            kept.append(pair)
        elif name == b"connection":
            named = True
    if named:
        tokens = connection_tokens(headers) - {b"close", b"keep-alive"}
        return [pair for pair in kept if pair[0].lower() not in tokens] if tokens else kept
    return kept
