"""What every store promises, run against each of them."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ccflare.errors import Conflict, NotFound, StoreBusy
from ccflare.records import Account, Attempt, Binding, Credentials, Exchange, Secret, decode_attempts
from ccflare.store import AccountChange, Batch, Store, open_store, resumed
from ccflare.store.database import chunks
from ccflare.store.history import Filter
from ccflare.store.sums import EVER
from ccflare.usage import NOT_SAID, Usage

Open = Callable[[], Store]


@pytest.fixture(params=["sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one more connection to the same database; all are closed after the test."""
    assert request.param == "sqlite"
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(open_store(tmp_path / "data" / "ccflare.db", busy_timeout_s=0.2))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(reopen: Open) -> Store:
    return reopen()


@pytest.fixture
def db(store: Store, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The file as a user with sqlite3 sees it."""
    connection = sqlite3.connect(tmp_path / "data" / "ccflare.db", isolation_level=None)
    yield connection
    connection.close()


def account(name: str, **fields: object) -> Account:
    return msgspec.structs.replace(Account(id=f"id-{name}", name=name, created_at_ms=1_000), **fields)


def key_of(account_id: str, key: str = "sk-ant-api03-x") -> Credentials:
    return Credentials(account_id, api_key=Secret(key))


def add(store: Store, name: str, **fields: object) -> Account:
    made = account(name, **fields)
    store.add_account(made, key_of(made.id))
    return made


def exchange(number: int, account_id: str | None = "id-a", **fields: object) -> Exchange:
    made = Exchange(
        id=f"exchange-{number:06d}",
        timestamp_ms=10_000 + number,
        method="POST",
        path="/v1/messages",
        account_id=account_id,
        status_code=200,
        success=True,
        response_time_ms=12,
    )
    return msgspec.structs.replace(made, **fields)


# Accounts and their secrets.


def test_an_account_comes_back_as_it_was_added(reopen: Open) -> None:
    """Every operator-owned field and the key survive the store; run-time fields begin empty."""
    added = add(
        reopen(),
        "primary",
        base_url="http://127.0.0.1:9/x",
        priority=-3,
        tier=20,
        paused=True,
        paused_by="cli",
    )
    again = reopen()
    assert again.accounts() == [added]
    assert again.credentials() == {added.id: key_of(added.id)}


def test_the_kind_follows_from_the_credential(store: Store) -> None:
    """Tokens make an OAuth account, also for a program that reads the tables directly."""
    tokens = Credentials("id-o", access_token=Secret("at"), refresh_token=Secret("rt"))
    store.add_account(account("o", kind="oauth", expires_at_ms=5), tokens)
    assert [each.kind for each in store.accounts()] == ["oauth"]
    assert store.credentials()["id-o"] == tokens


def test_a_name_is_taken_once(store: Store) -> None:
    """A second account of a name is refused and leaves the first as it is."""
    first = add(store, "a")
    with pytest.raises(Conflict, match="'a'"):
        store.add_account(msgspec.structs.replace(first, id="other"), key_of("other"))
    assert store.accounts() == [first]


def test_an_account_without_its_credential_is_refused(store: Store) -> None:
    """No account can be kept that could never serve."""
    with pytest.raises(ValueError, match="credential"):
        store.add_account(account("a"), Credentials("id-a"))
    assert store.accounts() == []


def test_a_change_touches_what_it_names(store: Store) -> None:
    """Fields that are left out keep their values."""
    before = add(store, "a", priority=4, base_url="http://x")
    store.update_account(before.id, AccountChange(name="b", tier=5))
    assert store.accounts() == [msgspec.structs.replace(before, name="b", tier=5)]


def test_a_limit_from_before_a_resume_does_not_come_back(store: Store) -> None:
    """What is written late of an account that a person has resumed since counts no more; what is learnt anew does."""
    made = add(store, "a")
    late = account("a", limited_until_ms=9_000, limited_reason="x", auth_failed_reason="y", last_used_ms=7)
    store.update_account(made.id, resumed(5_000))
    store.write(Batch(accounts=[late]))
    found = store.accounts()[0]
    assert (found.limited_until_ms, found.limited_reason, found.auth_failed_reason) == (None, None, None)
    assert found.last_used_ms == 7
    store.write(Batch(accounts=[msgspec.structs.replace(found, limited_until_ms=9_500)]))
    assert store.accounts()[0].limited_until_ms == 9_500


def test_pausing_and_resuming(store: Store) -> None:
    """Resuming forgets who paused, why and when."""
    active = add(store, "a")
    pause = AccountChange(paused=True, paused_by="cli", paused_reason="holiday", paused_at_ms=7)
    store.update_account(active.id, pause)
    paused = store.accounts()[0]
    assert (paused.paused, paused.paused_by, paused.paused_reason, paused.paused_at_ms) == (
        True,
        "cli",
        "holiday",
        7,
    )
    store.update_account(active.id, AccountChange(paused=False))
    assert store.accounts() == [active]


@pytest.mark.parametrize("change", [AccountChange(base_url="http://y"), AccountChange(auth_failed_reason=None)])
def test_a_refused_credential_gets_a_new_chance(store: Store, change: AccountChange) -> None:
    """A new address, or the operator's word, clears the mark of a refused credential."""
    made = add(store, "a")
    store.write(Batch(accounts=[msgspec.structs.replace(made, auth_failed_reason="401")]))
    assert store.accounts()[0].auth_failed_reason == "401"
    store.update_account(made.id, change)
    assert store.accounts()[0].auth_failed_reason is None


def test_renaming_to_a_taken_name_is_refused(store: Store) -> None:
    """Names stay unique through every way in; an account may keep its own."""
    first, second = add(store, "a"), add(store, "b")
    with pytest.raises(Conflict):
        store.update_account(second.id, AccountChange(name="a"))
    store.update_account(first.id, AccountChange(name="a", tier=2))
    assert [each.name for each in store.accounts()] == ["a", "b"]


def test_an_unknown_account_is_not_found(store: Store) -> None:
    """Changes never go nowhere silently."""
    with pytest.raises(NotFound):
        store.update_account("nobody", AccountChange(priority=1))
    with pytest.raises(NotFound):
        store.set_credentials(key_of("nobody"))
    with pytest.raises(NotFound):
        store.remove_account("nobody")


def test_new_credentials_make_an_account_usable(store: Store) -> None:
    """A replaced secret clears what was wrong with the old one and brings its own expiry."""
    made = add(store, "a")
    store.write(Batch(accounts=[msgspec.structs.replace(made, auth_failed_reason="401")]))
    store.set_credentials(Credentials(made.id, access_token=Secret("at"), refresh_token=Secret("rt")), 99)
    after = store.accounts()[0]
    assert (after.auth_failed_reason, after.expires_at_ms, after.kind) == (None, 99, "oauth")
    assert store.credentials()[made.id].api_key is None


def test_removing_keeps_the_history(store: Store) -> None:
    """The account, its secret and its sessions go; its requests stay."""
    made = add(store, "a")
    store.write(Batch(exchanges=[exchange(1)], bindings=[Binding("k", made.id, 1, 1)]))
    store.remove_account(made.id)
    counts = store.counts()
    assert (counts.accounts, counts.requests, counts.sessions) == (0, 1, 0)
    assert store.credentials() == {}


def test_an_unreadable_credential_hurts_only_its_account(store: Store, db: sqlite3.Connection) -> None:
    """A credential that somebody damaged counts as absent; the others are served."""
    add(store, "a")
    add(store, "b")
    db.execute("UPDATE accounts SET api_key = 'two words' WHERE name = 'a'")
    found = store.credentials()
    assert found["id-a"].api_key is None
    assert found["id-b"] == key_of("id-b")


# Writing batches.


def test_an_exchange_is_a_row_with_the_columns_users_query(store: Store, db: sqlite3.Connection) -> None:
    """Status, account, timings and attempts land under the documented names; the unknown is NULL."""
    attempts = (Attempt("id-a", "next", 429, 5, 0, "limit"), Attempt("id-b", "deliver", 200, 7))
    store.write(Batch(exchanges=[exchange(1, "id-b", attempts=attempts, model="m", own_ms=0.4, streamed=True)]))
    db.row_factory = sqlite3.Row
    row = db.execute("SELECT * FROM requests").fetchone()
    assert (row["timestamp"], row["account_used"], row["status_code"], row["success"]) == (
        10_001,
        "id-b",
        200,
        1,
    )
    assert (row["failover_attempts"], row["model"], row["own_ms"], row["streamed"]) == (1, "m", 0.4, 1)
    assert decode_attempts(row["attempts"]) == attempts
    assert (row["total_tokens"], row["cost_usd"]) == (None, None)


def test_exchanges_come_back_in_order(store: Store) -> None:
    """The history is read in pages by id, each exchange as it was recorded."""
    attempts = (Attempt("id-a", "next", 429, 5, 0, "limit"), Attempt("id-b", "deliver", 200, 7))
    made = [exchange(n, attempts=attempts, streamed=True, own_ms=0.5, session="s", client="c") for n in range(5)]
    store.write(Batch(exchanges=made))
    assert store.exchanges(at_most=3) == made[:3]
    assert store.exchanges(after=made[2].id) == made[3:]


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 500, 512, 513, 1100])
def test_batches_of_every_length_are_written_whole(store: Store, db: sqlite3.Connection, rows: int) -> None:
    """No row is lost or doubled where a batch is cut into statements, and rows keep their order."""
    store.write(Batch(exchanges=[exchange(n) for n in range(rows)]))
    found = db.execute("SELECT id FROM requests ORDER BY rowid").fetchall()
    assert found == [(exchange(n).id,) for n in range(rows)]


