"""The store on a SQLite file.

A measured trap shapes `write`: the driver gives the interpreter's lock away at every statement it steps, and
gets it back late when an event loop is busy: up to 40 ms each time. So rows go in by statements of up to 512
rows. Beside a saturated loop 500 rows take 15 ms; with `executemany` they took 63 ms to 13 s (2026-11).
"""

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ccflare.errors import Conflict, NotFound, StoreError
from ccflare.records import Account, Binding, Credentials, Exchange
from ccflare.store import AccountChange, Batch, Counts, rows
from ccflare.store.client_keys import ClientKeyTable
from ccflare.store.database import Database, Row, chunks
from ccflare.store.flows import Flows
from ccflare.store.history import History
from ccflare.store.leftovers import Leftovers
from ccflare.store.opening import Mapped
from ccflare.store.owners import OwnerTable
from ccflare.store.payloads import Payloads
from ccflare.store.prices import KeptPrices
from ccflare.store.rollups import Rollups
from ccflare.store.safe import Safe
from ccflare.store.tokens import StoredTokens, durable
from ccflare.store.windows import WindowTable
from ccflare.vault import Keys


class SqliteStore:
    """One connection to one file, owned by the thread that opened it."""

    def __init__(self, path: Path, busy_timeout_s: float, keys: Keys | None = None) -> None:
        self._path = Path(os.path.realpath(path))
        self._db = Database(self._path, busy_timeout_s)
        self._connection = self._db.connection
        self.flows = Flows(self._db)
        self.owners = OwnerTable(self._db)
        self.prices = KeptPrices(self._db)
        self.payloads = Payloads(self._db)
        self.leftovers = Leftovers(self._db)
        self.windows = WindowTable(self._db)
        self.client_keys = ClientKeyTable(self._db)
        self.rollups = Rollups(self._db)
        self.history = History(self._db, self.rollups)
        self._safe = Safe(self._db, keys or Keys())
        self._opened: dict[Row, Credentials] = {}
        self.tokens = StoredTokens(self._db, self._safe)
        try:
            with Mapped(self._path):
                self._version = self._data_version()
            self._file = _identity(self._path)
        except BaseException:
            self._connection.close()
            raise

    def accounts(self) -> list[Account]:
        """Return all accounts, oldest first."""
        with Mapped(self._path):
            return [rows.account_of(row) for row in self._connection.execute(rows.SELECT_ACCOUNTS)]

    def credentials(self) -> dict[str, Credentials]:
        """Return the secrets of all accounts by account id."""
        self._safe.unlock()
        found, known = self._db.rows(rows.SELECT_CREDENTIALS), self._opened
        self._opened = {row: known.get(row) or rows.credentials_of(row, self._safe.open) for row in found}
        return {each.account_id: each for each in self._opened.values()}

    def unlock(self) -> None:
        """Make sure that the keys fit the stored credentials, and that all are sealed with the first of them."""
        self._safe.unlock()

    def add_account(self, account: Account, credentials: Credentials) -> None:
        """Add an account. Raises Conflict when its name is taken."""
        _check_credentials(account, credentials)
        with durable(self._db), self._safe.transaction():
            self._insert_account(account, credentials)

    def add_accounts(self, accounts: Sequence[tuple[Account, Credentials]], *, replace: bool = False) -> None:
        """Add several accounts or none. Raises Conflict when a name is taken, unless that account is to be replaced."""
        for account, credentials in accounts:
            _check_credentials(account, credentials)
        with durable(self._db), self._safe.transaction():
            for account, credentials in accounts:
                row = self._db.one("SELECT id FROM accounts WHERE name = ?", (account.name,)) if replace else None
                if row is None:
                    self._insert_account(account, credentials)
                else:
                    self._replace_account(row[0], account, credentials)

    def update_account(self, account_id: str, change: AccountChange) -> None:
        """Change what the operator owns. Raises NotFound, and Conflict when the new name is taken."""
        statement, values = rows.update_account(change)
        with self._db.transaction():
            if isinstance(change.name, str):
                self._check_name(change.name, account_id)
            if statement:
                self._change_one(account_id, statement, (*values, account_id))

    def set_credentials(self, credentials: Credentials, expires_at_ms: int | None = None) -> None:
        """Replace an account's secrets; it counts as signed in again. Raises NotFound."""
        with durable(self._db), self._safe.transaction():
            self._set_credentials(credentials, expires_at_ms)

    def remove_account(self, account_id: str) -> None:
        """Remove an account, its secrets and its sessions; its requests stay. Raises NotFound."""
        with self._db.transaction():
            self._db.run(rows.KEEP_NAME, (account_id,))
            self._change_one(account_id, "DELETE FROM accounts WHERE id = ?", (account_id,))
            self._connection.execute("DELETE FROM sessions WHERE account_id = ?", (account_id,))
            self.tokens.forget(account_id)
            self.windows.forget(account_id)
            self.owners.forget_account(account_id)

    def bindings(self, *, bound_since_ms: int) -> list[Binding]:
        """Return the session bindings made at or after an instant, oldest first."""
        with Mapped(self._path):
            found = self._connection.execute(rows.SELECT_BINDINGS, (bound_since_ms,))
            return [Binding(*row) for row in found]

    def recent_bindings(self, *, bound_since_ms: int, at_most: int) -> list[Binding]:
        """Return the latest session bindings made at or after an instant."""
        row = self._db.one(rows.RECENT_BINDINGS, (bound_since_ms, at_most))
        return [Binding(*each) for each in msgspec.json.decode(row[0])] if row else []

    def forget_bindings(self, *, bound_before_ms: int, at_most: int = 1000) -> int:
        """Delete some bindings made before an instant; return how many."""
        with self._db.transaction():
            return self._connection.execute(rows.DELETE_BINDINGS, (bound_before_ms, at_most)).rowcount

    def session_counts(self, *, bound_since_ms: int) -> dict[str, int]:
        """Return how many sessions each account was bound to since an instant."""
        with Mapped(self._path):
            return dict(self._connection.execute(rows.COUNT_SESSIONS, (bound_since_ms,)).fetchall())

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction. Raises ValueError when a row can never be stored."""
        with self._db.transaction():
            new = self.history.add(batch.exchanges)
            self._upsert_bindings(batch.bindings)
            self._db.run_many(rows.UPDATE_RUN_TIME, list(map(rows.run_time_row, batch.accounts)))
            self._count(new)
            self.client_keys.count(new)
            self.client_keys.used(batch.keys_used)
            self.windows.put(batch.windows)
            self.owners.add(batch.owners)

    def exchanges(self, *, after: str = "", at_most: int = 1000) -> list[Exchange]:
        """Return exchanges whose id sorts behind `after`, oldest first."""
        with Mapped(self._path):
            found = self._connection.execute(rows.SELECT_EXCHANGES, (after, at_most)).fetchall()
        return [rows.exchange_of(row) for row in found]

    def snapshot(self) -> contextlib.AbstractContextManager[None]:
        """Everything that is read in the block is of one moment; writers are not kept waiting."""
        return self._db.snapshot()

    def clear_history(self) -> int:
        """Delete all exchanges, their sums and payloads; return how many exchanges. Accounts and counters stay."""
        with self._db.transaction():
            gone = self.history.clear()
            self.payloads.clear()
        return gone

    def reset_stats(self) -> None:
        """Set every account's counters to zero; the history stays."""
        with self._db.transaction():
            self._connection.execute(rows.RESET_COUNTERS)

    def counts(self) -> Counts:
        """Count the rows. The cost grows with the history."""
        with Mapped(self._path):
            return Counts(*self._connection.execute(rows.COUNT_ROWS).fetchone())

    def changed(self) -> bool:
        """Say whether another connection has committed since this was asked last, or since opening."""
        with Mapped(self._path):
            before, self._version = self._version, self._data_version()
        return before != self._version

    def moved(self) -> bool:
        """Say whether the database has been removed, or another one put in its place, since it was opened."""
        return _identity(self._path) != self._file

    def interrupt(self) -> None:
        """End the statement that runs; it raises StoreBusy. The one method that any thread may call."""
        self._connection.interrupt()

    def rest_by(self, rest: Callable[[], object]) -> None:
        """Have `rest` called behind every statement that changes rows, also inside a transaction: it may sleep."""
        self._db.between = rest

    def close(self) -> None:
        """Close the connection. Harmless when it is closed already.

        When the file was moved away, its log stays behind under the old name, where it would be taken for the
        log of whatever file comes there next. So its contents go where they belong first.
        """
        with contextlib.suppress(sqlite3.Error, StoreError):  # the file is given up either way
            if self.moved():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _upsert_bindings(self, bindings: Sequence[Binding]) -> None:
        for chunk in chunks(bindings):
            values = [value for binding in chunk for value in rows.binding_row(binding)]
            self._db.run(rows.upsert_bindings(len(chunk)), values)
        latest = rows.latest_bindings(bindings)
        self._db.run_many(rows.UPDATE_SESSION, [(at, key) for key, at in latest.items()])

    def _count(self, exchanges: Sequence[Exchange]) -> None:
        served = Counter(exchange.account_id for exchange in exchanges)
        last = {exchange.account_id: exchange.timestamp_ms for exchange in exchanges}
        counted = [(n, last[key], key) for key, n in served.items() if key is not None]
        self._db.run_many(rows.UPDATE_COUNTERS, counted)

    def _insert_account(self, account: Account, credentials: Credentials) -> None:
        self._check_name(account.name, account.id)
        self._connection.execute(rows.INSERT_ACCOUNT, rows.account_row(account, self._safe.texts(credentials)))

    def _replace_account(self, account_id: str, account: Account, credentials: Credentials) -> None:
        statement, values = rows.update_account(
            AccountChange(priority=account.priority, tier=account.tier, base_url=account.base_url)
        )
        self._change_one(account_id, statement, (*values, account_id))
        self._set_credentials(msgspec.structs.replace(credentials, account_id=account_id), account.expires_at_ms)

    def _set_credentials(self, credentials: Credentials, expires_at_ms: int | None) -> None:
        values = (*self._safe.texts(credentials), expires_at_ms, credentials.account_id)
        self._change_one(credentials.account_id, rows.UPDATE_CREDENTIALS, values)

    def _check_name(self, name: str, account_id: str) -> None:
        taken = self._connection.execute("SELECT 1 FROM accounts WHERE name = ? AND id <> ?", (name, account_id))
        if taken.fetchone():
            raise Conflict(f"there is already an account named {name!r}")

    def _change_one(self, account_id: str, statement: str, values: Sequence[rows.Value]) -> None:
        if self._connection.execute(statement, values).rowcount == 0:
            raise NotFound(f"there is no account with the id {account_id}")

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def _check_credentials(account: Account, credentials: Credentials) -> None:
    proof = credentials.api_key if account.kind == "api_key" else credentials.refresh_token
    if credentials.account_id != account.id or proof is None:
        raise ValueError("an account comes with its own credential of its kind")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from any other, None when there is none. Raises StoreError."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{error.strerror} ({path})") from error
    return (found.st_dev, found.st_ino)
