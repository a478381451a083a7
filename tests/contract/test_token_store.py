"""What a store promises about tokens and about credentials at rest."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ccflare.errors import Conflict, KeyMismatch, NotFound, StoreBusy
from ccflare.records import Account, Credentials, Grant, Secret
from ccflare.store import Batch, Store, open_store
from ccflare.store.tokens import Lease
from ccflare.vault import Keys

OLD, NEW, OTHER = Secret("sk-ant-ort01-old"), Secret("sk-ant-ort01-new"), Secret("sk-ant-ort01-other")
ACCESS, API_KEY = Secret("sk-ant-oat01-first"), Secret("sk-ant-api03-secret")
IN_CLEAR = [secret.reveal().encode() for secret in (OLD, NEW, OTHER, ACCESS, API_KEY)]

Open = Callable[..., Store]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("ccflare.vault.KEY_COST", 1 << 10)  # what a key costs to try is not what these tests are about
    return tmp_path / "ccflare.db"


@pytest.fixture
def reopen(path: Path) -> Iterator[Open]:
    """Opens one more connection, with keys where they are given; all are closed after the test."""
    opened: list[Store] = []

    def open_one(keys: str = "") -> Store:
        opened.append(open_store(path, busy_timeout_s=0.2, keys=Keys(keys)))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def fill(store: Store) -> None:
    """An OAuth account `o` and a key account `k`."""
    store.add_account(
        Account(id="o", name="o", kind="oauth", created_at_ms=1, expires_at_ms=5_000),
        Credentials("o", access_token=ACCESS, refresh_token=OLD),
    )
    store.add_account(Account(id="k", name="k", created_at_ms=2), Credentials("k", api_key=API_KEY))


def pair(access: str, refresh: Secret, expires_at_ms: int | None = 90_000) -> Grant:
    return Grant(Credentials("o", access_token=Secret(access), refresh_token=refresh), expires_at_ms)


def lease(holder: str, now_ms: int, length_ms: int = 6_000) -> Lease:
    return Lease("o", holder, now_ms + length_ms)


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob(path.name + "*")))


# Leases.


def test_one_holder_at_a_time(reopen: Open) -> None:
    """A lease is its holder's until it is given back; then the next one gets it, with the tokens as they are."""
    first, second = reopen(), reopen()
    fill(first)
    taken = first.tokens.take_lease(lease("a", 1_000), 1_000)
    assert taken == Grant(Credentials("o", access_token=ACCESS, refresh_token=OLD), 5_000)
    assert second.tokens.take_lease(lease("b", 1_000), 1_000) is None
    second.tokens.drop_lease(lease("b", 1_000))  # not b's to give back
    assert second.tokens.take_lease(lease("b", 1_000), 1_000) is None
    first.tokens.drop_lease(lease("a", 1_000))
    assert second.tokens.take_lease(lease("b", 1_000), 1_000) is not None


def test_a_lease_ends_by_itself_and_can_be_prolonged(reopen: Open) -> None:
    """Its own holder may take it again and again; without that it is free when its time has passed."""
    store = reopen()
    fill(store)
    assert store.tokens.take_lease(lease("a", 0), 0)
    assert store.tokens.take_lease(lease("a", 4_000), 4_000)
    assert store.tokens.take_lease(lease("b", 9_999), 9_999) is None
    assert store.tokens.take_lease(lease("b", 10_000), 10_000)


def test_a_lease_beyond_belief_is_none(reopen: Open) -> None:
    """After the clock was set back, a lease of the time before does not lock the account for hours."""
    store = reopen()
    fill(store)
    assert store.tokens.take_lease(lease("a", 86_400_000), 86_400_000)
    assert store.tokens.take_lease(lease("b", 1_000), 1_000)


def test_leases_concern_one_account(reopen: Open) -> None:
    """Who refreshes one account keeps nobody from refreshing another."""
    store = reopen()
    fill(store)
    assert store.tokens.take_lease(lease("a", 0), 0)
    assert store.tokens.take_lease(Lease("k", "b", 6_000), 0)