def test_a_repeated_batch_is_written_and_counted_once(store: Store) -> None:
    """Rows and counters are exact when a batch comes again together with new rows."""
    add(store, "a")
    store.write(Batch(exchanges=[exchange(1), exchange(2)]))
    store.write(Batch(exchanges=[exchange(1), exchange(2), exchange(3)]))
    assert store.counts().requests == 3
    assert store.accounts()[0].request_count == 3


def test_an_exchange_that_is_twice_in_a_batch_is_written_and_counted_once(store: Store) -> None:
    """The row, the counters and the sums are those of the first, and the last use that of the last one that is new."""
    add(store, "a")
    store.write(Batch(exchanges=[exchange(1)]))
    twice = [exchange(2), msgspec.structs.replace(exchange(2), response_time_ms=999), exchange(3), exchange(1)]
    store.write(Batch(exchanges=twice))
    assert [each.response_time_ms for each in store.exchanges()] == [exchange(1).response_time_ms] * 3
    [account] = store.accounts()
    assert (account.request_count, account.last_used_ms) == (3, exchange(3).timestamp_ms)
    sums = store.rollups.sums(Filter(), (), EVER)[()]
    assert (sums.requests, sums.response_time_ms) == (3, 3 * exchange(1).response_time_ms)


def test_batches_are_cut_into_pieces_of_few_lengths() -> None:
    """A statement for each length stays prepared; there are at most five pieces of what is written at once."""
    cut = [[len(piece) for piece in chunks(range(length))] for length in range(512)]
    assert [sum(lengths) for lengths in cut] == list(range(512))
    assert max(map(len, cut)) <= 5
    assert len({length for lengths in cut for length in lengths}) <= 14


