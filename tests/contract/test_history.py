"""The history: rows that come back page by page at the same cost however many there are."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ccflare.errors import NotFound
from ccflare.records import Account, Credentials, Secret
from ccflare.store import Store, open_store, series
from ccflare.store.history import Cursor, Filter
from ccflare.store.sums import EVER
from history_kit import T0, exchange, write

Open = Callable[[], Store]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ccflare.db"


@pytest.fixture
def reopen(path: Path) -> Iterator[Open]:
    """Opens one more connection; all are closed after the test."""
    stores: list[Store] = []

    def open_one() -> Store:
        stores.append(open_store(path))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(reopen: Open) -> Store:
    return reopen()


def ids(store: Store, wanted: Filter = Filter(), **page: object) -> list[str]:  # noqa: B008  # a value
    return [each.id for each in store.history.page(wanted, **page)]  # type: ignore[arg-type]  # the test's own


def add_account(store: Store, name: str) -> None:
    store.add_account(Account(id=f"id-{name}", name=name, created_at_ms=1), Credentials(f"id-{name}", Secret("sk-x")))


# One row.


def test_an_exchange_is_found_by_its_id(store: Store) -> None:
    """It comes back whole; an unknown id finds nothing."""
    write(store, exchange(1), exchange(2, error_message="overloaded", success=False, status_code=529))
    assert store.history.get("exchange-000002") == exchange(
        2, error_message="overloaded", success=False, status_code=529
    )
    assert store.history.get("exchange-000003") is None


# Pages.


def test_the_newest_come_first(store: Store) -> None:
    """The order is that of arrival, whatever the order of writing, and of the id among those that came at once."""
    write(store, exchange(3), exchange(1))
    write(store, exchange(2), exchange(5, id="b", timestamp_ms=T0), exchange(6, id="a", timestamp_ms=T0))
    assert ids(store) == ["exchange-000003", "exchange-000002", "exchange-000001", "b", "a"]


def test_a_page_stays_where_it_is(store: Store) -> None:
    """What arrives while somebody turns pages moves none of the older ones."""
    write(store, *(exchange(n) for n in range(10)))
    first = store.history.page(Filter(), at_most=5)
    write(store, exchange(11), exchange(12))
    second = store.history.page(Filter(), before=Cursor(first[-1].timestamp_ms, first[-1].id), at_most=5)
    assert [each.id[-1] for each in first + second] == list("9876543210")


def test_what_arrived_at_once_is_told_apart_by_its_id(store: Store) -> None:
    """Pages through many exchanges of one millisecond lose none, also when they are of different accounts."""
    write(store, *(exchange(n, timestamp_ms=T0, account_id=f"a{n % 4}") for n in range(12)))
    for wanted in (Filter(), Filter(model="claude-x")):
        found: list[str] = []
        for _ in range(4):
            found += ids(store, wanted, before=Cursor(T0, found[-1]) if found else None, at_most=3)
        assert found == [f"exchange-{n:06d}" for n in reversed(range(12))]


def test_a_place_need_not_exist_any_more(store: Store) -> None:
    """A cursor is a place in the order: its row may have been forgotten meanwhile."""
    write(store, *(exchange(n) for n in range(5)))
    assert ids(store, before=Cursor(T0 + 2000, "zzz")) == ["exchange-000002", "exchange-000001", "exchange-000000"]
    assert ids(store, Filter(account_id="a"), before=Cursor(T0 + 2500, "")) == ids(store, before=Cursor(T0 + 2500, ""))


def test_a_filter_says_what_it_says(store: Store) -> None:
    """Account, model or family, code, outcome and period; a family ends at a hyphen, and nothing is a pattern."""
    write(
        store,
        exchange(1, account_id="b", model="claude-3-opus-20240229"),
        exchange(2, model="claude-3-opus"),
        exchange(3, model="claude-3-opusx", status_code=429, success=False),
        exchange(4, model=None, account_id=None, status_code=503, success=False),
        exchange(5, model="claude_3-opus%", success=False),
    )

    def numbers(**fields: object) -> list[int]:
        return [int(each[-1]) for each in ids(store, Filter(**fields))]  # type: ignore[arg-type]  # the test's own

    assert numbers(model="claude-3-opus") == [2, 1]
    assert numbers(model="claude") == [3, 2, 1]
    assert numbers(model="claude_3-opus") == numbers(model="claude%") == numbers(model="opus") == []
    assert numbers(account_id="") == [4]
    assert numbers(status="error") == [5, 4, 3]
    assert numbers(status=200) == [5, 2, 1]
    assert numbers(status="success") == [2, 1]
    assert numbers(status="rate_limited") == [3]
    assert numbers(status="server_error") == [4]
    assert numbers(status="interrupted") == [5]
    assert numbers(from_ms=T0 + 2000, to_ms=T0 + 4000) == [3, 2]
    assert numbers(from_ms=T0 + 2000, to_ms=T0 + 4000, account_id="a", status="error") == [3]


FILTERS = {
    "all": Filter(),
    "account": Filter(account_id="a1"),
    "model": Filter(model="claude-m"),
    "error": Filter(status="error"),
    "code": Filter(status=429),
    "three": Filter(account_id="a1", model="claude-m-1", status=429),
    "rare": Filter(account_id="a9"),
    "period": Filter(status="success", from_ms=T0 + 100_000, to_ms=T0 + 900_000),
    "nothing": Filter(account_id="nobody", status=200),
}


def fill(store: Store, begin: int, end: int) -> None:
    write(
        store,
        *(
            exchange(
                n,
                account_id="a9" if n in {7, 500} else f"a{n % 2}",
                model=f"claude-m-{n // 2 % 2}",
                status_code=429 if n % 3 == 0 else 200,
                success=n % 3 != 0,
            )
            for n in range(begin, end)
        ),
    )


def steps(store: Store, action: Callable[[], object]) -> int:
    """Return how many hundred instructions SQLite executes for something."""
    connection: sqlite3.Connection = store._db.connection  # type: ignore[attr-defined]  # the handler is per connection
    counted = []
    connection.set_progress_handler(lambda: counted.append(1), 100)
    try:
        action()
    finally:
        connection.set_progress_handler(None, 0)
    return len(counted)


@pytest.mark.parametrize("name", FILTERS)
def test_a_page_costs_the_same_in_a_long_history(store: Store, name: str) -> None:
    """Sixteen times the rows take hardly more instructions, whatever the filter and wherever the page is."""

    def pages() -> None:
        store.history.page(FILTERS[name])
        store.history.page(FILTERS[name], before=Cursor(T0 + 600_500, ""))

    fill(store, 0, 1_000)
    short = steps(store, pages)
    for begin in range(1_000, 16_000, 1_000):
        fill(store, begin, begin + 1_000)
    assert steps(store, pages) <= 1.3 * short + 20


@pytest.mark.parametrize("name", FILTERS)
def test_no_page_scans_the_history(store: Store, name: str) -> None:
    """Rows are found through indexes alone."""
    connection: sqlite3.Connection = store._db.connection  # type: ignore[attr-defined]  # the trace is per connection
    fill(store, 0, 200)
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    store.history.page(FILTERS[name], before=Cursor(T0 + 100_000, "x"))
    connection.set_trace_callback(None)
    plans = [str(row) for statement in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert any("SEARCH requests" in plan or "SCAN series" in plan for plan in plans)
    assert not [plan for plan in plans if "SCAN requests" in plan]


# Names.


def test_models_that_answered_come_first(store: Store) -> None:
    """A name that only failed requests had stands behind those that exist; none is no model."""
    write(store, exchange(1, model="a-typo", status_code=404, success=False), exchange(2, model="claude-x"))
    write(store, exchange(3, model=None), exchange(4, model="claude-b"))
    assert store.history.models() == ["claude-b", "claude-x", "a-typo"]


def test_a_removed_account_keeps_its_name_in_the_history(store: Store) -> None:
    """Also when another account has its name now, and only if it was there."""
    add_account(store, "one")
    store.remove_account("id-one")
    add_account(store, "two")
    with pytest.raises(NotFound):
        store.remove_account("id-three")
    assert store.history.account_names() == {"id-one": "one", "id-two": "two"}


def test_the_present_name_wins(store: Store) -> None:
    """An account that came back under its id is called what it is called now."""
    add_account(store, "one")
    store.remove_account("id-one")
    store.add_account(Account(id="id-one", name="new", created_at_ms=1), Credentials("id-one", Secret("sk-x")))
    assert store.history.account_names() == {"id-one": "new"}


# The bound on series.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that a test can reach."""
    monkeypatch.setattr(series, "_ENOUGH", 10)
    monkeypatch.setattr(series, "_AT_MOST", 20)


