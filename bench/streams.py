"""Many paced event streams at once, and when each of their events arrives."""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench import payload
from bench.client import Address, ask
from bench.machine import BenchError

OPEN_PER_S = 1500
OPEN_S = 15.0
END_S = 15.0
SETTLE_S = 0.5
_TAIL = len(payload.MARK) + payload.STAMP_DIGITS
_LAST = b"message_stop"


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of the streams within the measured window."""

    delays_ns: Sequence[int]
    """From the upstream's writing of each event to its arrival here."""
    seconds: float
    answers: int
    failures: int
    """Streams that did not begin with a 200 or did not come to their proper end."""


class _Arrivals:
    """What all streams of a round have in common."""

    def __init__(self) -> None:
        self.delays_ns = array("q")
        self.measuring = False
        self.begun = self.ended = self.failures = 0


class _Stream(asyncio.Protocol):
    def __init__(self, request: bytes, arrivals: _Arrivals) -> None:
        self._request = request
        self._arrivals = arrivals
        self._rest = b""
        self._begun = self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # TCP has both directions
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begin(data)
        data = self._rest + data
        position, arrived_ns = 0, time.monotonic_ns()
        while (found := data.find(payload.MARK, position)) >= 0 and found + _TAIL <= len(data):
            position = found + _TAIL
            if self._arrivals.measuring:
                self._arrivals.delays_ns.append(arrived_ns - int(data[found + len(payload.MARK) : position]))
        self._rest = data[max(position, len(data) - _TAIL + 1) :]
        if data.endswith(b"0\r\n\r\n") and _LAST in data:
            self._ended = True
            self._arrivals.ended += 1
            self.transport.close()

    def _begin(self, data: bytes) -> None:
        self._begun = True
        self._arrivals.begun += 1
        self._arrivals.failures += not data.startswith(b"HTTP/1.1 200 ")

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._arrivals.ended += 1
            self._arrivals.failures += 1


async def paced_streams(
    address: Address, upstream: Address, requests: Sequence[bytes], seconds: float, window: Callable[[], None]
) -> Streamed:
    """Open a stream for each request, measure for some seconds, end them all.

    `window` is called when the measured time begins, and again when it ends with all streams still open.
    """
    arrivals = _Arrivals()
    streams = await _open(address, requests, arrivals)
    try:
        await _until(lambda: arrivals.begun + arrivals.failures >= len(requests), OPEN_S, "streams did not begin")
        await asyncio.sleep(SETTLE_S)
        began = time.monotonic()
        arrivals.measuring = True
        window()
        await asyncio.sleep(seconds)
        window()
        arrivals.measuring = False
        spent = time.monotonic() - began
        await ask(upstream, payload.requests(payload.FINISH, "bench", 512, 1)[0])
        await _until(lambda: arrivals.ended >= len(requests), END_S, "streams did not end")
    finally:
        for stream in streams:
            stream.transport.abort()
    return Streamed(arrivals.delays_ns, spent, len(requests) - arrivals.failures, arrivals.failures)


async def _open(address: Address, requests: Sequence[bytes], arrivals: _Arrivals) -> list[_Stream]:
    """Open the connections at a steady rate, as many clients would come."""
    loop = asyncio.get_running_loop()
    streams = []
    began = loop.time()
    for number, request in enumerate(requests):
        if (wait := began + number / OPEN_PER_S - loop.time()) > 0:
            await asyncio.sleep(wait)
        try:
            _, stream = await loop.create_connection(partial(_Stream, request, arrivals), *address)
        except OSError as error:
            raise BenchError(f"stream {number + 1} cannot be opened at {address}: {error}") from None
        streams.append(stream)
    return streams


async def _until(done: Callable[[], bool], seconds: float, complaint: str) -> None:
    last = time.monotonic() + seconds
    while not done():
        if time.monotonic() > last:
            raise BenchError(f"{complaint} within {seconds:.0f} s")
        await asyncio.sleep(0.02)
