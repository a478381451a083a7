"""The price table that was fetched last, and when: the store's processes fetch it once, not each of them."""

from ccflare.store.database import Database

_SELECT = "SELECT CAST(encoded AS BLOB), fetched_at FROM price_table"

_REPLACE = "INSERT OR REPLACE INTO price_table (id, encoded, fetched_at) VALUES (1, ?, ?)"


class KeptPrices:
    """A part of a store. What it keeps is not looked into here."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def keep(self, encoded: bytes, at_ms: int) -> None:
        """Replace what is kept."""
        self._db.run(_REPLACE, (encoded, at_ms))

    def kept(self) -> tuple[bytes, int] | None:
        """Return the encoded table and when it was fetched; None when none ever was."""
        row = self._db.one(_SELECT)
        return None if row is None else (bytes(row[0]), row[1])
