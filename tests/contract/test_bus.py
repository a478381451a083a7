"""The bus over real sockets: what one worker says, all others hear; nobody waits longer than a deadline."""

import asyncio
import operator
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from ccflare.bus import CLAIM_S, Alone, Colleagues, everybody
from ccflare.bus.link import WAITING_BYTES, Link, read_begin
from ccflare.bus.orders import Begin, Ready, ToWorker
from ccflare.supervisor.hub import Hub, Seat


class Office:
    """A hub with some workers' links on one event loop."""

    def __init__(self) -> None:
        self.hub = Hub(2)
        self.links: dict[int, Link] = {}
        self.orders: list[ToWorker | None] = []

    async def hire(self, number: int) -> Link:
        """Connect a worker, and have it serve."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        _, seat = await loop.create_unix_connection(lambda: Seat(self.hub, number), sock=ours)
        seat.order(Begin(number, self.hub.workers, [], {"port": 0}, 5.0))
        begin, rest = await asyncio.to_thread(read_begin, theirs)
        link = Link(begin, rest, self.orders.append)
        await loop.create_unix_connection(lambda: link, sock=theirs)
        link.tell(Ready())
        self.links[number] = link
        await self.settle()
        return link

    async def settle(self) -> None:
        """Wait until everything said so far has arrived: the hub's answers come behind it."""
        for link in self.links.values():
            await link.gather("nothing")


@asynccontextmanager
async def office(workers: int = 2) -> AsyncIterator[Office]:
    found = Office()
    for number in range(1, workers + 1):
        await found.hire(number)
    yield found
    for link in found.links.values():
        link.close()
    for seat in tuple(found.hub.seats.values()):
        await seat.gone.wait()


def _note(heard: list[tuple[bytes, int]], body: bytes, worker: int) -> None:
    heard.append((body, worker))


async def test_news_reaches_all_others_in_order() -> None:
    """Whoever listens hears what others publish, in the order in which it was said, and nothing of its own."""
    async with office(3) as found:
        heard: dict[int, list[tuple[bytes, int]]] = {number: [] for number in found.links}
        for number, link in found.links.items():
            link.listen("pool", partial(_note, heard[number]))
        found.links[1].publish("pool", b"first")
        found.links[1].publish("pool", b"second")
        found.links[2].publish("other", b"for nobody")
        await found.settle()
        assert heard == {1: [], 2: [(b"first", 1), (b"second", 1)], 3: [(b"first", 1), (b"second", 1)]}


async def test_all_are_asked_at_once() -> None:
    """A question returns everybody's answer, this worker's own first; who has none is left out."""
    async with office(3) as found:
        for number, link in found.links.items():
            link.answer("numbers", partial(operator.add, b"n%d" % number))
        assert sorted(await found.links[1].gather("numbers", b"?")) == [b"n2?", b"n3?"]
        assert (await everybody(found.links[3], "numbers", b"own"))[0] == b"own"
        assert await found.links[1].gather("unknown") == []


async def test_who_does_not_answer_is_not_waited_for() -> None:
    """A worker that hangs costs the deadline, and its answer; a failing one costs its answer only."""
    async with office(3) as found:

        def fail(_question: bytes) -> bytes:
            raise RuntimeError("a defect of this test")

        found.links[2].answer("numbers", lambda _question: b"2")
        found.links[3].answer("numbers", fail)
        assert await found.links[1].gather("numbers", within_s=0.05) == [b"2"]


async def test_the_first_claim_decides() -> None:
    """Workers that claim the same key at once get one value; when all have released it, the next one decides."""
    async with office(2) as found:
        one, two = found.links.values()
        values = await asyncio.gather(one.claim("s", "a"), two.claim("s", "b"))
        assert set(values) == {"a"}
        one.reclaim("s", "c")
        await found.settle()
        assert await two.claim("s", "b") == "c"
        two.release("s")
        assert await two.claim("s", "b", instead_of="c") == "b"
        one.release("s")
        two.release("s")
        two.release("s")
        await found.settle()
        assert await two.claim("s", "d") == "d"


async def test_a_claim_without_an_answer_is_ones_own() -> None:
    """When the supervisor does not answer in time, or is gone, a worker goes on with its own choice."""
    ours, theirs = socket.socketpair()
    with ours:
        link = Link(Begin(1, 2, [], {}, 0.0), b"", lambda _order: None)
        theirs.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=theirs)
        started = asyncio.get_running_loop().time()
        assert await link.claim("s", "a") == "a"
        assert asyncio.get_running_loop().time() - started >= CLAIM_S * 0.9
        link.close()
        await asyncio.sleep(0)
        assert await link.claim("s", "b") == "b"
        assert await link.gather("numbers") == []


async def test_what_nobody_fetches_is_bounded() -> None:
    """When the supervisor does not read, news beyond the bound is dropped and counted, and publishing never waits."""
    ours, theirs = socket.socketpair()
    with ours:
        link = Link(Begin(1, 2, [], {}, 0.0), b"", lambda _order: None)
        theirs.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=theirs)
        body = bytes(256 * 1024)
        for _ in range(3 * WAITING_BYTES // len(body)):
            link.publish("pool", body)
        assert link.dropped > 0
        link.close()


async def test_one_leads_and_all_know_who_comes_and_goes() -> None:
    """The worker that has served for longest leads; when it ends the next one does, and its claims are free."""
    async with office(2) as found:
        one, two = found.links.values()
        changes: list[tuple[int, bool]] = []
        two.on_change(lambda number, came: changes.append((number, came)))
        assert (one.leads, two.leads) == (True, False)
        await one.claim("s", "a")
        await found.hire(3)
        one.close()
        del found.links[1]
        while not two.leads:
            await found.settle()
        assert changes == [(3, True), (1, False)]
        assert await two.claim("s", "b") == "b"
        assert found.orders == [None]


async def test_alone_there_is_nobody_to_wait_for() -> None:
    """A server of one process asks nobody, agrees with itself and leads."""
    alone: Colleagues = Alone()
    assert await alone.gather("numbers") == []
    assert await everybody(alone, "numbers", b"own") == [b"own"]
    assert await alone.claim("s", "a") == "a"
    assert alone.leads
