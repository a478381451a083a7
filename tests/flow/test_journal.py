"""The journal: nothing waits for it, nothing is lost in it, and it sees what other processes do."""

import asyncio
import contextlib
import logging
import os
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from ccflare import startup
from ccflare.errors import StoreBusy, StoreError
from ccflare.journal import Journal, Pace
from ccflare.journal.inbox import Inbox, size_of
from ccflare.journal.watch import WatchedStore
from ccflare.payload import Captured
from ccflare.records import Account, Attempt, Binding, Credentials, Exchange, Secret
from ccflare.store import AccountChange, Batch, Store, open_store
from ccflare.vault import Keys

BEGAN_MS = int(time.time() * 1000)
QUICK = Pace(batch_s=0.01, watch_s=0.02)


def exchange(number: int, **fields: Any) -> Exchange:
    made = Exchange(
        id=f"exchange-{number:06d}",
        timestamp_ms=BEGAN_MS + number,
        method="POST",
        path="/v1/messages",
        account_id="id-a",
        status_code=200,
        success=True,
        response_time_ms=12,
        attempts=(Attempt("id-a", "deliver", 200, 12),),
    )
    return msgspec.structs.replace(made, **fields)


def account(name: str) -> tuple[Account, Credentials]:
    return Account(id=f"id-{name}", name=name, created_at_ms=1), Credentials(f"id-{name}", api_key=Secret("k"))


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Look again and again until something is so; fail when it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


class Desk:
    """A journal on a database file, with ways to look at both."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[dict[str, Credentials]] = []
        self.names: list[list[str]] = []
        self.wrap: Callable[[Store], Store] = lambda store: store
        self.published: list[list[str]] = []
        """The exchanges that were told of, batch by batch, and whether each was in the store by then."""
        self.journal = Journal(self._open, self._on_accounts, QUICK, on_written=self._on_written)

    def _open(self) -> Store:
        return self.wrap(open_store(self.path, busy_timeout_s=0.05))

    def _on_accounts(self, accounts: list[Account], credentials: dict[str, Credentials]) -> None:
        self.names.append([each.name for each in accounts])
        self.told.append(credentials)

    def _on_written(self, exchanges: Sequence[Exchange]) -> None:
        stored = set(self.rows())
        self.published.append([each.id if int(each.id[9:]) in stored else "missing" for each in exchanges])

    def rows(self) -> list[int]:
        """The numbers of the stored exchanges in the order they were written."""
        db = sqlite3.connect(self.path)
        try:
            return [int(text[9:]) for (text,) in db.execute("SELECT id FROM requests ORDER BY rowid")]
        finally:
            db.close()

    def store(self) -> Store:
        """Another process's connection."""
        return open_store(self.path)

    async def written(self, count: int) -> None:
        """Wait until so many exchanges are in the store."""
        await until(lambda: self.journal.state().written >= count)


class Faulty:
    """A store that fails as long as it is told to."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.error: Exception | None = None
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def write(self, batch: Batch) -> None:
        self.writes += 1
        if self.error is not None:
            raise self.error
        assert self.store is not None
        self.store.write(batch)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "ccflare.db")
    yield made
    await made.journal.close(2)


@pytest.fixture
async def faulty(desk: Desk) -> Faulty:
    """The writer's store of `desk`, ready to fail."""
    made = Faulty()

    def wrap(store: Store) -> Store:
        made.store = store
        return made

    desk.wrap = wrap
    desk.journal.start()
    await until(lambda: desk.names)
    return made


# Keeping.


async def test_exchanges_are_written_in_order(desk: Desk) -> None:
    """Everything that is put arrives once, in order, over many batches."""
    desk.journal.start()
    for number in range(1200):
        desk.journal.put(exchange(number))
        if number % 100 == 0:
            await asyncio.sleep(0.003)
    await desk.written(1200)
    assert desk.rows() == list(range(1200))
    assert desk.journal.state().waiting_bytes == 0


