"""Two loads of whole answers: as many as go through (closed loop), and a steady rate (open loop)."""

import asyncio
import itertools
import random
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bench.client import Connection, connect

CONNECTIONS = 32
LONGEST_WAIT_S = 5.0
"""How long the open loop waits for its last answers; what is missing then counts as failed."""


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a load. `latencies_ns` is empty where the generator does not keep them."""

    answers: int
    failures: int
    seconds: float
    latencies_ns: Sequence[int] = ()


async def closed_loop(port: int, requests: Sequence[bytes], seconds: float) -> Served:
    """Keep one request in flight on each connection: what `wrk` does, for machines that have none."""
    loop = asyncio.get_running_loop()
    supply = itertools.cycle(requests)
    answers = failures = 0
    until = 0.0

    def answered(connection: Connection) -> None:
        nonlocal answers, failures
        answers += connection.ok
        failures += not connection.ok
        if not connection.lost and loop.time() < until:
            connection.send(next(supply))

    connections = [await connect(port, answered) for _ in range(CONNECTIONS)]
    began = loop.time()
    until = began + seconds
    for connection in connections:
        connection.send(next(supply))
    await asyncio.sleep(seconds)
    spent = loop.time() - began
    for connection in connections:
        connection.close()
    return Served(answers, failures, spent)


class _OpenLoop:
    """Requests at their own times, whether or not earlier ones are answered."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self._supply = itertools.cycle(requests)
        self._free: list[Connection] = []
        self._waiting: deque[int] = deque()
        self.latencies_ns = array("q")
        self.failures = self.in_flight = 0

    def free(self, connection: Connection) -> None:
        self._free.append(connection)

    def answered(self, connection: Connection) -> None:
        self.in_flight -= 1
        self.latencies_ns.append(connection.latency_ns)
        self.failures += not connection.ok
        if not connection.lost:
            self._free.append(connection)

    def due(self) -> None:
        """Send a request; one that finds every connection busy has failed."""
        if not self._free:
            self.failures += 1
            return
        self.in_flight += 1
        self._free.pop().send(next(self._supply))


async def open_loop(port: int, requests: Sequence[bytes], per_second: float, seconds: float) -> Served:
    """Send requests at random times (Poisson) with a steady mean, and measure each from its sending."""
    loop, rng = asyncio.get_running_loop(), random.Random(3)
    state = _OpenLoop(requests)
    connections = [await connect(port, state.answered) for _ in range(CONNECTIONS)]
    for connection in connections:
        state.free(connection)
    began = due = loop.time()
    while (due := due + rng.expovariate(per_second)) < began + seconds:
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        state.due()
    last = loop.time() + LONGEST_WAIT_S
    while state.in_flight and loop.time() < last:  # noqa: ASYNC110  # in the measured time an event per answer would cost
        await asyncio.sleep(0.01)
    spent = loop.time() - began
    for connection in connections:
        connection.close()
    return Served(len(state.latencies_ns), state.failures + state.in_flight, spent, state.latencies_ns)