def series_count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT COUNT(*) FROM series").fetchone()[0])


@pytest.mark.usefixtures("small")
def test_invented_models_make_no_series_without_end(reopen: Open, path: Path) -> None:
    """Beyond the bound failed requests share one series; real models still get theirs, and no row or sum is lost."""
    stores = [reopen() for _ in range(3)]
    for number in range(60):
        write(stores[number % 3], exchange(number, model=f"x{number}", status_code=404, success=False))
    assert series_count(path) == 11
    store = reopen()
    write(store, exchange(100, model="claude-new"))
    assert ids(store, Filter(model="claude-new")) == ["exchange-000100"]
    assert len(ids(store, Filter(status=404), at_most=99)) == 60
    assert len(ids(store, Filter(model="(other)"), at_most=99)) == 50
    assert store.rollups.sums(Filter(status="error"), (), EVER)[()].requests == 60
    assert store.history.get("exchange-000059").model == "x59"  # type: ignore[union-attr]  # it is there
    for number in range(200, 240):
        write(store, exchange(number, model=f"real-{number}"))
    assert series_count(path) == 21
    assert sum(sums.requests for sums in store.rollups.sums(Filter(), ("model",), EVER).values()) == 101


def test_a_model_of_any_length_has_a_series(store: Store) -> None:
    """What is longer than a name can be is cut there, and found by the whole text."""
    write(store, exchange(1, model="m" * 100_000, success=False), exchange(2, model="m" * 99_999, success=False))
    assert [len(model) for model in store.history.models()] == [128]
    assert len(ids(store, Filter(model="m" * 100_000))) == 2