def test_an_unknown_account_has_no_lease(reopen: Open) -> None:
    """Nothing is left behind for an account that is gone; removing one frees its name's successor."""
    store = reopen()
    fill(store)
    assert store.tokens.take_lease(lease("a", 0), 0)
    store.remove_account("o")
    with pytest.raises(NotFound):
        store.tokens.take_lease(lease("a", 0), 0)
    with pytest.raises(NotFound):
        store.tokens.rotate(lease("a", 0), OLD, pair("at2", NEW), 7)
    store.add_account(Account(id="o", name="o", kind="oauth", created_at_ms=1), Credentials("o", refresh_token=OTHER))
    assert store.tokens.take_lease(lease("b", 0), 0)


# Rotation.


def test_a_rotated_pair_replaces_the_one_that_was_used(reopen: Open) -> None:
    """The new pair, its end and the time are there for everybody, what was wrong is forgotten, the lease is free."""
    store = reopen()
    fill(store)
    refused = Account(id="o", name="o", kind="oauth", created_at_ms=1, auth_failed_reason="401")
    store.write(Batch(accounts=[refused]))
    store.tokens.take_lease(lease("a", 0), 0)
    store.tokens.expire(lease("a", 0), OLD, "no good", 3)
    assert [account.auth_failed_reason for account in store.accounts()] == ["401", None]
    store.tokens.take_lease(lease("a", 0), 0)
    assert store.tokens.rotate(lease("a", 0), OLD, pair("at2", NEW), 7)
    other = reopen()
    assert other.tokens.read("o") == pair("at2", NEW)
    account = other.accounts()[0]
    assert (account.expires_at_ms, account.last_refresh_at_ms) == (90_000, 7)
    assert (account.expired_reason, account.auth_failed_reason) == (None, None)
    assert other.tokens.take_lease(lease("b", 0), 0)


def test_a_pair_that_was_replaced_meanwhile_stays(reopen: Open) -> None:
    """A new sign-in beats a refresh that was under way: nothing of the refresh is written."""
    store = reopen()
    fill(store)
    store.tokens.take_lease(lease("a", 0), 0)
    reopen().set_credentials(Credentials("o", access_token=ACCESS, refresh_token=OTHER), 80_000)
    assert not store.tokens.rotate(lease("a", 0), OLD, pair("at2", NEW), 7)
    assert store.tokens.read("o").credentials.refresh_token == OTHER
    assert not store.tokens.expire(lease("a", 0), OLD, "no good", 8)
    assert store.accounts()[0].expired_reason is None


def test_what_is_rotated_outlives_a_power_cut(reopen: Open) -> None:
    """The pair is synchronised to the disk before `rotate` returns; afterwards the connection is as before."""
    store = reopen()
    fill(store)
    said: list[str] = []
    connection = store.tokens._db.connection
    connection.set_trace_callback(said.append)
    store.tokens.rotate(lease("a", 0), OLD, pair("at2", NEW), 7)
    connection.set_trace_callback(None)
    full = said.index("PRAGMA synchronous = FULL")
    normal = said.index("PRAGMA synchronous = NORMAL")
    assert full < said.index("COMMIT") < normal


def test_failures_are_kept_until_a_new_sign_in(reopen: Open) -> None:
    """When it failed last and why stays readable after a success, and is forgotten by new credentials."""
    store = reopen()
    fill(store)
    store.tokens.take_lease(lease("a", 0), 0)
    store.tokens.fail(lease("a", 0), "endpoint down", 9)
    account = store.accounts()[0]
    assert (account.refresh_failed_at_ms, account.refresh_error, account.expired_reason) == (9, "endpoint down", None)
    assert store.tokens.take_lease(lease("b", 0), 0)
    store.tokens.rotate(lease("b", 0), OLD, pair("at2", NEW), 12)
    assert store.accounts()[0].refresh_error == "endpoint down"
    store.set_credentials(Credentials("o", access_token=ACCESS, refresh_token=OTHER), 1)
    account = store.accounts()[0]
    assert (account.refresh_failed_at_ms, account.refresh_error) == (None, None)


# At rest.


