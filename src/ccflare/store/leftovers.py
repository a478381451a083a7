"""What deleted rows and older programs leave in the file, given back in small steps."""

from ccflare.store.database import Database

_LOG_BYTES = 16 * 1024 * 1024
"""What the write-ahead log may keep of its size when it begins anew."""
_SIGN_INS = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'oauth_sessions'"


class Leftovers:
    """A part of a store. Each call is short; what it returns says whether another one is worth while."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._db.rows(f"PRAGMA journal_size_limit = {_LOG_BYTES}")

    def give_back(self, *, at_most_pages: int, keep_pages: int = 0) -> int:
        """Make the file smaller by unused pages; return by how many. It shows with the next `checkpoint`.

        Always 0 for a file that was not made to shrink: one upgraded when the disk had no room for it.
        """
        free = self._pages("freelist_count")
        if free <= keep_pages or self._pages("auto_vacuum") != 2:  # INCREMENTAL
            return 0
        # Not by `execute`: that stops after the first page.
        self._db.script(f"PRAGMA incremental_vacuum({min(at_most_pages, free - keep_pages)})")
        return free - self._pages("freelist_count")

    def checkpoint(self) -> None:
        """Move what is in the write-ahead log to its place, as far as no reader needs it there."""
        self._db.rows("PRAGMA wal_checkpoint(PASSIVE)")

    def forget_sign_ins(self, *, before_ms: int, at_most: int) -> int:
        """Delete some of the sign-ins that the original program began and never ended; return how many."""
        if self._db.one(_SIGN_INS) is None:
            return 0
        chosen = "SELECT rowid FROM oauth_sessions WHERE COALESCE(created_at, 0) < ? LIMIT ?"
        return self._db.run(f"DELETE FROM oauth_sessions WHERE rowid IN ({chosen})", (before_ms, at_most))  # noqa: S608  # constants

    def _pages(self, pragma: str) -> int:
        row = self._db.one(f"PRAGMA {pragma}")
        return int(row[0]) if row else 0
