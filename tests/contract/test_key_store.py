"""Every store keeps client keys by their hash, who is signed in, and whose exchanges are whose."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api_kit import exchange
from ccflare.client_keys import digest_of
from ccflare.errors import Conflict, NotFound
from ccflare.records import ClientKey, DashboardSession
from ccflare.store import Batch, Store, client_keys, open_store
from ccflare.store.history import Filter
from ccflare.store.rollups import used_by_key
from ccflare.store.series import series_id
from key_kit import BOSS, KEYS, NOW_MS, WORKER, key

Open = Callable[[], Store]


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
    """A store with an admin's and a program's key."""
    found = reopen()
    for secret in (BOSS, WORKER):
        found.client_keys.add(KEYS[secret], digest_of(secret))
    return found


def names(store: Store) -> dict[str, bool]:
    """Return which keys there are, and whether they are in force."""
    return {each.name: each.revoked_at_ms is None for each in store.client_keys.all()}


def test_keys_are_there_for_every_program(store: Store, reopen: Open) -> None:
    """With all that was said of them, under their hash."""
    other = reopen()
    assert other.client_keys.all() == [KEYS[BOSS], KEYS[WORKER]]
    assert other.client_keys.admission().keys == {digest_of(BOSS): KEYS[BOSS], digest_of(WORKER): KEYS[WORKER]}


def test_the_key_itself_is_not_in_the_file(store: Store, tmp_path: Path) -> None:
    """Not in the database, nor in its log."""
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest_of(WORKER) in written
    assert WORKER.reveal().encode() not in written


def test_another_program_sees_that_something_changed(store: Store, reopen: Open) -> None:
    """The same sign that tells of accounts."""
    other = reopen()
    assert not other.changed()
    store.client_keys.revoke("key-worker", NOW_MS)
    assert other.changed()


def test_a_revoked_key_keeps_its_name_and_frees_it(store: Store) -> None:
    """A new key of the same name is another one."""
    store.client_keys.revoke("key-worker", NOW_MS)
    again = ClientKey(id="second", name="worker", created_at_ms=NOW_MS + 1)
    store.client_keys.add(again, b"2" * 32)
    assert store.client_keys.names() == {"key-boss": "boss", "key-worker": "worker", "second": "worker"}
    assert [each.revoked_at_ms for each in store.client_keys.all()] == [None, NOW_MS, None]


def test_names_of_keys_in_force_and_hashes_are_unique(store: Store) -> None:
    with pytest.raises(Conflict, match="already a key named 'worker'"):
        store.client_keys.add(ClientKey(id="second", name="worker", created_at_ms=1), b"2" * 32)
    with pytest.raises(ValueError, match="UNIQUE"):
        store.client_keys.add(ClientKey(id="second", name="second", created_at_ms=1), digest_of(WORKER))
    assert names(store) == {"boss": True, "worker": True}


def test_the_number_of_keys_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Revoked ones count: servers have all in memory."""
    monkeypatch.setattr(client_keys, "MOST_KEYS", 2)
    store.client_keys.revoke("key-worker", NOW_MS)
    with pytest.raises(Conflict, match="2 keys already"):
        store.client_keys.add(key("third"), b"3" * 32)


@pytest.mark.parametrize("key_id", ["no-such", "key-worker"])
def test_only_a_key_in_force_is_revoked(store: Store, key_id: str) -> None:
    store.client_keys.revoke("key-worker", NOW_MS)
    with pytest.raises(NotFound):
        store.client_keys.revoke(key_id, NOW_MS + 1)
    assert store.client_keys.all()[1].revoked_at_ms == NOW_MS


def test_uses_come_with_exchanges_and_without(store: Store) -> None:
    """The latest counts, in whatever order they are written; who is let in does not change by it."""
    before = store.client_keys.admission()
    store.write(Batch(exchanges=[exchange(5, client_key_id="key-worker"), exchange(1, client_key_id="key-worker")]))
    store.write(Batch(keys_used={"key-boss": NOW_MS + 7, "key-worker": 1}))
    store.write(Batch(exchanges=[exchange(2, client_key_id="key-worker")]))
    assert [each.last_used_ms for each in store.client_keys.all()] == [NOW_MS + 7, NOW_MS + 5000]
    assert store.client_keys.admission() == before


# Sessions.


