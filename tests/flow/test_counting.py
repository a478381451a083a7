"""What the journal counts, and what it says of how far behind it is."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from ccflare.errors import StoreBusy, TokenEndpointError
from ccflare.journal import Journal, Pace
from ccflare.limits import RetryBudget
from ccflare.records import Exchange
from ccflare.store import Store, open_store
from flow.refreshing import GONE, World
from flow.test_journal import Faulty, exchange, until


class Counted:
    """A journal with a store that can be made to fail, and the ids of what was counted."""

    def __init__(self, path: Path, queue_bytes: int = 1_000_000) -> None:
        self.ids: list[str] = []
        self.faulty = Faulty()
        self.path = path
        pace = Pace(batch_s=0.01, watch_s=0.02, queue_bytes=queue_bytes)
        self.journal = Journal(self._open, lambda *_: None, pace, count=self._count)

    def _open(self) -> Store:
        self.faulty.store = open_store(self.path)
        return cast("Store", self.faulty)

    def _count(self, exchanges: Sequence[Exchange]) -> None:
        self.ids += [each.id for each in exchanges]


async def test_every_exchange_is_counted_once_whatever_becomes_of_it(tmp_path: Path) -> None:
    """Written, put off by a locked database, or lost because too much waits: each is counted, and none twice."""
    counted = Counted(tmp_path / "x.db", queue_bytes=20_000)
    journal = counted.journal
    journal.start()
    try:
        await until(lambda: journal.state().opened)
        journal.put(exchange(0))
        await until(lambda: journal.state().written == 1)
        counted.faulty.error = StoreBusy("the database is locked")
        for number in range(1, 40):
            journal.put(exchange(number))
        state = journal.state()
        assert state.lost > 0
        await until(lambda: len(counted.ids) == 40)
        counted.faulty.error = None
        await until(lambda: journal.state().waiting == 0)
    finally:
        await journal.close(2)
    assert sorted(counted.ids) == [exchange(number).id for number in range(40)]


async def test_the_lag_grows_while_the_database_is_locked(tmp_path: Path) -> None:
    """It is 0 while nothing waits, however long that was; then the time since everything was written, until it is."""
    counted = Counted(tmp_path / "x.db")
    journal = counted.journal
    journal.start()
    try:
        await until(lambda: journal.state().opened)
        assert journal.state().lag_s == 0
        counted.faulty.error = StoreBusy("the database is locked")
        journal.put(exchange(1))
        await until(lambda: journal.state().lag_s > 0.05)
        before = journal.state().lag_s
        await until(lambda: journal.state().lag_s > before)
        counted.faulty.error = None
        await until(lambda: journal.state().waiting == 0)
        assert journal.state().lag_s == 0
    finally:
        await journal.close(2)


def test_what_the_retry_budget_says_is_what_it_gives() -> None:
    """The retries that are told to be left are as many as can be taken then, at rest, in traffic and after it."""
    for now_ms in (0, 4_000, 60_000):
        budget = RetryBudget()
        for _ in range(200):
            budget.deposit()
        budget.withdraw(0)
        left = budget.left(now_ms)
        assert sum(budget.withdraw(now_ms) for _ in range(500)) == left
        assert budget.left(now_ms) == 0


@pytest.mark.parametrize(
    ("trouble", "outcome"), [([], "success"), ([TokenEndpointError("status 503")], "failure"), ([GONE], "expired")]
)
async def test_refreshes_are_counted_by_how_they_ended(trouble: list[Exception], outcome: str, tmp_path: Path) -> None:
    """A refresh counts as success, as failure when it is tried again, and as expired when only a person can help."""
    world = World(tmp_path / "x.db")
    world.add()
    process = world.process()
    world.endpoint.trouble = trouble
    asking = asyncio.create_task(process.fresh())
    try:
        await world.clock.pass_until(asking)  # an account is expired when the store was looked at again for a second
        assert process.refresher.counts == {("a", outcome): 1}
    finally:
        await process.close()
