"""The bench upstream: it reads requests and writes prepared answers, and does nothing else.

Run as `python -m bench.upstream [PORT]`: it prints its port and ends when its standard input does. It checks
nothing, to be as light as can be; the simulated upstream of `ccflare demo` behaves like the real one.
"""

import asyncio
import gc
import itertools
import random
import re
import sys
import time
from typing import ClassVar

import uvloop

from bench import payload

STREAM_S = 120.0
"""No stream lasts longer."""
PACE_S = 0.1
"""Mean time between two events of a stream."""
ANSWERS = 1000
"""Different answers, given in turn."""
_BACKLOG = 4096
_BUFFERED_BYTES = 1 << 20
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM_LINE = f"POST {payload.STREAM} ".encode()
_IDLE_LINE = f"POST {payload.IDLE} ".encode()
_HOLD_LINE = f"POST {payload.HOLD} ".encode()
_FINISH_LINE = f"POST {payload.FINISH} ".encode()


class Upstream(asyncio.Protocol):
    """One connection: requests with `Content-Length`, one after another."""

    answers: ClassVar = itertools.cycle([payload.answer(used) for used in range(ANSWERS)])
    stream_start: ClassVar = payload.stream_start()
    stream_event: ClassVar = payload.stream_event()
    stream_end: ClassVar = payload.stream_end()
    rng: ClassVar = random.Random(7)
    finished_streams: ClassVar = 0
    """How often all streams were asked to end."""
    held: ClassVar[dict["Upstream", bytes]] = {}
    """Who waits until the end is asked for, and what it gets then."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = 0
        self._head = b""
        self._timer: asyncio.TimerHandle | None = None
        self._generation = self._ends_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # TCP has both directions

    def connection_lost(self, _error: Exception | None) -> None:
        self.held.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._left > len(data):
            self._left -= len(data)
            return
        if self._left:
            data, self._left = data[self._left :], 0
            self._respond()
        elif self._head:
            data, self._head = self._head + data, b""
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._head = data
                return
            data = self._request(data, end)

    def _request(self, data: bytes, end: int) -> bytes:
        """Take a request whose head ends at `end`; return what comes behind it."""
        found = _LENGTH.search(data, 0, end)
        length = int(found[1]) if found else 0
        self._line = data[:40]
        have = len(data) - end
        if have < length:
            self._left = length - have
            return b""
        self._respond()
        return data[end + length :] if have > length else b""

    def _respond(self) -> None:
        if self._line.startswith(_STREAM_LINE):
            self._begin_stream()
            return
        if self._line.startswith(_IDLE_LINE):
            self._transport.write(self.stream_start)
            self.held[self] = self.stream_end
            return
        if self._line.startswith(_HOLD_LINE):
            self.held[self] = next(self.answers)
            return
        if self._line.startswith(_FINISH_LINE):
            self._finish()
        self._transport.write(next(self.answers))

    def _finish(self) -> None:
        Upstream.finished_streams += 1
        while self.held:
            waiting, rest = self.held.popitem()
            waiting.send(rest)

    def send(self, data: bytes) -> None:
        self._transport.write(data)

    def _begin_stream(self) -> None:
        self._transport.write(self.stream_start)
        self._generation = self.finished_streams
        self._ends_at = self._loop.time() + STREAM_S
        self._timer = self._loop.call_later(self.rng.uniform(0, PACE_S), self._send_event)

    def _send_event(self) -> None:
        if self._generation != self.finished_streams or self._loop.time() > self._ends_at:
            self._timer = None
            self._transport.write(self.stream_end)
            return
        if self._transport.get_write_buffer_size() > _BUFFERED_BYTES:
            self._transport.abort()
            return
        before, after = self.stream_event
        # Uneven steps keep the streams from falling into one rhythm, which would flatter whoever batches.
        self._timer = self._loop.call_later(self.rng.uniform(0.5, 1.5) * PACE_S, self._send_event)
        self._transport.write(b"%b%019d%b" % (before, time.monotonic_ns(), after))


async def serve(port: int) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(loop), "127.0.0.1", port, backlog=_BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()


if __name__ == "__main__":
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
