"""Which account an upstream object belongs to, kept through restarts."""

from collections.abc import Sequence
from typing import Final

from ccflare.records import Owned
from ccflare.store.database import Database, Value

_ROWS_AT_ONCE: Final = 512
"""A statement for many rows is faster beside a busy event loop than many statements (see `sqlite`)."""

_SELECT = """
    SELECT object_id, account_id, used_at FROM object_owners
    WHERE used_at >= ? ORDER BY used_at DESC LIMIT ?"""

_DELETE_OLD = """
    DELETE FROM object_owners
    WHERE object_id IN (SELECT object_id FROM object_owners WHERE used_at < ? ORDER BY used_at LIMIT ?)"""


class OwnerTable:
    """A part of a store: written with the journal's batches, read at the start."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, owned: Sequence[Owned]) -> None:
        """Write what was learnt, in the caller's transaction, unless its account is gone; what was deleted goes."""
        for start in range(0, len(owned), _ROWS_AT_ONCE):
            some = {each.object_id: each for each in owned[start : start + _ROWS_AT_ONCE]}.values()
            here = [each for each in some if each.account_id is not None]
            gone = [each.object_id for each in some if each.account_id is None]
            if here:
                self._db.run(_upsert(len(here)), _values(here))
            if gone:
                self._db.run(f"DELETE FROM object_owners WHERE object_id IN ({_marks(len(gone))})", gone)  # noqa: S608  # question marks

    def load(self, at_most: int, *, used_since_ms: int = 0) -> list[Owned]:
        """Return the objects used last, the latest first."""
        return [Owned(*row) for row in self._db.rows(_SELECT, (used_since_ms, at_most))]

    def forget(self, used_before_ms: int, at_most: int = 1000) -> int:
        """Delete some objects that were not used since an instant; return how many."""
        return self._db.run(_DELETE_OLD, (used_before_ms, at_most))

    def forget_account(self, account_id: str) -> None:
        """Forget what belonged to an account, in the caller's transaction."""
        self._db.run("DELETE FROM object_owners WHERE account_id = ?", (account_id,))


def _upsert(rows: int) -> str:
    """Return the statement that writes `rows` objects at once, without those of accounts that are gone."""
    return f"""
        INSERT INTO object_owners (object_id, account_id, used_at)
        SELECT * FROM (VALUES {", ".join(["(?, ?, ?)"] * rows)}) WHERE column2 IN (SELECT id FROM accounts)
        ON CONFLICT (object_id) DO UPDATE SET account_id = excluded.account_id, used_at = excluded.used_at"""  # noqa: S608  # question marks


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _values(owned: Sequence[Owned]) -> list[Value]:
    return [value for each in owned for value in (each.object_id, each.account_id, each.used_at_ms)]