# Less of it.


def test_old_rows_are_forgotten_in_small_steps(store: Store) -> None:
    """The oldest go first, at most as many as asked for, and their sums stay."""
    write(store, *(exchange(n) for n in range(10)))
    assert store.history.forget(T0 + 6000, at_most=4) == 4
    assert ids(store)[-1] == "exchange-000004"
    assert store.history.forget(T0 + 6000, at_most=4) == 2
    assert store.history.forget(T0 + 6000, at_most=4) == 0
    assert len(ids(store)) == 4
    assert store.rollups.sums(Filter(), (), EVER)[()].requests == 10


def test_clearing_leaves_accounts(store: Store, path: Path) -> None:
    """Rows, sums, series and payloads go; accounts, their counters and the names of former ones stay."""
    add_account(store, "a")
    add_account(store, "gone")
    store.remove_account("id-gone")
    write(store, *(exchange(n, account_id="id-a") for n in range(5)))
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO payload_groups (id, ended, bytes) VALUES ('g', 1, 1)")
        db.commit()
    assert store.clear_history() == 5
    assert ids(store) == store.history.models() == []
    assert store.rollups.sums(Filter(), (), EVER) == {}
    assert store.rollups.since_ms() is None
    assert series_count(path) == 0
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT COUNT(*) FROM payload_groups").fetchone() == (0,)
    assert [each.request_count for each in store.accounts()] == [5]
    assert store.history.account_names() == {"id-a": "a", "id-gone": "gone"}
    assert store.clear_history() == 0


def test_a_server_notices_that_another_process_cleared(reopen: Open) -> None:
    """What it writes afterwards is found by any filter and counted like everything else."""
    server, cli = reopen(), reopen()
    write(server, exchange(1))
    cli.clear_history()
    write(server, exchange(2))
    assert ids(cli, Filter(model="claude-x", status="success", account_id="a")) == ["exchange-000002"]
    assert cli.rollups.sums(Filter(), ("account", "model"), EVER).keys() == {("a", "claude-x")}


def test_a_batch_that_fails_leaves_nothing(reopen: Open) -> None:
    """Neither rows nor sums nor series; the same exchanges are counted once when they are written later."""
    store = reopen()
    with pytest.raises(ValueError, match=r".+"):
        write(store, exchange(1), exchange(2, request_bytes=1 << 70))
    assert store.history.models() == []
    assert store.rollups.sums(Filter(), (), EVER) == {}
    write(store, exchange(1))
    write(store, exchange(1), exchange(2))
    assert store.rollups.sums(Filter(), ("model",), EVER)["claude-x",].requests == 2
    assert ids(reopen(), Filter(model="claude-x")) == ["exchange-000002", "exchange-000001"]
