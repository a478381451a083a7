"""CONNECT: asking an outgoing proxy for a byte stream to an origin (RFC 9110 §9.3.6)."""

import asyncio
import re
from typing import cast

from ccflare.errors import TransportError
from ccflare.wire import Origin

MAX_ANSWER_BYTES = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-9]\d\d)(?: [^\r\n]*)?\r\n")


class Tunnel(asyncio.Protocol):
    """Holds a connection to a proxy until the TLS handshake takes it over."""

    def __init__(self) -> None:
        # `connection_made` sets it before anything else is called.
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._answer = bytearray()
        self._opened: asyncio.Future[None] | None = None

    async def open(self, origin: Origin, authorization: bytes | None) -> None:
        """Ask for a stream to `origin`; return when it is open. Raises TransportError (`connect_error`)."""
        self._opened = asyncio.get_running_loop().create_future()
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}".encode("ascii")
        lines = [b"CONNECT %b HTTP/1.1" % target, b"Host: " + target]
        if authorization is not None:
            lines.append(b"Proxy-Authorization: " + authorization)
        self.transport.write(b"\r\n".join([*lines, b"", b""]))
        await self._opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; also called by hand after a handshake with the proxy itself."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read the proxy's answer."""
        self._answer += data
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._answer) > MAX_ANSWER_BYTES:
                self._end("the proxy's answer to CONNECT is too large")
            return
        status = _STATUS.match(self._answer)
        if status is None:
            self._end("the proxy's answer to CONNECT is not HTTP/1.1")
        elif not status[1].startswith(b"2"):
            self._end(f"the proxy answered CONNECT with status {status[1].decode()}")
        elif len(self._answer) > end + 4:
            self._end("the proxy sent bytes of its own into the tunnel")
        else:
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        """A proxy that leaves has refused."""
        self._end("the proxy closed the connection")

    def _end(self, refusal: str | None) -> None:
        if self._opened is None or self._opened.done():
            return
        if refusal is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(TransportError("connect_error", refusal))
