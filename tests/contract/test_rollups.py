"""Sums by time: written with their rows, read through their keys, kept as long as somebody asks."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

import original_kit
from ccflare.records import outcome_of
from ccflare.store import Store
from ccflare.store.history import Filter
from ccflare.store.rollups import HOURS_KEPT_MS, MINUTES_KEPT_MS
from ccflare.store.series import OTHER
from ccflare.store.sums import DAY_MS, EVER, HOUR_MS, MINUTE_MS, spans
from ccflare.usage import Usage
from history_kit import T0, exchange, opened, sums_of, without_sums, write

TABLES = ("rollup_new", "rollup_minute", "rollup_hour", "rollup_day", "rollup_ever")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ccflare.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with opened(path) as one:
        yield one


@pytest.fixture
def connection(store: Store) -> sqlite3.Connection:
    found: sqlite3.Connection = store._db.connection  # type: ignore[attr-defined]  # what is looked at belongs to it
    return found


def rows_of(connection: sqlite3.Connection) -> list[int]:
    return [connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES]


@pytest.mark.parametrize(
    ("status", "success", "outcome"),
    [
        (200, True, "success"),
        (200, False, "interrupted"),
        (206, False, "interrupted"),
        (400, False, "client_error"),
        (429, False, "rate_limited"),
        (499, False, "disconnected"),
        (500, False, "server_error"),
        (529, False, "overloaded"),
        (304, False, "other"),
        (0, False, "other"),
    ],
)
def test_outcomes(store: Store, status: int, success: bool, outcome: str) -> None:
    """Each end of an exchange has its word, and is found and counted by it."""
    assert outcome_of(status, success) == outcome
    write(store, exchange(1, status_code=status, success=success), exchange(2, status_code=418, success=True))
    wanted = Filter(status=outcome)
    found = store.rollups.sums(wanted, (), EVER)[()]
    assert found.requests == 1 + (outcome == "success")
    assert (found.succeeded, found.rate_limited) == ((found.requests if success else 0), outcome == "rate_limited")


def test_what_is_new_is_folded_now_and_then(store: Store, connection: sqlite3.Connection) -> None:
    """Batches write one table; the others follow by themselves, and nothing shows the difference."""
    for number in range(5):
        write(store, exchange(number))
    assert rows_of(connection) == [1, 0, 0, 0, 0]
    before = store.rollups.sums(Filter(), (), EVER)
    with store._db.transaction():  # type: ignore[attr-defined]  # as a batch does
        store.rollups.fold()
    assert rows_of(connection) == [0, 1, 1, 1, 1]
    assert store.rollups.sums(Filter(), (), EVER) == before
    for number in range(5, 1006):
        write(store, exchange(number, timestamp_ms=T0 + number % 3))
    assert rows_of(connection)[0] == 1
    assert connection.execute("SELECT requests FROM rollup_day").fetchone()[0] >= 1000
    found = store.rollups.sums(Filter(), (), EVER)[()]
    assert found.requests == found.latency.total == 1006


def test_a_late_exchange_counts_where_it_arrived(store: Store) -> None:
    """One that took an hour is added to the minute of its arrival, which was folded long ago."""
    store.rollups.fold_after = 1
    write(store, exchange(1))
    write(store, exchange(2, timestamp_ms=T0 + 2 * HOUR_MS))
    write(store, exchange(3, timestamp_ms=T0 + 59_999, response_time_ms=HOUR_MS))
    found = store.rollups.sums(Filter(), (), spans(T0, T0 + MINUTE_MS))[()]
    assert (found.requests, found.response_time_ms) == (2, HOUR_MS + 1000)


def test_a_batch_writes_few_statements(store: Store, connection: sqlite3.Connection) -> None:
    """However many exchanges it has: each statement beside a busy event loop waits for the interpreter."""
    counts = []
    for first, size in ((0, 1), (1_000, 32), (2_000, 512)):
        seen: list[str] = []
        connection.set_trace_callback(seen.append)
        write(store, *(exchange(first + n, model=f"m-{n % 6}") for n in range(size)))
        connection.set_trace_callback(None)
        counts.append(len(seen))
    assert max(counts) <= counts[0] + 3 <= 14


@pytest.mark.parametrize("coarsest", [MINUTE_MS, HOUR_MS, DAY_MS])
def test_a_period_is_read_through_its_key(store: Store, connection: sqlite3.Connection, coarsest: int) -> None:
    """No table of sums is read from end to end."""
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    store.rollups.sums(
        Filter(status="error"), ("time", "model"), spans(T0 + MINUTE_MS, T0 + 3 * DAY_MS, coarsest), coarsest
    )
    connection.set_trace_callback(None)
    plans = [str(row) for statement in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert any("SEARCH rollup_new USING PRIMARY KEY" in plan for plan in plans)
    assert not [plan for plan in plans if "SCAN rollup" in plan]


def test_fine_sums_are_forgotten_in_small_steps(store: Store, connection: sqlite3.Connection) -> None:
    """Minutes and hours that no question needs go, oldest first; days and the whole stay."""
    store.rollups.fold_after = 1
    ages = [0, MINUTES_KEPT_MS, MINUTES_KEPT_MS + 1, HOURS_KEPT_MS, HOURS_KEPT_MS + 1, 4 * HOURS_KEPT_MS]
    now_ms = T0 + 500 * DAY_MS
    for number, age in enumerate(ages):
        write(store, exchange(number, timestamp_ms=(now_ms - age) // MINUTE_MS * MINUTE_MS))
    assert rows_of(connection) == [0, 6, 6, 6, 1]
    assert store.rollups.forget(now_ms, at_most=1) == 2
    assert rows_of(connection) == [0, 5, 5, 6, 1]
    oldest = (now_ms - HOURS_KEPT_MS - 1) // MINUTE_MS * MINUTE_MS
    assert connection.execute("SELECT MIN(time) FROM rollup_minute").fetchone() == (oldest,)
    while store.rollups.forget(now_ms, at_most=1):
        pass
    assert rows_of(connection) == [0, 2, 4, 6, 1]
    assert store.rollups.sums(Filter(), (), EVER)[()].requests == 6
    assert store.rollups.sums(Filter(), (), spans(T0, now_ms // DAY_MS * DAY_MS + DAY_MS))[()].requests == 6


def test_the_beginning_is_known(store: Store) -> None:
    """It is the day of the first exchange, folded or not."""
    write(store, exchange(1, timestamp_ms=T0 + 5 * DAY_MS + 7))
    assert store.rollups.since_ms() == T0 + 5 * DAY_MS
    store.rollups.fold_after = 1
    write(store, exchange(2, timestamp_ms=T0 + 3 * DAY_MS + 7))
    assert store.rollups.since_ms() == T0 + 3 * DAY_MS


def test_users_read_the_sums_with_sqlite3(store: Store, path: Path) -> None:
    """The tables need no function of ours: another program adds them up, NULL where nobody said anything."""
    store.rollups.fold_after = 1
    usage = Usage(input_tokens=5, cache_creation_5m_tokens=2, cache_creation_1h_tokens=3)
    write(store, exchange(1, usage=usage, cost_microusd=70), exchange(2, usage=usage), exchange(3))
    db = sqlite3.connect(path)
    (found,) = db.execute(
        "SELECT model, SUM(requests), SUM(input_tokens), SUM(cache_creation_input_tokens), SUM(output_tokens), "
        "SUM(cost_microusd), SUM(unpriced) FROM rollup_day JOIN series ON series.id = series GROUP BY model"
    )
    db.close()
    assert found == ("claude-x", 3, 10, 10, None, 70, 1)


# Rows from before there were sums.


def test_the_originals_history_has_sums(tmp_path: Path) -> None:
    """Its rows are counted and found by any filter; what they cost is known in micro-dollars."""
    path = original_kit.copy_of_real(tmp_path)
    with opened(path) as store:
        rows = store.exchanges()
        expected = msgspec.structs.replace(sums_of(rows), failover_attempts=2)  # it kept their number, not the attempts
        assert store.rollups.sums(Filter(), (), EVER) == {(): expected}
        failed = store.history.page(Filter(status="error"))
        assert {each.id for each in failed} == {each.id for each in rows if not each.success}
        assert store.history.models()
    ((dollars, microdollars),) = original_kit.read(path, "SELECT SUM(cost_usd), SUM(cost_microusd) FROM requests")
    assert microdollars == pytest.approx(dollars * 1_000_000, abs=len(rows))
    assert microdollars > 0


def test_an_old_cost_of_nothing_is_unknown(tmp_path: Path) -> None:
    """The original made the whole cost 0 when one price was missing; a duration it did not know is not counted."""
    path = tmp_path / "ccflare.db"
    with opened(path) as store:
        write(store, exchange(1, usage=Usage(input_tokens=5)), exchange(2, usage=Usage(input_tokens=5)))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE requests SET cost_usd = 0, response_time_ms = NULL WHERE id LIKE '%1'")
        db.commit()
    without_sums(path)
    with opened(path) as store:
        found = store.rollups.sums(Filter(), (), EVER)[()]
    assert (found.requests, found.cost_microusd, found.unpriced, found.latency.total) == (2, None, 2, 1)


def test_old_models_make_no_series_without_end(tmp_path: Path) -> None:
    """Of very many models in an old history the rarest share a series; every row has one, and is counted."""
    path = tmp_path / "ccflare.db"
    with opened(path) as store:
        write(store, *(exchange(n, model="often", timestamp_ms=T0) for n in range(2)))
    with closing(sqlite3.connect(path)) as db:
        columns = "id, timestamp, method, path, status_code, success, model"
        rows = [(f"m{n}", f"m{n}") for n in range(5010)]
        db.executemany(f"INSERT INTO requests ({columns}) VALUES (?, 1, 'GET', '/', 200, 1, ?)", rows)
        db.commit()
    without_sums(path)
    with opened(path) as store:
        assert (len(store.history.models()), OTHER in store.history.models()) == (5001, True)
        by_model = store.rollups.sums(Filter(), ("model",), EVER)
    assert by_model["often",].requests == 2
    assert by_model[OTHER,].requests == 11
    assert sum(each.requests for each in by_model.values()) == 5012