async def test_what_comes_while_the_queue_is_emptied_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange that slips in when the writer is already taking is written next, not at the next watch."""
    desk = Desk(tmp_path / "ccflare.db")
    desk.journal = Journal(desk._open, desk._on_accounts, Pace(batch_s=0.01, watch_s=60))
    take, late = Inbox.take, [exchange(1)]

    def take_and_miss_one(inbox: Inbox) -> list[Exchange | Batch | Captured]:
        taken = take(inbox)
        if taken and late:
            inbox._items.append(late.pop())  # as `put` does when it finds the queue not empty: nobody is called
        return taken

    monkeypatch.setattr(Inbox, "take", take_and_miss_one)
    desk.journal.start()
    await until(lambda: desk.names)
    desk.journal.put(exchange(0))
    await desk.written(2)
    assert await desk.journal.close()


async def test_exchanges_are_told_of_when_they_are_in_the_store(desk: Desk) -> None:
    """The loop hears of each exchange once, in order, after its row is there, and of many at a time."""
    desk.journal.start()
    for number in range(1200):
        desk.journal.put(exchange(number))
    await until(lambda: sum(map(len, desk.published)) == 1200)
    told = [each for batch in desk.published for each in batch]
    assert told == [f"exchange-{number:06d}" for number in range(1200)]
    assert len(desk.published) < 20


async def test_exchanges_that_are_not_in_the_store_are_not_told_of(desk: Desk, faulty: Faulty) -> None:
    """While the store fails nobody hears of them; afterwards of all but those that it can never take."""
    faulty.error = StoreError("disk I/O error")
    for number in range(3):
        desk.journal.put(exchange(number, error_message="\ud800" if number == 1 else None))
    await until(lambda: faulty.writes >= 2)
    assert desk.published == []
    faulty.error = None
    await until(lambda: sum(map(len, desk.published)) == 2, 10)
    assert [each for batch in desk.published for each in batch] == ["exchange-000000", "exchange-000002"]


async def test_a_full_batch_is_written_at_once(tmp_path: Path) -> None:
    """500 rows do not wait for the batch time."""
    desk = Desk(tmp_path / "ccflare.db")
    desk.journal = Journal(desk._open, desk._on_accounts, Pace(batch_s=60, watch_s=60))
    desk.journal.start()
    await until(lambda: desk.names)
    for number in range(500):
        desk.journal.put(exchange(number))
    await desk.written(500)
    assert await desk.journal.close()


async def test_closing_flushes(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """What was put before the end is in the store after it, and the line people look for is logged."""
    caplog.set_level(logging.INFO)
    desk.journal.start()
    for number in range(700):
        desk.journal.put(exchange(number))
    assert await desk.journal.close()
    assert desk.rows() == list(range(700))
    assert ("ccflare.async-db-writer", logging.INFO, "Async DB writer queue flushed") in caplog.record_tuples


async def test_the_pools_changes_are_kept(desk: Desk) -> None:
    """Of several changes to one account or session the latest is stored."""
    one, secret = account("a")
    store = desk.store()
    store.add_account(one, secret)
    desk.journal.start()
    for until_ms in (1, 2):
        limited = msgspec.structs.replace(one, limited_until_ms=until_ms)
        desk.journal.put_changes([limited], [Binding("k", "id-a", 5, until_ms)])
    await desk.journal.close()
    assert store.accounts()[0].limited_until_ms == 2
    assert store.bindings(bound_since_ms=0) == [Binding("k", "id-a", 5, 2)]
    store.close()


def test_the_size_of_an_exchange_is_not_underestimated() -> None:
    """The bound in bytes holds for real memory: the estimate is no less than what is allocated."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [
        exchange(
            n,
            path=f"/v1/{n:050d}",
            session=f"{n:032x}",
            client=f"10.0.{n}",
            model=f"claude-{n}",
            own_ms=n / 7,
            request_bytes=10**6 + n,
            response_bytes=10**6 + n,
            attempts=tuple(Attempt(f"{n:036d}", "next", 429, 300 + n, 300 + n, f"{n:040d}") for _ in "abc"),
        )
        for n in range(300)
    ]
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used <= sum(map(size_of, kept)) <= 4 * used