def test_served_requests_are_counted_per_account(store: Store) -> None:
    """Counters grow by what each account served; an exchange without an account counts nowhere."""
    add(store, "a")
    add(store, "b")
    store.write(Batch(exchanges=[exchange(1), exchange(2), exchange(3, "id-b"), exchange(4, None)]))
    a, b = store.accounts()
    assert (a.request_count, a.total_requests, a.last_used_ms) == (2, 2, 10_002)
    assert (b.request_count, b.total_requests, b.last_used_ms) == (1, 1, 10_003)


def test_a_new_session_starts_the_session_count_again(store: Store) -> None:
    """`session_request_count` is what was served since a session was bound to the account last."""
    add(store, "a")
    store.write(Batch(exchanges=[exchange(1), exchange(2)], bindings=[Binding("k1", "id-a", 50, 50)]))
    store.write(Batch(exchanges=[exchange(3)], bindings=[Binding("k1", "id-a", 50, 60)]))
    assert (store.accounts()[0].session_started_ms, store.accounts()[0].session_request_count) == (50, 3)
    store.write(Batch(exchanges=[exchange(4)], bindings=[Binding("k2", "id-a", 70, 70)]))
    assert (store.accounts()[0].session_started_ms, store.accounts()[0].session_request_count) == (70, 1)


