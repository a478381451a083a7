"""The store on a SQLite file.

A measured trap shapes `write`: the driver gives the interpreter's lock away at every statement it steps, and
gets it back late when an event loop is busy: up to 40 ms each time. So rows go in by statements of up to 512
rows. Beside a saturated loop 500 rows take 15 ms; with `executemany` they took 63 ms to 13 s (2026-11).
"""

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ccflare.errors import Conflict, NotFound, StoreError
from ccflare.records import Account, Binding, Credentials, Exchange
from ccflare.store import AccountChange, Batch, Counts, rows
from ccflare.store.database import Database
from ccflare.store.opening import mapped

_ROWS_AT_ONCE = 512
_ROWS_STEP = 32

_Item = TypeVar("_Item")


class SqliteStore:
    """One connection to one file, owned by the thread that opened it."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self._path = Path(os.path.realpath(path))
        self._db = Database(self._path, busy_timeout_s)
        self._connection = self._db.connection
        try:
            with mapped(self._path):
                self._version = self._data_version()
            self._file = _identity(self._path)
        except BaseException:
            self._connection.close()
            raise

    def accounts(self) -> list[Account]:
        """Return all accounts, oldest first."""
        with mapped(self._path):
            return [rows.account_of(row) for row in self._connection.execute(rows.SELECT_ACCOUNTS)]

    def credentials(self) -> dict[str, Credentials]:
        """Return the secrets of all accounts by account id."""
        with mapped(self._path):
            found = [rows.credentials_of(row) for row in self._connection.execute(rows.SELECT_CREDENTIALS)]
        return {each.account_id: each for each in found}

    def add_account(self, account: Account, credentials: Credentials) -> None:
        """Add an account. Raises Conflict when its name is taken."""
        proof = credentials.api_key if account.kind == "api_key" else credentials.refresh_token
        if credentials.account_id != account.id or proof is None:
            raise ValueError("an account comes with its own credential of its kind")
        with self._db.transaction():
            self._check_name(account.name, account.id)
            self._connection.execute(rows.INSERT_ACCOUNT, rows.account_row(account, credentials))

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
        api_key, access_token, refresh_token = rows.secret_texts(credentials)
        values = (api_key, access_token, refresh_token, expires_at_ms, credentials.account_id)
        with self._db.transaction():
            self._change_one(credentials.account_id, rows.UPDATE_CREDENTIALS, values)

    def remove_account(self, account_id: str) -> None:
        """Remove an account, its secrets and its sessions; its requests stay. Raises NotFound."""
        with self._db.transaction():
            self._change_one(account_id, "DELETE FROM accounts WHERE id = ?", (account_id,))
            self._connection.execute("DELETE FROM sessions WHERE account_id = ?", (account_id,))

    def bindings(self, *, bound_since_ms: int) -> list[Binding]:
        """Return the session bindings made at or after an instant, oldest first."""
        with mapped(self._path):
            found = self._connection.execute(rows.SELECT_BINDINGS, (bound_since_ms,))
            return [Binding(*row) for row in found]

    def forget_bindings(self, *, bound_before_ms: int, at_most: int = 1000) -> int:
        """Delete some bindings made before an instant; return how many."""
        with self._db.transaction():
            return self._connection.execute(rows.DELETE_BINDINGS, (bound_before_ms, at_most)).rowcount

    def session_counts(self, *, bound_since_ms: int) -> dict[str, int]:
        """Return how many sessions each account was bound to since an instant."""
        with mapped(self._path):
            return dict(self._connection.execute(rows.COUNT_SESSIONS, (bound_since_ms,)).fetchall())

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction. Raises ValueError when a row can never be stored."""
        if self._write(batch):
            return
        # Some rows are there already: a commit that was reported as failed had succeeded, and is repeated.
        if not self._write(msgspec.structs.replace(batch, exchanges=self._unknown(batch.exchanges))):
            raise StoreError(f"the rows of a batch are not taken ({self._path})")

    def exchanges(self, *, after: str = "", at_most: int = 1000) -> list[Exchange]:
        """Return exchanges whose id sorts behind `after`, oldest first."""
        with mapped(self._path):
            found = self._connection.execute(rows.SELECT_EXCHANGES, (after, at_most)).fetchall()
        return [rows.exchange_of(row) for row in found]

    def reset_stats(self) -> None:
        """Set every account's counters to zero; the history stays."""
        with self._db.transaction():
            self._connection.execute(rows.RESET_COUNTERS)

    def counts(self) -> Counts:
        """Count the rows. The cost grows with the history."""
        with mapped(self._path):
            return Counts(*self._connection.execute(rows.COUNT_ROWS).fetchone())

    def changed(self) -> bool:
        """Say whether another connection has committed since this was asked last, or since opening."""
        with mapped(self._path):
            before, self._version = self._version, self._data_version()
        return before != self._version

    def moved(self) -> bool:
        """Say whether the database has been removed, or another one put in its place, since it was opened."""
        return _identity(self._path) != self._file

    def interrupt(self) -> None:
        """End the statement that runs; it raises StoreBusy. The one method that any thread may call."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection. Harmless when it is closed already.

        When the file was moved away, its log stays behind under the old name, where it would be taken for the
        log of whatever file comes there next. So its contents go where they belong first.
        """
        with contextlib.suppress(sqlite3.Error, StoreError):  # the file is given up either way
            if self.moved():
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _write(self, batch: Batch) -> bool:
        """Write a batch; or nothing, and return False, when some of its exchanges are there already."""
        with self._db.transaction():
            if self._insert_exchanges(batch.exchanges) != len(batch.exchanges):
                self._connection.execute("ROLLBACK")
                return False
            self._upsert_bindings(batch.bindings)
            self._connection.executemany(rows.UPDATE_RUN_TIME, map(rows.run_time_row, batch.accounts))
            self._count(batch.exchanges)
        return True

    def _insert_exchanges(self, exchanges: Sequence[Exchange]) -> int:
        inserted = 0
        for chunk in _chunks(exchanges):
            values = [value for exchange in chunk for value in rows.exchange_row(exchange)]
            inserted += self._connection.execute(rows.insert_exchanges(len(chunk)), values).rowcount
        return inserted

    def _upsert_bindings(self, bindings: Sequence[Binding]) -> None:
        for chunk in _chunks(bindings):
            values = [value for binding in chunk for value in rows.binding_row(binding)]
            self._connection.execute(rows.upsert_bindings(len(chunk)), values)
        latest = rows.latest_bindings(bindings)
        self._connection.executemany(rows.UPDATE_SESSION, [(at, key) for key, at in latest.items()])

    def _count(self, exchanges: Sequence[Exchange]) -> None:
        served = Counter(exchange.account_id for exchange in exchanges)
        last = {exchange.account_id: exchange.timestamp_ms for exchange in exchanges}
        counted = [(n, last[key], key) for key, n in served.items() if key is not None]
        self._connection.executemany(rows.UPDATE_COUNTERS, counted)

    def _unknown(self, exchanges: Sequence[Exchange]) -> list[Exchange]:
        by_id = {exchange.id: exchange for exchange in exchanges}
        with mapped(self._path):
            for known in list(by_id):
                if self._connection.execute("SELECT 1 FROM requests WHERE id = ?", (known,)).fetchone():
                    del by_id[known]
        return list(by_id.values())

    def _check_name(self, name: str, account_id: str) -> None:
        taken = self._connection.execute("SELECT 1 FROM accounts WHERE name = ? AND id <> ?", (name, account_id))
        if taken.fetchone():
            raise Conflict(f"there is already an account named {name!r}")

    def _change_one(self, account_id: str, statement: str, values: Sequence[rows.Value]) -> None:
        if self._connection.execute(statement, values).rowcount == 0:
            raise NotFound(f"there is no account with the id {account_id}")

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from any other, None when there is none. Raises StoreError."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{error.strerror} ({path})") from error
    return (found.st_dev, found.st_ino)


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Cut into pieces of few different lengths, so that their statements stay prepared: two for 500 items."""
    start = 0
    while (left := len(items) - start) > 0:
        size = min(_ROWS_AT_ONCE, left)
        if size > _ROWS_STEP:
            size -= size % _ROWS_STEP
        yield items[start : start + size]
        start += size