# Failing.


async def test_a_failing_store_loses_nothing(desk: Desk, faulty: Faulty, caplog: pytest.LogCaptureFixture) -> None:
    """Rows wait in order while the store fails; the failure is logged in the words people search for."""
    faulty.error = StoreError("disk I/O error")
    for number in range(10):
        desk.journal.put(exchange(number))
    await until(lambda: "Failed to execute DB job: disk I/O error; 10 exchanges wait" in caplog.text)
    state = desk.journal.state()
    assert (state.waiting, state.error, state.trouble) == (10, "disk I/O error", "unavailable")
    assert state.failing_s > 0
    faulty.error = None
    desk.journal.put(exchange(10))
    await desk.written(11)
    assert desk.rows() == list(range(11))
    await until(lambda: not desk.journal.state().error)
    state = desk.journal.state()
    assert (state.failing_s, state.error, state.trouble) == (0.0, None, None)


async def test_a_passing_lock_is_not_reported(desk: Desk, faulty: Faulty, caplog: pytest.LogCaptureFixture) -> None:
    """A database that is busy for a moment costs a retry and no line in the log."""
    faulty.error = StoreBusy("database is locked")
    desk.journal.put(exchange(0))
    await until(lambda: faulty.writes >= 3)
    faulty.error = None
    await desk.written(1)
    assert "Failed" not in caplog.text


