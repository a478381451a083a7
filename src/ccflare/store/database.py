"""One connection to one SQLite file: statements in, rows out, errors that say what to do.

The parts of a store (accounts, history, payloads, ...) share one of these, and so one transaction.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ccflare.store.opening import Mapped, connect

Value: TypeAlias = str | bytes | int | float | None
Row: TypeAlias = tuple[Any, ...]

_T = TypeVar("_T")
_ROWS_AT_ONCE = 512


class Database:
    """Belongs to the thread that made it. Raises StoreBusy, StoreError, and ValueError for what can never be stored."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.path = path
        self._mapped = Mapped(path)
        self.connection = connect(path, busy_timeout_s)
        self.between: Callable[[], object] = _nothing
        """Is called behind every statement that changes rows: whoever owns the thread may rest there."""

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """Return all rows of a query."""
        with self._mapped:
            return self.connection.execute(statement, values).fetchall()

    def one(self, statement: str, values: Sequence[Value] = ()) -> Row | None:
        """Return the first row of a query, None when there is none."""
        with self._mapped:
            row: Row | None = self.connection.execute(statement, values).fetchone()
        return row

    def run(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Execute a statement that changes rows; return how many."""
        with self._mapped:
            changed = self.connection.execute(statement, values).rowcount
        self.between()
        return changed

    def run_many(self, statement: str, rows: Sequence[Sequence[Value]]) -> None:
        """Execute a statement once for each row of values."""
        if rows:
            with self._mapped:
                self.connection.executemany(statement, rows)
            self.between()

    def script(self, text: str) -> None:
        """Execute statements to their end, whatever rows they would return."""
        with self._mapped:
            self.connection.executescript(text)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a block that has rolled back itself commits nothing."""
        connection = self.connection
        with self._mapped:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                if connection.in_transaction:
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything that is read in the block is of one moment; writers are not kept waiting."""
        if self.connection.in_transaction:
            yield
            return
        with self._mapped:
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                with contextlib.suppress(sqlite3.OperationalError):  # an interrupted one may be over already
                    self.connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection. Harmless when it is closed already."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Cut into pieces of few different lengths: one, two or three times a power of four.

    So their statements stay prepared: preparing one of many rows takes longer than executing it.
    """
    start = 0
    while (left := len(items) - start) > 0:
        shift = (left.bit_length() - 1) // 2 * 2
        size = min(_ROWS_AT_ONCE, left >> shift << shift)
        yield items[start : start + size]
        start += size


def _nothing() -> None:
    """Do without a rest."""
