"""What an exchange costs against a relay that does nothing else, both in one process and in turn.

Only the CPU of the event loop's thread counts, which no other load of the machine adds to, and the least of several
rounds. The bound is twice what was measured when it was set: it sees what has become much dearer, the counts in
`test_counts.py` the rest.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from load_kit import Client, Rig, rig, run

ROUNDS = 9
EXCHANGES = 60
RATIO = 10.0


class Relay(asyncio.Protocol):
    """One side of a connection; what comes goes to the other side."""

    other: asyncio.Transport
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.connected = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets only
        """Begin."""
        self.transport = transport
        self.connected.set()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.other.write(data)


@contextlib.asynccontextmanager
async def relay(there: Rig) -> AsyncIterator[Client]:
    """Make a client whose bytes go through a relay to the same upstream."""
    loop, front, back = asyncio.get_running_loop(), Relay(), Relay()
    server = await loop.create_server(lambda: front, "127.0.0.1", 0)
    front.other, _ = await loop.create_connection(lambda: back, "127.0.0.1", there.upstream.port)
    _, client = await loop.create_connection(Client, "127.0.0.1", server.sockets[0].getsockname()[1])
    await front.connected.wait()
    back.other = front.transport
    try:
        yield client
    finally:
        for end in (client.transport, front.transport, back.transport):
            end.abort()
        server.close()
        await server.wait_closed()


async def cpu_s(client: Client, requests: list[bytes]) -> float:
    """Return the CPU of this thread for some exchanges."""
    began = time.thread_time()
    for request in requests:
        await client.ask(request)
    return time.thread_time() - began


def test_an_exchange_costs_a_bounded_multiple_of_a_relay(tmp_path: Path) -> None:
    """Sessions, limits, metering, log and record together take less than so many times a bare relay's CPU."""

    async def scenario() -> float:
        async with rig(tmp_path) as there, relay(there) as bare:
            requests = there.requests(EXCHANGES)
            ours, theirs = [], []
            for _ in range(ROUNDS):
                ours.append(await cpu_s(there.client, requests))
                theirs.append(await cpu_s(bare, requests))
            return min(ours) / min(theirs)

    assert run(scenario) < RATIO
