"""The writer rests in the midst of small batches, and never of large ones; either way everything is written."""

import threading
from pathlib import Path

import pytest

from ccflare.journal import Journal, Pace, rests
from ccflare.journal.rests import FEW, REST_S, WORK_S, Rests
from ccflare.payload import Captured
from ccflare.records import Exchange
from ccflare.store import open_store
from ccflare.wire import ByteBudget


class Sleeper:
    """A clock on which every look takes longer than the writer may work, and a sleep that takes no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.threads: set[str] = set()

    def monotonic(self) -> float:
        self.now += 2 * WORK_S
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> Sleeper:
    made = Sleeper()
    monkeypatch.setattr(rests, "sleep", made.sleep)
    monkeypatch.setattr(rests, "monotonic", made.monotonic)
    return made


async def written(path: Path, count: int, at_once: int = 500) -> tuple[int, int]:
    """Have a journal write so many exchanges; return how many and how many payloads are in the store."""
    pace = Pace(batch_s=60, watch_s=60, batch_rows=at_once)
    journal = Journal(lambda: open_store(path), lambda *_: None, pace)
    for number in range(count):
        exchange = Exchange(
            id=f"x{number:05d}",
            timestamp_ms=number,
            method="POST",
            path="/v1/messages",
            status_code=200,
            success=True,
            response_time_ms=1,
        )
        captured = Captured(b"/v1/messages", [], ByteBudget(1 << 30))
        captured.request.add(b"question")
        captured.close(exchange)
        journal.put(exchange, captured)
    journal.start()
    assert await journal.close(30)
    return journal.state().written, journal.state().payloads_written


@pytest.mark.parametrize("count", [20, FEW])
async def test_a_small_batch_is_written_with_rests(tmp_path: Path, sleeper: Sleeper, count: int) -> None:
    """At least once for each payload, and only in the writer's thread."""
    assert await written(tmp_path / "ccflare.db", count) == (count, count)
    assert len(sleeper.slept) >= count
    assert set(sleeper.slept) == {REST_S}
    assert sleeper.threads == {"async-db-writer"}


async def test_a_large_batch_is_written_without(tmp_path: Path, sleeper: Sleeper) -> None:
    """What is left are those of opening the store."""
    assert await written(tmp_path / "few.db", 0) == (0, 0)
    opening = len(sleeper.slept)
    assert await written(tmp_path / "many.db", FEW + 1) == (FEW + 1, FEW + 1)
    assert len(sleeper.slept) <= 2 * opening + 1


async def test_payloads_that_pile_up_are_written_without(tmp_path: Path, sleeper: Sleeper) -> None:
    """However few rows went before them."""
    many = FEW + 2
    assert await written(tmp_path / "ccflare.db", many, at_once=20) == (many, many)
    assert 0 < len(sleeper.slept) < FEW


def test_it_rests_only_after_work(sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at the clock that are closer together change nothing."""
    now = [0.0]
    monkeypatch.setattr(rests, "monotonic", lambda: now[0])
    made = Rests()
    made.begin(1)
    for now[0] in (0.3 * WORK_S, 0.9 * WORK_S, 1.1 * WORK_S, 1.9 * WORK_S, 2.2 * WORK_S):
        made.take()
    assert len(sleeper.slept) == 2


def test_other_stores_do_not_rest(tmp_path: Path, sleeper: Sleeper) -> None:
    """Only who asks for it is interrupted."""
    store = open_store(tmp_path / "ccflare.db")
    store.clear_history()
    store.close()
    assert sleeper.slept == []
