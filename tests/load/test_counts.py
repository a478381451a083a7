"""What an exchange makes the event loop do, in numbers that no other load of the machine changes.

Each bound is what was counted when it was set, and a little for other versions of Python. A change that needs more
says so here, in its own commit; one that needs less lowers the bound.
"""

import gc
import sys
from collections.abc import Callable
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from bench import payload

from ccflare import logs
from ccflare.store import open_store
from load_kit import Counts, Rig, rig, run

EXCHANGES = 20
CALLS_PER_EXCHANGE = 291
CALLS_WITHOUT_PAYLOADS = 260
CALLS_OF_A_NEW_SESSION = 350
CALLS_PER_LOG_LINE = 6
"""And of the standard module's one, which looks whether the level is logged."""
CALLS_PER_EVENT = 35
CALLBACKS_PER_EXCHANGE = 3
READS_PER_EXCHANGE = 5
"""The client's own one; the others are uvloop's, two for each message: the second finds that nothing is left."""
WRITES_PER_EXCHANGE = 3
"""The client's request, ccflare's to upstream, and ccflare's answer: head and body in one."""
MORE_WITH_MANY = 10
"""Calls that a choice among a thousand accounts, or a table of sessions that is full, may take more."""
READS_PER_EVENT = 4
"""Two are the client's."""
WRITES_PER_EVENT = 1
KEPT_ROWS = 1000
FEW, MANY_ACCOUNTS, MANY_SESSIONS, LEAN = {"accounts": 3}, {"accounts": 1000}, {"sessions": 100_000}, {"payloads": 0}

Pair = tuple[Counts, Counts]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, int]], Pair]:
    """Return what counts an exchange of a known session and one of a new session, with so many of something."""

    @cache
    def pair(**many: Any) -> Pair:
        async def scenario() -> Pair:
            async with rig(tmp_path_factory.mktemp("load"), **many) as there:
                known, new = there.requests(EXCHANGES), there.requests(2 * EXCHANGES)[EXCHANGES:]
                for request in known * 2:
                    await there.client.ask(request)
                return await _counted(there, known), await _counted(there, new)

        found: Pair = run(scenario)
        return found

    return lambda many: pair(**many)


async def _counted(there: Rig, requests: list[bytes]) -> Counts:
    return await there.counted([partial(there.client.ask, request) for request in requests])


def test_an_exchange_takes_so_much(counts: Callable[[dict[str, int]], Pair]) -> None:
    """One task, no timer, one write to each side, and a bounded number of function calls; everything is on."""
    found, _ = counts(FEW)
    assert 100 < found.calls <= CALLS_PER_EXCHANGE
    assert (found.tasks, found.timers) == (1, 0)
    assert found.callbacks <= CALLBACKS_PER_EXCHANGE
    assert found.reads <= READS_PER_EXCHANGE
    assert found.writes <= WRITES_PER_EXCHANGE


def test_payloads_cost_little_on_the_way(counts: Callable[[dict[str, int]], Pair]) -> None:
    """What is kept of headers and bodies takes a few calls of the exchange; the rest is the writer's."""
    kept, lean = counts(FEW)[0], counts(LEAN)[0]
    assert lean.calls < kept.calls
    assert lean.calls <= CALLS_WITHOUT_PAYLOADS


def test_a_new_session_costs_a_choice(counts: Callable[[dict[str, int]], Pair]) -> None:
    """An exchange of a session that is not known yet takes a bounded number of calls more."""
    known, new = counts(FEW)
    assert known.calls < new.calls <= CALLS_OF_A_NEW_SESSION


def test_a_log_line_costs_little_on_the_way(counts: Callable[[dict[str, int]], Pair], tmp_path: Path) -> None:
    """What is logged of an exchange is put together by the log's thread."""

    async def scenario() -> Counts:
        with closing(logs.start(tmp_path)):
            async with rig(tmp_path, **FEW) as there:
                requests = there.requests(EXCHANGES)
                for request in requests * 2:
                    await there.client.ask(request)
                return await _counted(there, requests)

    assert counts(FEW)[0].calls < run(scenario).calls <= counts(FEW)[0].calls + CALLS_PER_LOG_LINE


@pytest.mark.parametrize("many", [MANY_ACCOUNTS, MANY_SESSIONS], ids=["accounts", "sessions"])
def test_nothing_grows(counts: Callable[[dict[str, int]], Pair], many: dict[str, int]) -> None:
    """With a thousand accounts, or a hundred thousand sessions, an exchange does the same; a new one has a choice."""
    for few, found, more in zip(counts(FEW), counts(many), (0, MORE_WITH_MANY), strict=True):
        assert found.calls <= few.calls + more
        assert (found.tasks, found.timers, found.reads, found.writes) == (1, 0, few.reads, few.writes)


@pytest.mark.parametrize("many", [FEW, MANY_ACCOUNTS, MANY_SESSIONS], ids=["few", "accounts", "sessions"])
def test_no_statement_runs_in_the_loop(counts: Callable[[dict[str, int]], Pair], many: dict[str, int]) -> None:
    """No exchange makes the event loop's thread ask the database, open a file or look up a name."""
    for found in counts(many):
        assert found.forbidden == 0


def test_what_is_forbidden_is_seen(tmp_path: Path) -> None:
    """A question to the store from the event loop would be counted."""

    async def ask(there: Rig) -> None:
        with closing(open_store(tmp_path / "load.db")) as store:
            assert len(store.accounts()) == len(there.app.pool.states(0))

    async def scenario() -> Counts:
        async with rig(tmp_path) as there:
            return await there.counted([partial(ask, there)] * 3)

    assert run(scenario).forbidden > 1


def test_an_event_takes_so_much(tmp_path: Path) -> None:
    """An event of a stream is read once and written once, without a task or a timer, in a bounded number of calls."""

    async def scenario() -> Counts:
        async with rig(tmp_path) as there:
            (request,) = there.requests(1, stream=True)
            before, after = payload.stream_event()
            there.upstream.say(payload.stream_start())
            send = partial(there.client.transport.write, request)
            await there.client.until(lambda received: b"ping" in received, send)
            say = partial(there.upstream.say, before + b"0" * payload.STAMP_DIGITS + after)
            event = partial(there.client.until, lambda received: received.endswith(after), say)
            found = await there.counted([event] * EXCHANGES)
            end = partial(there.upstream.say, payload.stream_end())
            await there.client.until(lambda received: received.endswith(b"0\r\n\r\n"), end)
            there.upstream.say(None)
            return found

    found = run(scenario)
    assert 5 < found.calls <= CALLS_PER_EVENT
    assert (found.tasks, found.timers, found.forbidden) == (0, 0, 0)
    assert found.reads <= READS_PER_EVENT
    assert found.writes <= WRITES_PER_EVENT


def test_nothing_stays_of_an_exchange(tmp_path: Path) -> None:
    """When its row is written, an exchange of a known session has left less than a block of memory behind.

    The latest thousand rows are kept for those who follow them: so that many come first.
    """

    async def settled(there: Rig) -> int:
        await there.at_rest()
        gc.collect()
        return sys.getallocatedblocks()

    async def scenario() -> float:
        async with rig(tmp_path) as there:
            requests = there.requests(EXCHANGES)
            for _ in range(KEPT_ROWS // EXCHANGES + 10):
                await _ask_all(there, requests)
            before = await settled(there)
            for _ in range(20):
                await _ask_all(there, requests)
            return (await settled(there) - before) / (20 * EXCHANGES)

    assert run(scenario) < 1


async def _ask_all(there: Rig, requests: list[bytes]) -> None:
    for request in requests:
        await there.client.ask(request)