def test_turning_encryption_on_leaves_nothing_in_clear(path: Path, reopen: Open) -> None:
    """The first start with a key seals what is there; no byte of it stays in the file or its log."""
    plain = reopen()
    fill(plain)
    plain.tokens.rotate(lease("a", 0), OLD, pair("sk-ant-oat01-second", NEW), 7)
    plain.close()
    assert API_KEY.reveal().encode() in bytes_on_disk(path)
    sealed = reopen("open-sesame")
    sealed.unlock()
    found = bytes_on_disk(path)
    assert [secret for secret in [*IN_CLEAR, b"sk-ant-"] if secret in found] == []
    assert sealed.credentials()["k"] == Credentials("k", api_key=API_KEY)
    assert sealed.tokens.read("o") == pair("sk-ant-oat01-second", NEW)
    assert [account.kind for account in sealed.accounts()] == ["oauth", "api_key"]


def test_long_tokens_leave_nothing_behind_either(path: Path, reopen: Open) -> None:
    """Tokens that need pages of their own, replaced before and after encryption came, are not found in free pages."""
    store = reopen()
    fill(store)
    used = OLD
    for number in range(4):
        longer = Secret(f"sk-ant-ort01-{number}" + "x" * 9_000)
        store.tokens.rotate(lease("a", 0), used, pair(f"sk-ant-oat01-{number}" + "y" * 9_000, longer), 7)
        used = longer
    store.close()
    assert b"sk-ant-ort01-" in bytes_on_disk(path)
    reopen("open-sesame").unlock()
    assert b"sk-ant-" not in bytes_on_disk(path)
    assert b"xxxxxxxx" not in bytes_on_disk(path)


def test_pages_that_cannot_be_given_back_at_once_are_empty(path: Path, reopen: Open) -> None:
    """Somebody takes the database between sealing and tidying up: no free page has what was there before."""
    store = reopen()
    fill(store)
    longer = Secret("sk-ant-ort01-" + "x" * 9_000)
    store.tokens.rotate(lease("a", 0), OLD, pair("sk-ant-oat01-" + "y" * 9_000, longer), 7)
    sealed = reopen("open-sesame")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        def interfere(statement: str) -> None:
            if "incremental_vacuum" in statement and not other.in_transaction:
                other.execute("BEGIN IMMEDIATE")

        sealed.tokens._db.connection.set_trace_callback(interfere)
        sealed.unlock()
        sealed.tokens._db.connection.set_trace_callback(None)
        assert other.in_transaction
        other.execute("ROLLBACK")
        free = other.execute("PRAGMA freelist_count").fetchone()[0]
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert free > 0
    assert b"sk-ant-" not in bytes_on_disk(path)
    assert b"xxxxxxxx" not in bytes_on_disk(path)