def test_a_session_lives_until_it_is_ended(store: Store, reopen: Open) -> None:
    session = DashboardSession("key-boss", NOW_MS + 10)
    store.client_keys.begin_session(b"d" * 32, session, NOW_MS)
    other = reopen().client_keys
    assert (other.session(b"d" * 32), other.admission().sessions) == (session, {b"d" * 32: session})
    other.end_session(b"d" * 32)
    assert (store.client_keys.session(b"d" * 32), store.client_keys.admission().sessions) == (None, {})


def test_revoking_a_key_ends_its_sessions_and_no_others(store: Store) -> None:
    for number, owner in enumerate(("key-boss", "key-worker")):
        store.client_keys.begin_session(bytes([number]) * 32, DashboardSession(owner, NOW_MS + 10), NOW_MS)
    store.client_keys.revoke("key-boss", NOW_MS)
    assert list(store.client_keys.admission().sessions) == [b"\x01" * 32]
    with pytest.raises(NotFound):
        store.client_keys.begin_session(b"n" * 32, DashboardSession("key-boss", NOW_MS + 10), NOW_MS)


def test_sessions_are_bounded_and_forgotten_when_they_have_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest make room; a new one sweeps out what is over."""
    monkeypatch.setattr(client_keys, "MOST_SESSIONS", 3)
    for number in range(5):
        session = DashboardSession("key-boss", NOW_MS + 10 + number)
        store.client_keys.begin_session(bytes([number]) * 32, session, NOW_MS)
    assert [digest[0] for digest in store.client_keys.admission().sessions] == [2, 3, 4]
    store.client_keys.begin_session(b"n" * 32, DashboardSession("key-boss", NOW_MS + 99), NOW_MS + 13)
    assert [digest[0] for digest in store.client_keys.admission().sessions] == [4, ord("n")]


# Whose exchanges are whose.


def test_rows_sums_and_filters_know_the_key(store: Store) -> None:
    """One key's, another's, and those without are told apart, alone and with other filters."""
    mine = [exchange(number, client_key_id="key-worker") for number in (1, 2)]
    failed = exchange(3, client_key_id="key-worker", status_code=500, success=False)
    others = exchange(4, client_key_id="key-boss")
    without = exchange(5)
    store.write(Batch(exchanges=[*mine, failed, others, without]))
    found = store.history.get("x000001")
    assert found is not None
    assert found.client_key_id == "key-worker"

    def page(**wanted: object) -> list[str]:
        return [each.id[-1] for each in store.history.page(Filter(**wanted))]  # type: ignore[arg-type]  # a test's words

    assert page(client_key_id="key-worker") == ["3", "2", "1"]
    assert page(client_key_id="key-worker", status="error") == ["3"]
    assert page(client_key_id="") == ["5"]
    assert page(client_key_id="nobody") == []
    assert {name: sums.requests for name, sums in used_by_key(store.rollups).items()} == {
        "key-worker": 3, "key-boss": 1, "": 1,
    }  # fmt: skip
    assert used_by_key(store.rollups)["key-worker"].cost_microusd == 3 * 1234


def test_without_a_key_a_series_is_the_one_it_always_was(store: Store) -> None:
    """What was written before there were keys goes on in the same series."""
    store.write(Batch(exchanges=[exchange(1), exchange(2, client_key_id="key-boss")]))
    plain = series_id("acc-oauth", "claude-sonnet-5-5", 200, True)
    assert plain == series_id("acc-oauth", "claude-sonnet-5-5", 200, True, None)
    assert plain != series_id("acc-oauth", "claude-sonnet-5-5", 200, True, "key-boss")
    assert len(store.history.page(Filter(client_key_id=""))) == 1


def test_a_database_of_before_gets_the_tables_and_keeps_its_series(tmp_path: Path) -> None:
    """The ninth migration on a database with history: rows and sums are found as without a key."""
    path = tmp_path / "old.db"
    store = open_store(path)
    store.write(Batch(exchanges=[exchange(1), exchange(2)]))
    store.close()
    migration = Path(client_keys.__file__).with_name("migrations") / "0009_client_keys.sql"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            DROP TABLE client_keys; DROP TABLE dashboard_sessions;
            ALTER TABLE requests DROP COLUMN client_key; ALTER TABLE series DROP COLUMN client_key;""")
        connection.executescript(migration.read_text())
    again = open_store(path)
    again.client_keys.add(KEYS[WORKER], digest_of(WORKER))
    again.write(Batch(exchanges=[exchange(3, client_key_id="key-worker"), exchange(4)]))
    assert [each.id[-1] for each in again.history.page(Filter(client_key_id=""))] == ["4", "2", "1"]
    assert {name: sums.requests for name, sums in used_by_key(again.rollups).items()} == {"": 3, "key-worker": 1}
    again.close()
