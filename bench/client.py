"""The load generators' own HTTP client: prepared requests out, answers read no further than needed."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import TypeAlias

from bench.machine import BenchError

Address: TypeAlias = tuple[str, int]

CONNECT_S = 5.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """A kept-alive connection with one request at a time; `answered` is called at each answer's last byte."""

    def __init__(self, answered: Callable[["Connection"], None]) -> None:
        self._answered = answered
        self._received = b""
        self._left = 0
        self._in_body = False
        self.sent_ns = self.latency_ns = 0
        self.ok = True
        """The last answer was a 200."""
        self.closing = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # TCP has both directions

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True
        if not self.closing:
            self.ok = False
            self._answered(self)

    def send(self, request: bytes) -> None:
        self.sent_ns = time.monotonic_ns()
        self._transport.write(request)

    @property
    def sent(self) -> bool:
        """Whether the kernel has all that was sent."""
        return not self._transport.get_write_buffer_size()

    def close(self) -> None:
        self.closing = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            self._left -= len(data)
        else:
            self._received += data
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(self._received, 0, end + 2)
            self.ok = found is not None and self._received.startswith(b"HTTP/1.1 200 ")
            self._left = int(found[1] if found else 0) - (len(self._received) - end - 4)
            self._in_body, self._received = True, b""
        if self._left <= 0:
            self._in_body = False
            self.latency_ns = time.monotonic_ns() - self.sent_ns
            self._answered(self)


async def connect(address: Address, answered: Callable[[Connection], None]) -> Connection:
    """Open a connection. Raises BenchError."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            _, connection = await loop.create_connection(lambda: Connection(answered), *address)
    except (OSError, TimeoutError) as error:
        raise BenchError(f"no connection to {address}: {error!r}") from None
    return connection


async def ask(address: Address, request: bytes) -> None:
    """Make one request and wait for its answer. Raises BenchError when it is no 200."""
    answered = asyncio.Event()
    connection = await connect(address, lambda _connection: answered.set())
    connection.send(request)
    try:
        async with asyncio.timeout(CONNECT_S):
            await answered.wait()
    except TimeoutError:
        raise BenchError(f"no answer from {address}") from None
    finally:
        connection.close()
    if not connection.ok:
        raise BenchError(f"{address} did not answer 200")
