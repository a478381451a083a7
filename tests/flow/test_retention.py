"""Payloads get into the store behind their exchanges, and what is too old or too much leaves it, all by itself."""

import asyncio
import gzip
import logging
import random
import re
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ccflare.errors import StoreBusy, StoreError
from ccflare.journal import Journal, Pace, Retention
from ccflare.journal.retention import Sweep
from ccflare.payload import Captured, Payload
from ccflare.records import Exchange
from ccflare.store import open_store
from ccflare.store.payloads import Payloads
from ccflare.store.sqlite import SqliteStore
from ccflare.wire import ByteBudget

QUICK = Pace(batch_s=0.01, watch_s=0.02, sweep_s=0.05)
NEVER = Pace(batch_s=0.01, watch_s=0.02, sweep_s=3600)
DAY_MS = 86_400_000
KEY = "sk-ant-api03-of-a-client"


def now_ms() -> int:
    return int(time.time() * 1000)


def exchange(number: int, age_days: float = 0) -> Exchange:
    return Exchange(
        id=f"x{number:05d}",
        timestamp_ms=now_ms() - int(age_days * DAY_MS),
        method="POST",
        path="/v1/messages",
        status_code=200,
        success=True,
        response_time_ms=1,
        session="s",
    )


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not become smaller."""
    return random.Random(seed).randbytes(size)


def captured(of: Exchange, answer: bytes = b"answer") -> Captured:
    made = Captured(b"/v1/messages", [(b"x-api-key", KEY.encode())], ByteBudget(1 << 30))
    made.request.add(b"question")
    made.answered(200, b"", ())
    made.response.add(answer)
    made.close(of)
    return made


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Look again and again until something is so; fail when it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


class Bench:
    """A journal on a database file, and a second connection that looks at it."""

    def __init__(self, path: Path, pace: Pace) -> None:
        self.path = path
        self.journal = Journal(lambda: open_store(path, busy_timeout_s=0.05), lambda *_: None, pace)
        self.store = open_store(path)

    def put(self, number: int, age_days: float = 0, answer: bytes = b"answer") -> None:
        made = exchange(number, age_days)
        self.journal.put(made, captured(made, answer))

    def ids(self, table: str = "payloads") -> list[int]:
        """The numbers of the rows of a table."""
        db = sqlite3.connect(self.path)
        try:
            return [int(text[1:]) for (text,) in db.execute(f"SELECT id FROM {table} ORDER BY id")]
        finally:
            db.close()

    def payload(self, number: int) -> Payload:
        found = self.store.payloads.read(f"x{number:05d}")
        assert found is not None
        return found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A journal that has not been started, whose retention looks often."""
    made = Bench(tmp_path / "ccflare.db", QUICK)
    yield made
    await made.journal.close(2)
    made.store.close()


@pytest.fixture
async def unswept(tmp_path: Path) -> AsyncIterator[Bench]:
    """A journal whose retention only comes when it is asked."""
    made = Bench(tmp_path / "ccflare.db", NEVER)
    yield made
    await made.journal.close(2)
    made.store.close()


# Keeping.


async def test_payloads_are_kept_without_credentials(bench: Bench) -> None:
    """What was captured is readable behind its exchange; the client's key is nowhere in the files."""
    bench.journal.start()
    for number in range(100):
        bench.put(number)
    await until(lambda: not bench.journal.state().payloads_waiting)
    state = bench.journal.state()
    assert (state.payloads_written, state.payload_bytes_waiting, state.payloads_dropped) == (100, 0, 0)
    assert bench.ids() == bench.ids("requests") == list(range(100))
    made = bench.payload(42)
    assert (made.request.data, made.response.data) == (b"question", b"answer")
    assert made.request_headers == (("x-api-key", "***"),)
    assert not any(KEY.encode() in file.read_bytes() for file in bench.path.parent.iterdir())