def test_only_run_time_fields_are_written_with_a_batch(store: Store) -> None:
    """A server that knows old values of the operator's fields cannot undo what the operator did."""
    old = add(store, "a")
    store.update_account(old.id, AccountChange(name="new", priority=9, paused=True))
    limits = {
        "limited_until_ms": 5,
        "limited_reason": "5h",
        "rate_limit_status": "rejected",
        "last_used_ms": 3,
    }
    limits |= {"rate_limit_reset_ms": 6, "rate_limit_remaining": 0}
    store.write(Batch(accounts=[msgspec.structs.replace(old, request_count=99, **limits)]))
    after = store.accounts()[0]
    assert (after.name, after.priority, after.paused, after.request_count) == ("new", 9, True, 0)
    assert all(getattr(after, field) == value for field, value in limits.items())


def test_last_use_never_goes_back(store: Store) -> None:
    """Whoever wrote the later instant wins, whichever process it was."""
    made = add(store, "a")
    store.write(Batch(exchanges=[exchange(5)]))
    store.write(Batch(accounts=[msgspec.structs.replace(made, last_used_ms=4)]))
    assert store.accounts()[0].last_used_ms == 10_005


@pytest.mark.parametrize("bad", [{"error_message": "\ud800"}, {"request_bytes": 1 << 70}, {"method": None}])
def test_a_row_that_can_never_be_stored_is_told_apart(store: Store, bad: dict[str, Any]) -> None:
    """It raises ValueError, not StoreError, and nothing of its batch is written."""
    with pytest.raises(ValueError, match=r".+"):
        store.write(Batch(exchanges=[exchange(1), exchange(2, **bad)]))
    assert store.counts().requests == 0
    store.write(Batch(exchanges=[exchange(1)]))
    assert store.counts().requests == 1


# Sessions.


def test_bindings_survive_and_move(reopen: Open) -> None:
    """The latest account of a session comes back after a restart; older sessions can be left out."""
    store = reopen()
    store.write(Batch(bindings=[Binding("k1", "id-a", 10, 10), Binding("k2", "id-b", 20, 20)]))
    store.write(Batch(bindings=[Binding("k1", "id-b", 30, 35)]))
    store.close()
    assert reopen().bindings(bound_since_ms=0) == [
        Binding("k2", "id-b", 20, 20),
        Binding("k1", "id-b", 30, 35),
    ]
    assert reopen().bindings(bound_since_ms=21) == [Binding("k1", "id-b", 30, 35)]
    assert reopen().session_counts(bound_since_ms=0) == {"id-b": 2}


def test_what_was_bound_lately_is_asked_for_by_itself(store: Store) -> None:
    """The latest bindings since an instant come, at most so many; none is an empty answer."""
    assert store.recent_bindings(bound_since_ms=0, at_most=5) == []
    bound = [Binding(f"k{n}", "id-a", n, n + 1) for n in range(9)]
    store.write(Batch(bindings=bound))
    assert store.recent_bindings(bound_since_ms=7, at_most=5) == [bound[8], bound[7]]
    assert store.recent_bindings(bound_since_ms=0, at_most=2) == [bound[8], bound[7]]


