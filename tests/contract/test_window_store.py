"""Every store keeps what upstream said about the rate-limit windows of the accounts there are."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ccflare.forecast import AccountWindows, Aside, KeptBudget, KeptWindow, Sample
from ccflare.records import Account, Credentials, Secret
from ccflare.store import Batch, Store, open_store

Open = Callable[[], Store]

WINDOWS = AccountWindows(
    "id-a",
    2_000,
    (
        KeptWindow("5h", 2_000, 0.42, "allowed", 9_000, (Sample(1_000, 0.4), Sample(2_000, 0.42))),
        KeptWindow("7d_opus", 2_000),
    ),
    (KeptBudget("requests", 50, 49, 3_000), KeptBudget("tokens")),
    (Aside("opus", family=True, until_ms=9_000, reason="429"),),
)


@pytest.fixture(params=["sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more connection to the same database; all are closed after the test."""
    assert request.param == "sqlite"
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(open_store(tmp_path / "ccflare.db", busy_timeout_s=0.2))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(reopen: Open) -> Store:
    """A store with one account."""
    found = reopen()
    found.add_account(Account(id="id-a", name="a", created_at_ms=1), Credentials("id-a", api_key=Secret("k")))
    return found


def test_what_was_written_is_there_for_the_next_program(store: Store, reopen: Open) -> None:
    store.write(Batch(windows=[WINDOWS]))
    assert reopen().windows.all() == {"id-a": WINDOWS}


def test_the_latest_replaces_what_was_known(store: Store) -> None:
    later = AccountWindows("id-a", 3_000, (KeptWindow("7d", 3_000, 0.1),))
    store.write(Batch(windows=[WINDOWS]))
    store.write(Batch(windows=[later]))
    assert store.windows.all() == {"id-a": later}


def test_nothing_is_kept_of_accounts_that_are_gone(store: Store) -> None:
    """Neither what comes late for a removed account nor what was there before."""
    store.write(Batch(windows=[WINDOWS, msgspec.structs.replace(WINDOWS, account_id="nobody")]))
    assert list(store.windows.all()) == ["id-a"]
    store.remove_account("id-a")
    store.write(Batch(windows=[WINDOWS]))
    assert store.windows.all() == {}


def test_windows_are_written_with_their_batch_or_not_at_all(store: Store) -> None:
    broken = msgspec.structs.replace(WINDOWS, said_at_ms=1 << 70)
    with pytest.raises(ValueError, match="too large"):
        store.write(Batch(windows=[WINDOWS, broken]))
    assert store.windows.all() == {}


def test_a_row_that_cannot_be_read_is_told_and_left_out(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.write(Batch(windows=[WINDOWS]))
    with closing(sqlite3.connect(tmp_path / "ccflare.db", isolation_level=None)) as other:
        other.execute("""UPDATE account_windows SET windows = '[{"name": 5}]'""")
    assert store.windows.all() == {}
    assert "limits of account id-a cannot be read" in caplog.text


def test_windows_can_be_queried_with_sqlite3(store: Store, tmp_path: Path) -> None:
    """The names that people query are there."""
    store.write(Batch(windows=[WINDOWS]))
    with closing(sqlite3.connect(tmp_path / "ccflare.db")) as other:
        query = """
            SELECT account_id, json_extract(value, '$.name'), json_extract(value, '$.utilization')
            FROM account_windows, json_each(windows)"""
        assert other.execute(query).fetchall() == [("id-a", "5h", 0.42), ("id-a", "7d_opus", None)]