def test_a_write_that_crosses_the_change_is_put_off(path: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encryption comes between a writer's look at the key and its transaction: nothing goes in in clear."""
    early = reopen()
    fill(early)
    early.unlock()
    monkeypatch.setattr(early.tokens._safe, "unlock", lambda: None)  # it has looked just before
    reopen("open-sesame").unlock()
    with pytest.raises(StoreBusy):
        early.set_credentials(Credentials("k", api_key=API_KEY))
    assert b"sk-ant-" not in bytes_on_disk(path)


def test_everything_written_with_a_key_is_sealed(path: Path, reopen: Open) -> None:
    """Adding, signing in again, rotating and moving accounts never put a credential into the file in clear."""
    store = reopen("open-sesame")
    fill(store)
    store.set_credentials(Credentials("o", access_token=ACCESS, refresh_token=OTHER), 80_000)
    store.tokens.rotate(lease("a", 0), OTHER, pair("sk-ant-oat01-second", NEW), 7)
    store.add_accounts([(Account(id="m", name="m", created_at_ms=3), Credentials("m", api_key=API_KEY))])
    store.add_accounts(
        [(Account(id="n", name="m", created_at_ms=3), Credentials("n", api_key=Secret("sk-ant-api03-other")))],
        replace=True,
    )
    assert b"sk-ant-" not in bytes_on_disk(path)
    again = reopen("open-sesame").credentials()
    assert again["o"] == pair("sk-ant-oat01-second", NEW).credentials
    assert again["m"].api_key == Secret("sk-ant-api03-other")


@pytest.mark.parametrize("keys", ["wrong-key", "wrong-key,also-wrong", ""])
def test_without_the_right_key_nothing_is_read_or_touched(path: Path, reopen: Open, keys: str) -> None:
    """A wrong key, or none, is refused in one line that says what to do, and changes no byte."""
    first = reopen("open-sesame")
    fill(first)
    first.close()
    before = bytes_on_disk(path)
    store = reopen(keys)
    for attempt in (
        store.unlock,
        store.credentials,
        lambda: store.tokens.read("o"),
        lambda: store.add_account(Account(id="x", name="x", created_at_ms=3), Credentials("x", api_key=API_KEY)),
        lambda: store.set_credentials(Credentials("k", api_key=API_KEY)),
    ):
        with pytest.raises(KeyMismatch, match="ccflare_SECRET_KEY") as refused:
            attempt()
        assert "\n" not in str(refused.value)
        assert "wrong" not in str(refused.value)
    assert [account.name for account in store.accounts()] == ["o", "k"]
    store.close()
    assert bytes_on_disk(path) == before


def test_a_key_is_changed_by_naming_the_old_one_second(path: Path, reopen: Open) -> None:
    """With both keys everything moves under the new one; afterwards the old one is of no use."""
    fill(reopen("first-key"))
    reopen("second-key,first-key").unlock()
    assert reopen("second-key").credentials()["o"].refresh_token == OLD
    with pytest.raises(KeyMismatch):
        reopen("first-key").credentials()
    reopen("second-key,first-key").unlock()  # again is harmless
    assert reopen("second-key").credentials()["k"].api_key == API_KEY
    assert b"sk-ant-" not in bytes_on_disk(path)


def test_what_somebody_adds_in_clear_is_sealed_at_the_next_start(path: Path, reopen: Open) -> None:
    """A row that another program wrote works at once, and is sealed with the others when a server starts."""
    fill(reopen("open-sesame"))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE accounts SET api_key = 'sk-ant-api03-by-hand' WHERE id = 'k'")
        db.commit()
    assert reopen("open-sesame").credentials()["k"].api_key == Secret("sk-ant-api03-by-hand")
    assert b"sk-ant-" not in bytes_on_disk(path)


def test_a_connection_from_before_notices_that_encryption_came(reopen: Open) -> None:
    """A process that was started without the key never writes in clear beside what is sealed."""
    early = reopen()
    fill(early)
    reopen("open-sesame").unlock()
    with pytest.raises(KeyMismatch):
        early.credentials()
    with pytest.raises(KeyMismatch):
        early.tokens.rotate(lease("a", 0), OLD, pair("at2", NEW), 7)
    assert [account.name for account in early.accounts()] == ["o", "k"]


def test_a_moved_or_damaged_credential_hurts_only_its_account(
    path: Path, reopen: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A sealed text that was copied to another row does not open there; the others are served."""
    fill(reopen("open-sesame"))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE accounts SET access_token = (SELECT api_key FROM accounts WHERE id = 'k') WHERE id = 'o'")
        db.commit()
    with caplog.at_level(logging.WARNING):
        found = reopen("open-sesame").credentials()
    assert (found["o"].access_token, found["o"].refresh_token, found["k"].api_key) == (None, OLD, API_KEY)
    assert "account o" in caplog.text


def test_two_processes_may_turn_encryption_on_at_once(reopen: Open) -> None:
    """Who comes second finds it done."""
    fill(reopen())
    first, second = reopen("open-sesame"), reopen("open-sesame")
    first.unlock()
    second.unlock()
    assert first.credentials() == second.credentials()


def test_sealing_waits_for_a_lock_like_everything_else(path: Path, reopen: Open) -> None:
    """A locked database is busy, not broken: the same call succeeds later."""
    fill(reopen())
    store = reopen("open-sesame")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            store.unlock()
        db.execute("ROLLBACK")
    store.unlock()
    assert store.credentials()["k"].api_key == API_KEY


# Several accounts at once.


def test_several_accounts_come_together_or_not_at_all(reopen: Open) -> None:
    """A name that is taken keeps all of them out."""
    store = reopen()
    fill(store)
    new = [
        (Account(id=f"id-{name}", name=name, created_at_ms=3), Credentials(f"id-{name}", api_key=API_KEY))
        for name in ("x", "k", "y")
    ]
    with pytest.raises(Conflict, match="'k'"):
        store.add_accounts(new)
    assert [account.name for account in store.accounts()] == ["o", "k"]
    store.add_accounts(new, replace=True)
    assert [account.id for account in store.accounts()] == ["o", "k", "id-x", "id-y"]
