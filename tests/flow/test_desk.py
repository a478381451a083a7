"""The desk: the store beside the loop, with a deadline for every question."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ccflare.desk import Desk, DeskClosed
from ccflare.errors import NotFound, StoreBusy
from ccflare.store import Store, open_store
from ccflare.store.sqlite import SqliteStore

FOR_EVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"


def count_for_ever(store: Store) -> None:
    assert isinstance(store, SqliteStore)
    store._db.rows(FOR_EVER)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(lambda: open_store(tmp_path / "x.db"))


async def test_a_question_is_answered_with_the_open_store(desk: Desk) -> None:
    assert (await desk.ask(lambda store: store.counts())).accounts == 0
    desk.close()


async def test_what_a_question_raises_reaches_the_asker_and_the_desk_goes_on(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.ask(lambda store: store.remove_account("nobody"))
    assert await desk.ask(lambda store: store.accounts()) == []
    desk.close()


async def test_a_question_that_takes_too_long_is_interrupted(desk: Desk) -> None:
    began = time.monotonic()
    with pytest.raises(StoreBusy, match=r"within 0\.2 s"):
        await desk.ask(count_for_ever, within_s=0.2)
    assert await desk.ask(lambda store: store.accounts()) == []
    assert time.monotonic() - began < 5
    desk.close()


async def test_one_who_waits_too_long_does_not_interrupt_the_one_before(desk: Desk) -> None:
    release = threading.Event()
    first = asyncio.create_task(desk.ask(lambda _store: release.wait(20), within_s=20))
    await asyncio.sleep(0)
    with pytest.raises(StoreBusy):
        await desk.ask(lambda store: store.accounts(), within_s=0.1)
    release.set()
    assert await first
    desk.close()


async def test_cancelling_a_question_frees_the_desk(desk: Desk) -> None:
    await desk.ask(lambda store: store.accounts())  # opening the store may take longer than the pause below
    task = asyncio.create_task(desk.ask(count_for_ever))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await desk.ask(lambda store: store.accounts(), within_s=5) == []
    desk.close()


async def test_a_question_that_is_cancelled_before_its_statement_begins_frees_the_desk(desk: Desk) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def count_later(store: Store) -> None:
        begun.set()
        assert cancelled.wait(20)
        count_for_ever(store)

    task = asyncio.create_task(desk.ask(count_later))
    await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    cancelled.set()
    assert await desk.ask(lambda store: store.accounts(), within_s=20) == []
    desk.close()


async def test_a_replaced_file_is_opened_anew(desk: Desk, tmp_path: Path) -> None:
    await desk.ask(lambda store: store.accounts())
    (tmp_path / "x.db").unlink()
    assert await desk.ask(lambda store: store.moved()) is False
    assert (tmp_path / "x.db").exists()
    desk.close()


async def test_closing_ends_what_is_being_answered(desk: Desk) -> None:
    task = asyncio.create_task(desk.ask(count_for_ever))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(desk.close)
    with pytest.raises(StoreBusy):
        await task


def count_again_and_again(store: Store) -> None:
    """A question of many statements, some of them harmless to interrupt."""
    for _ in range(20):
        time.sleep(0.05)
        store.accounts()


@pytest.mark.parametrize("question", [count_for_ever, count_again_and_again])
async def test_a_desk_that_stops_refuses_who_is_asked_who_waits_and_who_comes(
    desk: Desk, question: Callable[[Store], None]
) -> None:
    """All of them learn at once that the server stops; nothing waits for the answer."""
    asked = [asyncio.create_task(desk.ask(question)) for _ in range(3)]
    await asyncio.sleep(0.1)
    began = time.monotonic()
    desk.stop()
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert time.monotonic() - began < 0.5
    assert [type(each) for each in done] == [DeskClosed] * 3
    with pytest.raises(DeskClosed, match="stopping"):
        await desk.ask(lambda store: store.accounts())
    await asyncio.to_thread(desk.close)
    assert time.monotonic() - began < 4
