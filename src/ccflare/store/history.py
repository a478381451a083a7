"""The history: one row for each exchange, written together with its sums, read page by page.

A page is found through indexes alone, whatever the filter: the rows of each series lie in order of time, and a page
is made of the newest rows of those series that have any so new.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ccflare.records import Exchange
from ccflare.store.database import Database, Row, chunks
from ccflare.store.rollups import Rollups
from ccflare.store.rows import EXCHANGE_COLUMNS, exchange_of, exchange_row, insert_exchanges
from ccflare.store.series import Filter, Series, matching

__all__ = ["Cursor", "Filter", "History"]

_EVER_MS = 1 << 62
_COLUMNS = ", ".join(EXCHANGE_COLUMNS)
_GET = f"SELECT {_COLUMNS} FROM requests WHERE id = ?"  # noqa: S608  # constants
_PAGE = f"""
    SELECT {_COLUMNS} FROM requests INDEXED BY idx_requests_timestamp
    WHERE timestamp >= ? AND timestamp <= ? AND (timestamp < ? OR id < ?)
    ORDER BY timestamp DESC, id DESC LIMIT ?"""  # noqa: S608  # constants
_PAGE_OF_SERIES = f"""
    SELECT {_COLUMNS} FROM requests INDEXED BY idx_requests_series
    WHERE series IN (SELECT value FROM json_each(?))
        AND timestamp >= ? AND timestamp <= ? AND (timestamp < ? OR id < ?)
    ORDER BY timestamp DESC, id DESC LIMIT ?"""  # noqa: S608  # constants
_NEWEST = """
    SELECT id, (SELECT MAX(timestamp) FROM requests INDEXED BY idx_requests_series
                WHERE requests.series = series.id AND timestamp BETWEEN ? AND ?)
    FROM series WHERE {}"""
_TIMES = """
    SELECT timestamp FROM requests INDEXED BY idx_requests_series
    WHERE series = ? AND timestamp >= ? AND timestamp < ?
    ORDER BY timestamp DESC LIMIT ?"""
_FORGET = """
    DELETE FROM requests
    WHERE rowid IN (SELECT rowid FROM requests WHERE timestamp < ? ORDER BY timestamp LIMIT ?)"""


class Cursor(NamedTuple):
    """A place in the history, in its order; rows made by older programs have ids in no order."""

    timestamp_ms: int
    id: str


class History:
    """The rows of exchanges."""

    def __init__(self, database: Database, rollups: Rollups) -> None:
        self._db = database
        self._rollups = rollups
        self._series = Series(database)

    def add(self, exchanges: Sequence[Exchange]) -> Sequence[Exchange]:
        """Write rows and add them to their sums, inside the caller's transaction; return those that are new.

        One that is there already is neither written nor counted again: a commit that was reported as failed had
        succeeded, and is repeated.
        """
        rows = [exchange_row(each) for each in exchanges]
        series = self._series.of(exchanges)
        inserted = start = 0
        for chunk in chunks(rows):
            inserted += self._db.run(*insert_exchanges(chunk, series[start : start + len(chunk)]))
            start += len(chunk)
        if inserted == len(rows):
            self._rollups.add(rows, series)
            return exchanges
        new = self._latest(inserted)
        first: dict[str, int] = {}
        for number, each in enumerate(exchanges):
            if each.id in new:
                first.setdefault(each.id, number)
        self._rollups.add([rows[number] for number in first.values()], [series[number] for number in first.values()])
        return [exchanges[number] for number in first.values()]

    def page(self, wanted: Filter, *, before: Cursor | None = None, at_most: int = 50) -> list[Exchange]:
        """Return the newest exchanges that are older than a place, newest first."""
        from_ms = wanted.from_ms or 0
        end = Cursor(_EVER_MS if wanted.to_ms is None else wanted.to_ms, "")
        end = end if before is None else min(before, end)
        if wanted.restricts_series:
            with self._db.snapshot():
                found = self._of_series(wanted, from_ms, end, at_most)
        else:
            found = self._db.rows(_PAGE, (from_ms, end.timestamp_ms, *end, at_most))
        return [exchange_of(row) for row in found]

    def get(self, exchange_id: str) -> Exchange | None:
        """Return an exchange, None when there is none of this id."""
        row = self._db.one(_GET, (exchange_id,))
        return exchange_of(row) if row else None

    def models(self) -> list[str]:
        """Return the models that were asked for, those that answered first."""
        return self._series.models()

    def account_names(self) -> dict[str, str]:
        """Return the names of all accounts by id, removed ones included."""
        return dict(self._db.rows("SELECT id, name FROM former_accounts UNION ALL SELECT id, name FROM accounts"))

    def forget(self, before_ms: int, at_most: int = 1000) -> int:
        """Delete some rows that arrived before an instant, oldest first; return how many. Their sums stay."""
        return self._db.run(_FORGET, (before_ms, at_most))

    def clear(self) -> int:
        """Delete all rows and sums; return how many rows. Inside the caller's transaction."""
        gone = self._db.run("DELETE FROM requests")
        self._rollups.clear()
        self._series.clear()
        return gone

    def _latest(self, count: int) -> set[str]:
        """Return the ids of the rows that were written last: a row's number is above all others."""
        return {each for (each,) in self._db.rows("SELECT id FROM requests ORDER BY rowid DESC LIMIT ?", (count,))}

    def _of_series(self, wanted: Filter, from_ms: int, end: Cursor, at_most: int) -> list[Row]:
        series = self._newest(wanted, from_ms, end)
        floor_ms = self._floor(series, from_ms, end, at_most)
        chosen = msgspec.json.encode([each for each, newest in series if newest >= floor_ms]).decode()
        return self._db.rows(_PAGE_OF_SERIES, (chosen, floor_ms, end.timestamp_ms, *end, at_most))

    def _newest(self, wanted: Filter, from_ms: int, end: Cursor) -> list[tuple[int, int]]:
        """Return the series that are meant and the newest arrival of each up to a place, newest first."""
        condition, values = matching(wanted)
        found = self._db.rows(_NEWEST.format(condition), (from_ms, end.timestamp_ms, *values))
        return sorted(((each, newest) for each, newest in found if newest is not None), key=lambda pair: -pair[1])

    def _floor(self, series: Sequence[tuple[int, int]], from_ms: int, end: Cursor, at_most: int) -> int:
        """Return an arrival at or behind which a whole page lies, or all there is."""
        times: list[int] = []
        floor_ms = from_ms
        for each, newest in series:
            if newest < floor_ms:
                break
            found = self._db.rows(_TIMES, (each, floor_ms, end.timestamp_ms, at_most))
            times = sorted([*times, *(time for (time,) in found)], reverse=True)[:at_most]
            if len(times) == at_most:
                floor_ms = times[-1]
        return floor_ms
