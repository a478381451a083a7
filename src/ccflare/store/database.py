"""One connection to one SQLite file: statements in, rows out, errors that say what to do.

The parts of a store (accounts, history, payloads, ...) share one of these, and so one transaction.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ccflare.store.opening import connect, mapped

Value: TypeAlias = str | bytes | int | float | None
Row: TypeAlias = tuple[Any, ...]


class Database:
    """Belongs to the thread that made it. Raises StoreBusy, StoreError, and ValueError for what can never be stored."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.path = path
        self.connection = connect(path, busy_timeout_s)

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """Return all rows of a query."""
        with mapped(self.path):
            return self.connection.execute(statement, values).fetchall()

    def one(self, statement: str, values: Sequence[Value] = ()) -> Row | None:
        """Return the first row of a query, None when there is none."""
        with mapped(self.path):
            row: Row | None = self.connection.execute(statement, values).fetchone()
        return row

    def run(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Execute a statement that changes rows; return how many."""
        with mapped(self.path):
            return self.connection.execute(statement, values).rowcount

    def run_many(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Execute a statement once for each row of values."""
        with mapped(self.path):
            self.connection.executemany(statement, rows)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a block that has rolled back itself commits nothing."""
        connection = self.connection
        with mapped(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                if connection.in_transaction:
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection. Harmless when it is closed already."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()