async def test_a_credential_inside_a_coded_answer_is_found(unswept: Bench) -> None:
    """The journal looks into gzip before it keeps an answer."""
    unswept.journal.start()
    for number, text in enumerate((b"nothing in it", b"you sent " + KEY.encode())):
        made = exchange(number)
        kept = captured(made, gzip.compress(text))
        kept.answered(200, b"content-encoding: gzip\r\n", (b"content-encoding",))
        unswept.journal.put(made, kept)
    await until(lambda: unswept.ids() == [0, 1])
    assert gzip.decompress(unswept.payload(0).response.data) == b"nothing in it"
    assert unswept.payload(1).response.data == b""
    assert unswept.payload(1).response.truncated


async def test_exchanges_do_not_wait_for_payloads(unswept: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long payloads take, an exchange that comes meanwhile is written after at most one more step of them."""
    write, written = Payloads.write, list[int]()
    begun, go_on = threading.Event(), threading.Event()

    def slow(payloads: Payloads, batch: list[Payload], *told: Any, budget_bytes: int) -> int:
        written.append(unswept.journal.state().written)
        begun.set()
        assert go_on.wait(10)
        time.sleep(0.03)  # longer than an exchange waits for others
        return write(payloads, batch, *told, budget_bytes=budget_bytes)

    monkeypatch.setattr(Payloads, "write", slow)
    for number in range(1280):
        unswept.put(number)
    unswept.journal.start()
    await until(begun.is_set)
    unswept.journal.put(exchange(9999))
    go_on.set()
    await until(lambda: unswept.journal.state().payloads_written == 1280, 20)
    assert written[:1] + written[2:] == [1280, 1281, 1281, 1281]


async def test_payloads_are_dropped_before_exchanges(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When too many bytes of payloads wait they are counted and reported once; every exchange is written."""
    bench = Bench(tmp_path / "ccflare.db", Pace(batch_s=0.01, watch_s=0.02, payload_bytes=1_000_000))
    for number in range(50):
        bench.put(number, answer=noise(100_000, number))
    state = bench.journal.state()
    assert (state.waiting, state.payloads_waiting, state.payloads_dropped) == (50, 9, 41)
    assert state.payload_bytes_waiting <= 1_000_000
    bench.journal.start()
    await until(lambda: bench.journal.state().payloads_written == 9)
    bench.put(50)
    await bench.journal.close()
    bench.store.close()
    assert (len(bench.ids("requests")), bench.ids()) == (51, [*range(9), 50])
    assert caplog.text.count("41 payloads were not kept: too many wait for the database") == 1


async def test_payloads_wait_for_a_failing_store_and_exchanges_do_not(
    unswept: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that has no room for payloads still gets its exchanges in time; later it gets the payloads."""
    write, failing, tries = Payloads.write, [True], list[int]()

    def fail(payloads: Payloads, batch: list[Payload], *told: Any, budget_bytes: int) -> int:
        if failing[0]:
            tries.append(len(batch))
            raise StoreError("no room for it")
        return write(payloads, batch, *told, budget_bytes=budget_bytes)

    monkeypatch.setattr(Payloads, "write", fail)
    unswept.journal.start()
    for number in range(20):
        unswept.put(number)
        await until(lambda number=number: unswept.journal.state().written > number)  # type: ignore[misc]  # a default
    assert len(tries) < 10  # their pauses become longer, and no exchange has waited for the end of one
    await until(lambda: re.search(r"Failed to execute DB job: no room for it; \d+ payloads wait", caplog.text))
    assert unswept.journal.state().payloads_waiting == 20
    failing[0] = False
    await until(lambda: unswept.ids() == list(range(20)), 10)


@pytest.mark.parametrize("error", [StoreError("disk I/O error"), StoreBusy("locked")])
async def test_payloads_do_not_hold_up_the_end(
    unswept: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """At the end exchanges are written first, and payloads as far as there is time."""

    def fail(_payloads: Payloads, _batch: list[Payload], *_told: Any, **_budget: int) -> int:
        raise error

    monkeypatch.setattr(Payloads, "write", fail)
    unswept.journal.start()
    unswept.put(0)
    began = time.monotonic()
    assert not await unswept.journal.close(0.3)
    assert time.monotonic() - began < 2
    assert unswept.ids("requests") == [0]
    assert "1 payloads were not kept before the end" in caplog.text


async def test_closing_writes_the_payloads_that_wait(unswept: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """What was put before the end is in the store after it."""
    caplog.set_level(logging.INFO)
    unswept.journal.start()
    for number in range(200):
        unswept.put(number)
    assert await unswept.journal.close()
    assert unswept.ids() == list(range(200))
    assert "Async DB writer queue flushed" in caplog.text


async def test_one_payload_that_cannot_be_redacted_takes_no_other_with_it(
    unswept: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, counted and left out; nothing of it is stored."""
    unswept.journal.start()
    broken = captured(exchange(1))
    broken.request_headers = [(b"x",)]  # type: ignore[list-item]  # what no request can have
    unswept.put(0)
    unswept.journal.put(exchange(1), broken)
    unswept.put(2)
    await until(lambda: unswept.ids() == [0, 2] and not unswept.journal.state().payloads_waiting)
    assert unswept.journal.state().payloads_dropped == 1
    assert "Failed to capture streaming response: x00001" in caplog.text


# Retention.


async def test_old_payloads_go_by_themselves(bench: Bench) -> None:
    """Payloads go at their age, their exchanges stay; the rules may change while it runs."""
    for number, age in enumerate((10, 8, 5, 1)):
        made = exchange(number, age)
        bench.journal.put(msgspec.structs.replace(made, session=str(number)), _of_session(made, str(number)))
    bench.journal.start()
    await until(lambda: bench.ids() == [2, 3])
    bench.journal.rules = Retention(payload_days=2)
    await until(lambda: bench.ids() == [3])
    assert bench.ids("requests") == [0, 1, 2, 3]


def _of_session(of: Exchange, session: str) -> Captured:
    made = captured(of)
    made.session = session
    return made


async def test_old_exchanges_go_with_their_payloads(bench: Bench) -> None:
    """The list of requests has an age of its own; a payload is not kept longer than its exchange."""
    for number, age in enumerate((5, 3, 1)):
        made = exchange(number, age)
        bench.journal.put(made, _of_session(made, str(number)))
    bench.journal.rules = Retention(payload_days=30, request_days=2)
    bench.journal.start()
    await until(lambda: bench.journal.state().payloads_written >= 1 and bench.ids("requests") == bench.ids() == [2])


async def test_too_many_payloads_become_fewer(bench: Bench) -> None:
    """The oldest go until the rest is within the budget."""
    for number in range(30):
        made = exchange(number)
        bench.journal.put(made, _of_session_with(made, noise(20_000, number)))
    bench.journal.rules = Retention(payload_bytes=200_000)
    bench.journal.start()
    await until(lambda: bench.journal.state().payloads_written == 30)
    await until(lambda: bench.store.payloads.size_bytes() <= 200_000)
    left = bench.ids()
    assert len(left) == 9
    assert left == list(range(21, 30))


def _of_session_with(of: Exchange, answer: bytes) -> Captured:
    made = captured(of, answer)
    made.session = of.id
    return made


async def test_the_file_becomes_smaller_by_itself(unswept: Bench) -> None:
    """What is deleted is given back to the file system in steps, without a VACUUM."""
    unswept.journal.start()
    for number in range(20):
        unswept.put(number, answer=noise(500_000, number))
    await until(lambda: unswept.journal.state().payloads_written == 20, 10)
    unswept.journal.rules = Retention(payload_bytes=0)
    removed = await unswept.journal.clean_up()
    assert removed.payloads == 20
    assert removed.pages > 2000
    assert removed.complete
    assert unswept.path.stat().st_size < 2_500_000
    assert (await unswept.journal.clean_up()).payloads == 0


async def test_cleaning_up_has_a_deadline(unswept: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer says that it is not complete, and whoever still waits hears of the journal's end."""
    begun, release = threading.Event(), threading.Event()

    def slow(_payloads: Payloads, **_bounds: Any) -> int:
        begun.set()
        assert release.wait(10)
        return 1

    unswept.journal.start()
    unswept.put(0)
    await until(lambda: unswept.ids() == [0])
    monkeypatch.setattr(Payloads, "forget", slow)
    removed = await unswept.journal.clean_up(within_s=0.2)
    assert (removed.payloads, removed.complete) == (0, False)
    waiting = asyncio.create_task(unswept.journal.clean_up(within_s=10))
    await until(begun.is_set)
    closing = asyncio.create_task(unswept.journal.close())
    await asyncio.sleep(0.05)
    release.set()
    assert await closing
    with pytest.raises(StoreBusy, match="stopping"):
        await waiting


@pytest.mark.parametrize("failing", ["write", "forget"])
async def test_a_database_that_cannot_be_changed_is_told_to_who_asked(
    unswept: Bench, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Who has it cleaned up learns at once that it fails, also while the writer itself waits for its next try."""

    def fail(*_args: Any, **_more: Any) -> Any:
        raise StoreError("disk I/O error")

    unswept.journal.start()
    unswept.put(0)
    await until(lambda: unswept.ids() == [0])
    if failing == "forget":
        monkeypatch.setattr(Payloads, "forget", fail)
    else:
        monkeypatch.setattr(SqliteStore, "write", fail)
        unswept.put(1)
        await until(lambda: unswept.journal.state().failing_s > 1.6)  # the next try is in a second or later
    began = time.monotonic()
    with pytest.raises(StoreError, match="disk I/O error"):
        await unswept.journal.clean_up(within_s=10)
    assert time.monotonic() - began < 0.5


async def test_other_rules_count_at_once(unswept: Bench) -> None:
    """Retention looks again when its rules are replaced, however long its usual pause is."""
    unswept.journal.start()
    unswept.put(0, age_days=3)
    await until(lambda: unswept.ids() == [0])
    await until(lambda: unswept.journal._writer and unswept.journal._writer.sweep.due_at > time.monotonic() + 60)
    unswept.journal.rules = Retention(payload_days=2)
    await until(lambda: unswept.ids() == [])


async def test_nothing_is_cleaned_up_by_a_journal_that_does_not_run(unswept: Bench) -> None:
    """Who asks learns it at once."""
    with pytest.raises(StoreBusy):
        await unswept.journal.clean_up()


async def test_exchanges_are_written_while_much_is_deleted(unswept: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting happens in steps, and after two of them at most an exchange is written: none waits for all of it."""
    step, written = Sweep.step, list[int]()

    def slow(sweep: Sweep) -> None:
        written.append(unswept.journal.state().written)
        time.sleep(0.012)  # longer than an exchange waits for others
        step(sweep)

    monkeypatch.setattr(Sweep, "step", slow)
    unswept.journal.start()
    for number in range(40):
        unswept.put(number, answer=noise(700_000, number))
        await until(lambda: unswept.journal.state().payload_bytes_waiting < 20_000_000)
    await until(lambda: unswept.journal.state().payloads_written == 40, 20)
    unswept.journal.rules = Retention(payload_bytes=0)
    cleaning = asyncio.create_task(unswept.journal.clean_up())
    steps_before = list[int]()
    while not cleaning.done():
        steps_before.append(len(written))
        unswept.journal.put(exchange(1000 + len(steps_before)))
        await until(lambda: unswept.journal.state().written == 40 + len(steps_before))
    await cleaning
    assert unswept.journal._writer
    assert unswept.journal._writer.sweep.removed.payloads == 40  # some may have gone before anybody asked
    assert len(steps_before) > 2
    for number, steps in enumerate(steps_before, 1):
        assert all(each >= 40 + number for each in written[steps + 2 :])


async def test_a_failing_retention_keeps_no_exchange_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported, tried again later, and exchanges and payloads are written meanwhile."""
    tries: list[int] = []

    def fail(_payloads: Payloads, **_bounds: Any) -> int:
        tries.append(1)
        raise RuntimeError("unexpected")

    monkeypatch.setattr(Payloads, "forget", fail)
    bench.journal.start()
    for number in range(10):
        bench.put(number)
    await until(lambda: bench.journal.state().payloads_written == 10, 1)
    await until(lambda: len(tries) >= 2)
    assert "unexpected" in caplog.text
