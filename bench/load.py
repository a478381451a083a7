"""Loads of whole answers: as many as go through (closed loop), a steady rate (open loop), many held at once."""

import asyncio
import itertools
import random
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from bench import payload
from bench.client import Address, Connection, ask, connect

CONNECTIONS = 32
OPEN_CONNECTIONS = 256
"""Of the open loop: more than are ever busy, so that a slow answer keeps nobody waiting."""
LONGEST_WAIT_S = 5.0
"""How long the open loop waits for its last answers; what is missing then counts as failed."""
LONGEST_HELD_S = 30.0
FINISH_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a load. `latencies_ns` is empty where the generator does not keep them."""

    answers: int
    failures: int
    seconds: float
    latencies_ns: Sequence[int] = ()


async def closed_loop(address: Address, requests: Sequence[bytes], seconds: float) -> Served:
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

    connections = [await connect(address, answered) for _ in range(CONNECTIONS)]
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


async def open_loop(address: Address, requests: Sequence[bytes], per_second: float, seconds: float) -> Served:
    """Send requests at random times (Poisson) with a steady mean, and measure each from its sending."""
    loop, rng = asyncio.get_running_loop(), random.Random(3)
    state = _OpenLoop(requests)
    connections = [await connect(address, state.answered) for _ in range(OPEN_CONNECTIONS)]
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


@dataclass(frozen=True, slots=True)
class Held:
    """What came of requests that were all in flight at once."""

    served: int
    refused: int
    """Got a whole answer that was no 200."""
    lost: int
    """Got no whole answer."""


async def held_requests(address: Address, upstream: Address, requests: Sequence[bytes]) -> Held:
    """Send all requests at once, each on a connection of its own, and have them answered when they have been sent."""
    loop, outcomes = asyncio.get_running_loop(), dict[Connection, str]()

    def ended(connection: Connection) -> None:
        outcomes.setdefault(connection, "lost" if connection.lost else "served" if connection.ok else "refused")

    connections = [await connect(address, ended) for _ in requests]
    for connection, request in zip(connections, requests, strict=True):
        connection.send(request)
        await asyncio.sleep(0)
    last = loop.time() + LONGEST_HELD_S
    while not all(connection.sent or connection.lost for connection in connections) and loop.time() < last:  # noqa: ASYNC110  # looks at all of them
        await asyncio.sleep(0.05)
    while len(outcomes) < len(requests) and loop.time() < last:
        await asyncio.sleep(FINISH_EVERY_S)  # what the proxy has not passed on yet is on its way
        await ask(upstream, payload.requests(payload.FINISH, "bench", 512, 1)[0])
    came = Counter(outcomes.values())
    for connection in connections:
        connection.close()
    return Held(came["served"], came["refused"], len(requests) - came["served"] - came["refused"])