async def test_a_real_lock_of_another_process(desk: Desk) -> None:
    """Exchanges are put as before while another connection holds the lock, and are written afterwards."""
    desk.journal.start()
    await until(lambda: desk.names)
    other = sqlite3.connect(desk.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    desk.journal.put(exchange(0))
    await until(lambda: desk.journal.state().error)
    assert desk.journal.state().trouble == "locked"
    other.execute("ROLLBACK")
    other.close()
    await desk.written(1)
    assert desk.rows() == [0]


async def test_a_row_that_no_store_takes_does_not_hold_up_the_rest(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """The unstorable row is named, counted and given up; those around it are written."""
    desk.journal.start()
    desk.journal.put(exchange(0))
    desk.journal.put(exchange(1, error_message="\ud800"))
    desk.journal.put(exchange(2))
    await desk.written(2)
    assert desk.rows() == [0, 2]
    assert (desk.journal.state().lost, desk.journal.state().waiting) == (1, 0)
    assert "Failed to execute DB job: exchange-000001 can never be stored" in caplog.text


async def test_a_mistake_in_the_program_does_not_end_recording(
    desk: Desk, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread survives an exception nobody expected, and the rows are written later."""
    faulty.error = RuntimeError("unexpected")
    desk.journal.put(exchange(0))
    await until(lambda: faulty.writes >= 2)
    faulty.error = None
    await desk.written(1)
    assert "unexpected" in caplog.text


async def test_a_full_queue_counts_what_it_does_not_keep(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The queue is bounded in bytes; what did not fit is counted and reported, the oldest rows are kept."""
    desk = Desk(tmp_path / "ccflare.db")
    size = size_of(exchange(0))
    desk.journal = Journal(desk._open, desk._on_accounts, Pace(batch_s=0.01, queue_bytes=10 * size))
    for number in range(25):
        desk.journal.put(exchange(number))
    assert (desk.journal.state().waiting, desk.journal.state().lost) == (10, 15)
    desk.journal.start()
    await desk.written(10)
    desk.journal.put(exchange(99))
    await desk.journal.close()
    assert desk.rows() == [*range(10), 99]
    assert "the queue is full; 15 exchanges were not recorded" in caplog.text


async def test_closing_has_a_deadline(desk: Desk, faulty: Faulty, caplog: pytest.LogCaptureFixture) -> None:
    """A store that never works delays the end by the time given and no more, and the loss is said."""
    faulty.error = StoreBusy("database is locked")
    desk.journal.put(exchange(0))
    began = time.monotonic()
    assert not await desk.journal.close(0.3)
    assert time.monotonic() - began < 2
    await until(lambda: "1 exchanges were not recorded before the end" in caplog.text)


async def test_a_database_that_cannot_be_opened_yet(tmp_path: Path) -> None:
    """The journal tries again by itself, says so meanwhile, and keeps rows for the store that opens later."""
    desk = Desk(tmp_path / "ccflare.db")
    tries: list[Store | None] = []

    def open_it() -> Store:
        tries.append(None)
        return desk._open()

    desk.journal = Journal(open_it, desk._on_accounts, Pace(batch_s=0.01, watch_s=60))
    (tmp_path / "ccflare.db").mkdir()
    desk.journal.start()
    await until(lambda: len(tries) >= 3)
    assert "it is a directory" in str(desk.journal.state().error)
    desk.journal.put(exchange(0))
    (tmp_path / "ccflare.db").rmdir()
    await desk.written(1)
    assert desk.rows() == [0]
    assert await desk.journal.close()


# Watching.


async def test_accounts_are_told_though_their_credentials_cannot_be_read_any_more(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process turns encryption on: what it changes of accounts counts, credentials stay, one line says it."""
    monkeypatch.setattr("ccflare.vault.KEY_COST", 1 << 10)
    caplog.set_level(logging.INFO)
    first = desk.store()
    first.add_account(*account("a"))
    first.close()
    desk.journal.start()
    await until(lambda: desk.names == [["a"]])
    sealed = open_store(desk.path, keys=Keys("open-sesame"))
    sealed.unlock()
    sealed.update_account("id-a", AccountChange(name="b"))
    await until(lambda: desk.names[-1] == ["b"])
    sealed.update_account("id-a", AccountChange(name="c"))
    await until(lambda: desk.names[-1] == ["c"])
    sealed.close()
    assert desk.told[-1]["id-a"].api_key == Secret("k")
    desk.journal.put(exchange(0))
    await desk.written(1)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert said[0].startswith(
        "The accounts' credentials cannot be read; those in memory are used: The stored credentials"
    )


async def test_accounts_are_told_at_the_start_and_when_another_process_changes_them(desk: Desk) -> None:
    """What the command line commits reaches the loop, secrets included; one's own writes tell nothing."""
    desk.journal.start()
    await until(lambda: desk.names == [[]])
    store = desk.store()
    store.add_account(*account("a"))
    await until(lambda: desk.names == [[], ["a"]])
    assert desk.told[-1]["id-a"].api_key == Secret("k")
    desk.journal.put(exchange(0))
    await desk.written(1)
    store.update_account("id-a", AccountChange(name="b"))
    await until(lambda: len(desk.names) == 3)
    assert desk.names[-1] == ["b"]
    store.remove_account("id-a")
    await until(lambda: desk.names[-1] == [])
    store.close()


async def test_changes_are_seen_within_a_second_while_traffic_runs(tmp_path: Path) -> None:
    """With the pace of a real server a commit of another process is told within a second."""
    desk = Desk(tmp_path / "ccflare.db")
    desk.journal = Journal(desk._open, desk._on_accounts)
    desk.journal.start()
    await until(lambda: desk.names)
    store = desk.store()
    store.add_account(*account("a"))
    for number in range(200):
        if desk.names[-1] == ["a"]:
            break
        desk.journal.put(exchange(number))
        await asyncio.sleep(0.005)
    assert desk.names[-1] == ["a"]
    store.close()
    assert await desk.journal.close()


async def test_a_removed_database_is_made_again(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Recording goes on in a new file; accounts in memory stay until the new file has one."""
    store = desk.store()
    store.add_account(*account("a"))
    store.close()
    desk.journal.start()
    desk.journal.put(exchange(0))
    await desk.written(1)
    for suffix in ("", "-wal", "-shm"):
        desk.path.with_name(desk.path.name + suffix).unlink(missing_ok=True)
    desk.journal.put(exchange(1))
    await desk.written(2)
    assert desk.rows() == [1]
    await until(lambda: "those in memory are used" in caplog.text)
    assert desk.names == [["a"]]
    store = desk.store()
    store.add_account(*account("b"))
    store.close()
    await until(lambda: desk.names == [["a"], ["b"]])
    assert "because the new database does not have them: a" in caplog.text


async def test_a_replaced_database_is_taken_over(desk: Desk, tmp_path: Path) -> None:
    """A backup that is put in place while the server runs brings its accounts."""
    backup = open_store(tmp_path / "backup.db")
    backup.add_account(*account("old"))
    backup.close()
    desk.journal.start()
    await until(lambda: desk.names)
    os.replace(tmp_path / "backup.db", desk.path)
    await until(lambda: desk.names[-1] == ["old"])
    desk.journal.put(exchange(0))
    await desk.written(1)
    assert desk.rows() == [0]


async def test_sessions_that_ended_long_ago_are_forgotten(desk: Desk) -> None:
    """The table of sessions does not grow for ever: after a month the writer deletes a binding."""
    store = desk.store()
    now_ms = int(time.time() * 1000)
    store.write(Batch(bindings=[Binding("old", "id-a", 1, 1), Binding("new", "id-a", now_ms, now_ms)]))
    desk.journal.start()
    await until(lambda: [each.key for each in store.bindings(bound_since_ms=0)] == ["new"])
    store.close()


# Costs.


def test_a_batch_is_written_beside_a_saturated_loop(tmp_path: Path) -> None:
    """With the server's loop and waits for the interpreter a loop that is never idle does not starve the writer.

    A batch of 500 rows takes some 20 ms; with the interpreter's own interval, row by row, it took 3 to 13 s, and with
    the system's timers on a machine with an idle core 2 to 5 s.
    """

    async def saturate() -> float:
        desk = Desk(tmp_path / "ccflare.db")
        desk.journal.start()
        await until(lambda: desk.names)
        for number in range(500):
            desk.journal.put(exchange(number))
        began = time.monotonic()
        while desk.journal.state().written < 500 and time.monotonic() - began < 5:
            sum(range(5000))
            await asyncio.sleep(0)
        taken = time.monotonic() - began
        assert await desk.journal.close()
        return taken

    before = sys.getswitchinterval()
    startup.share_interpreter()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(saturate()) < 2
    finally:
        sys.setswitchinterval(before)
        with contextlib.suppress(OSError):
            Path("/proc/self/timerslack_ns").write_text("0")  # as it was when the process began


async def test_putting_never_waits(desk: Desk, faulty: Faulty) -> None:
    """While the store is blocked for good, putting costs microseconds an exchange, not the store's time."""
    faulty.error = StoreBusy("database is locked")
    made = [exchange(number) for number in range(2000)]
    began = time.thread_time()
    for each in made:
        desk.journal.put(each)
    assert (time.thread_time() - began) / len(made) < 50e-6
    faulty.error = None
    await desk.written(2000)


async def test_an_idle_writer_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without traffic the thread wakes at most about four times a second."""
    desk = Desk(tmp_path / "ccflare.db")
    desk.journal = Journal(desk._open, desk._on_accounts)
    looks: list[float] = []
    look = WatchedStore.look

    def counted(store: WatchedStore) -> None:
        looks.append(time.monotonic())
        look(store)

    monkeypatch.setattr(WatchedStore, "look", counted)
    desk.journal.start()
    await until(lambda: len(looks) >= 4)
    assert looks[3] - looks[0] >= 0.7
    assert await desk.journal.close()