def test_old_bindings_are_forgotten_in_small_steps(store: Store) -> None:
    """The oldest go first, at most as many as asked for."""
    store.write(Batch(bindings=[Binding(f"k{n:03d}", "id-a", n, n) for n in range(200)]))
    assert store.forget_bindings(bound_before_ms=150, at_most=100) == 100
    assert store.bindings(bound_since_ms=0)[0].key == "k100"
    assert store.forget_bindings(bound_before_ms=150, at_most=100) == 50
    assert store.forget_bindings(bound_before_ms=150, at_most=100) == 0


# Statistics and change.


def test_resetting_statistics_keeps_the_history(store: Store) -> None:
    """Every counter of every account is zero afterwards; rows and accounts are all there."""
    add(store, "a")
    store.write(Batch(exchanges=[exchange(1)]))
    store.reset_stats()
    after = store.accounts()[0]
    assert (after.request_count, after.total_requests, after.session_request_count) == (0, 0, 0)
    assert store.counts().requests == 1


def test_changes_of_others_are_noticed_once(reopen: Open) -> None:
    """`changed` is true once for what another connection committed, and never for one's own writes."""
    server, cli = reopen(), reopen()
    assert not server.changed()
    add(cli, "a")
    assert server.changed()
    assert not server.changed()
    server.write(Batch(exchanges=[exchange(1)]))
    assert not server.changed()
    assert cli.changed()


def test_a_lock_is_a_passing_trouble(store: Store, db: sqlite3.Connection) -> None:
    """A locked database raises StoreBusy in the words people search for; later the same call succeeds."""
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="database is locked"):
        store.write(Batch(exchanges=[exchange(1)]))
    db.execute("ROLLBACK")
    store.write(Batch(exchanges=[exchange(1)]))
    assert store.counts().requests == 1


def test_a_full_database_is_a_passing_trouble(store: Store) -> None:
    """A full disk raises StoreBusy, writes nothing of the batch, and heals."""
    connection = store._connection  # type: ignore[attr-defined]  # the limit belongs to one connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreBusy, match="full"):
        store.write(Batch(exchanges=[exchange(n) for n in range(500)]))
    assert store.counts().requests == 0
    connection.execute("PRAGMA max_page_count = 1000000")
    store.write(Batch(exchanges=[exchange(n) for n in range(500)]))
    assert store.counts().requests == 500


def test_a_removed_or_replaced_file_is_noticed(reopen: Open, tmp_path: Path) -> None:
    """A server can tell that it writes into a file nobody will ever find again."""
    store = reopen()
    file = tmp_path / "data" / "ccflare.db"
    assert not store.moved()
    file.rename(tmp_path / "elsewhere.db")
    assert store.moved()
    reopen()
    assert store.moved()


def test_usage_and_cost_come_back_and_stand_in_the_columns_users_query(store: Store) -> None:
    """Tokens by class, cost and speed survive the store, under the names of old and with NULL for what was not said."""
    usage = Usage(
        model="claude-x", input_tokens=7, output_tokens=5, cache_read_input_tokens=11, cache_creation_5m_tokens=2,
        cache_creation_1h_tokens=3, service_tier="standard", stop_reason="end_turn",
    )  # fmt: skip
    made = exchange(1, model="claude-x", usage=usage, cost_microusd=1234, output_tokens_per_second=9.5)
    store.write(Batch(exchanges=[made, exchange(2)]))
    first, second = store.exchanges()
    assert first == msgspec.structs.replace(made, usage=msgspec.structs.replace(usage, cache_creation_input_tokens=5))
    assert (second.usage, second.cost_microusd) == (NOT_SAID, None)
