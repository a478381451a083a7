"""Sums by minute, hour and day (UTC) and series, written with the rows they are the sums of.

Every chart reads these; what is told about a period costs the same whatever its number of exchanges. A batch adds to
one small table; now and then that one is folded into the others. Whatever is asked counts it too.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

from ccflare.histogram import Histogram
from ccflare.store.database import Database, Row, chunks
from ccflare.store.rows import EXCHANGE_COLUMNS
from ccflare.store.series import Filter, matching
from ccflare.store.sums import DAY_MS, EVER, EVER_MS, HOUR_MS, MINUTE_MS, Span, Sums, known_sum

MINUTES_KEPT_MS: Final = 3 * DAY_MS
"""A day, the day before it for comparison, and one more. The third migration has the same numbers."""
HOURS_KEPT_MS: Final = 64 * DAY_MS
"""The same for 30 days. Days are kept for ever."""

Part: TypeAlias = Literal["account", "model", "client_key", "time"]
"""What sums may be divided by."""
Divided: TypeAlias = dict[tuple[Any, ...], Sums]
"""Sums by the values of the parts that were asked for."""

_Key: TypeAlias = tuple[int, int]
"""Time and series."""
_Cell: TypeAlias = tuple[Any, ...]
"""The values of `_COLUMNS`."""

_TABLES = {MINUTE_MS: "rollup_minute", HOUR_MS: "rollup_hour", DAY_MS: "rollup_day", EVER_MS: "rollup_ever"}
_KEPT_MS = {"rollup_minute": MINUTES_KEPT_MS, "rollup_hour": HOURS_KEPT_MS}
_FOLD_AFTER = 1_000
"""So many cells are written before what is new is folded: the other tables are written seldom."""

_ALWAYS = (
    "requests", "streamed", "failover_attempts", "response_time_ms", "first_byte_ms", "first_bytes",
    "speed_tokens", "speed_ms", "unpriced", "request_bytes", "response_bytes",
)  # fmt: skip
_IF_SAID = (
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "cache_creation_5m_tokens", "cache_creation_1h_tokens", "thinking_tokens", "web_search_requests", "cost_microusd",
)  # fmt: skip
_COLUMNS = (*_ALWAYS, *_IF_SAID, "latency")
_SUMS = tuple(f"SUM({each})" for each in (*_ALWAYS, *_IF_SAID))
_TIME = _ALWAYS.index("response_time_ms")
_OUTPUT, _COST = _IF_SAID.index("output_tokens"), _IF_SAID.index("cost_microusd")

_ARRIVAL = EXCHANGE_COLUMNS.index("timestamp")
_used = itemgetter(
    *map(
        EXCHANGE_COLUMNS.index,
        (
            "streamed", "failover_attempts", "response_time_ms", "first_byte_ms", "output_tokens_per_second",
            "total_tokens", "request_bytes", "response_bytes", *_IF_SAID,
        ),
    )
)  # fmt: skip

_FORGET = """
    DELETE FROM {0}
    WHERE (time, series) IN (SELECT time, series FROM {0} WHERE time < ? ORDER BY time, series LIMIT ?)"""
_SINCE = """
    SELECT MIN(first) FROM (SELECT MIN(time) AS first FROM rollup_day UNION ALL SELECT MIN(time) FROM rollup_new)"""
_PARTS = {"account": "account", "model": "model", "client_key": "client_key", "time": "time - time % {bucket_ms}"}


class Rollups:
    """The tables of sums."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.fold_after = _FOLD_AFTER
        self._unfolded = 0

    def add(self, rows: Sequence[Row], series: Sequence[int]) -> None:
        """Add exchanges, as rows of `EXCHANGE_COLUMNS`, to the sums of their series. Inside their transaction."""
        grouped: defaultdict[_Key, list[Row]] = defaultdict(list)
        for row, each in zip(rows, series, strict=True):
            arrival = row[_ARRIVAL]
            grouped[arrival - arrival % MINUTE_MS, each].append(row)
        cells = {key: _cell(members) for key, members in grouped.items()}
        for chunk in chunks(list(cells.items())):
            self._db.run(_add(len(chunk)), list(chain.from_iterable(chain.from_iterable(chunk))))
        self._unfolded += len(cells)
        if self._unfolded >= self.fold_after:
            self.fold()
            self._unfolded = 0

    def fold(self) -> None:
        """Add what is new to minutes, hours, days and the whole. Inside the caller's transaction."""
        for unit_ms, table in _TABLES.items():
            self._db.run(_fold(table, unit_ms))
        self._db.run("DELETE FROM rollup_new")

    def sums(self, wanted: Filter, parts: Sequence[Part], period: Sequence[Span], bucket_ms: int = DAY_MS) -> Divided:
        """Return the sums of a period by these parts; a time is the begin of its bucket.

        `bucket_ms` is a multiple of every span's unit. The filter's own times are not heeded.
        """
        if not period:
            return {}
        condition, values = matching(wanted)
        keys = [_PARTS[part].format(bucket_ms=bucket_ms) for part in parts]
        times = [time for span in period for time in (span.from_ms, span.to_ms)]
        times += (period[0].from_ms, period[-1].to_ms)
        rows = self._db.rows(_select(keys, period, condition), [*times, *values])
        key = len(keys)
        return {row[:key]: _sums(row[key:]) for row in rows if row[key] is not None}

    def since_ms(self) -> int | None:
        """Return the begin of the first day that has a sum, None when there is none."""
        row = self._db.one(_SINCE)
        return row[0] - row[0] % DAY_MS if row and row[0] is not None else None

    def forget(self, now_ms: int, at_most: int = 1000) -> int:
        """Delete some minutes and hours that no question needs any more, oldest first; return how many."""
        return sum(
            self._db.run(_FORGET.format(table), (now_ms - kept_ms, at_most)) for table, kept_ms in _KEPT_MS.items()
        )

    def clear(self) -> None:
        """Delete all sums."""
        for table in ("rollup_new", *_TABLES.values()):
            self._db.run(f"DELETE FROM {table}")  # noqa: S608  # our own names


def used_by_key(rollups: Rollups) -> dict[str, Sums]:
    """Return everything there ever was by client key; the empty one stands for none."""
    return {key: sums for (key,), sums in rollups.sums(Filter(), ("client_key",), EVER).items()}


def _cell(rows: Sequence[Row]) -> _Cell:
    """Add the rows of one series and minute."""
    parts = list(map(_part, rows))
    latency = Histogram.packed_of([part[_TIME] for part in parts])
    if len(parts) == 1:
        return (*parts[0], latency)
    return (*map(known_sum, zip(*parts, strict=True)), latency)


def _part(row: Row) -> _Cell:
    """Return what one exchange adds, but for its histogram."""
    streamed, failovers, time, first_byte, speed, total, sent, received, *known = _used(row)
    spoken = (known[_OUTPUT] or 0) if speed else 0
    return (
        1, streamed, failovers, time, first_byte or 0, int(first_byte is not None),
        spoken, int(spoken * 1000 / speed + 0.5) if spoken else 0,
        int(total is not None and known[_COST] is None), sent, received, *known,
    )  # fmt: skip


@cache
def _add(cells: int) -> str:
    """Return the statement that adds to what is new: without a function of ours, so it never waits for the interpreter.

    Histograms are put one behind the other there, which is their sum too.
    """
    row = f"({', '.join('?' * (2 + len(_COLUMNS)))})"
    return _upsert("rollup_new", f"VALUES {', '.join([row] * cells)}", "CAST(latency || excluded.latency AS BLOB)")


@cache
def _fold(table: str, unit_ms: int) -> str:
    source = f"""
        SELECT time - time % {unit_ms} AS begin, series, {", ".join(_SUMS)}, latency_sum(latency)
        FROM rollup_new GROUP BY begin, series"""  # noqa: S608  # our own names
    return _upsert(table, source, "merged(latency, excluded.latency)")


def _upsert(table: str, source: str, latency: str) -> str:
    updates = [f"{each} = {each} + excluded.{each}" for each in _ALWAYS]
    updates += [f"{each} = COALESCE({each} + excluded.{each}, {each}, excluded.{each})" for each in _IF_SAID]
    return f"""
        INSERT INTO {table} (time, series, {", ".join(_COLUMNS)}) {source}
        ON CONFLICT (time, series) DO UPDATE SET {", ".join(updates)}, latency = {latency}"""  # our own names


def _select(keys: Sequence[str], period: Sequence[Span], condition: str) -> str:
    tables = [*(_TABLES[span.unit_ms] for span in period), "rollup_new"]
    parts = [f"SELECT * FROM {table} WHERE time >= ? AND time < ?" for table in tables]  # noqa: S608  # our own names
    counts = [f"SUM(CASE outcome WHEN '{each}' THEN requests ELSE 0 END)" for each in ("success", "rate_limited")]
    return f"""
        SELECT {", ".join([*keys, *_SUMS, "latency_sum(latency)", *counts])}
        FROM ({" UNION ALL ".join(parts)}) AS cells CROSS JOIN series ON series.id = cells.series
        WHERE {condition} {f"GROUP BY {', '.join(keys)}" if keys else ""}"""  # noqa: S608  # our own names


def _sums(row: Row) -> Sums:
    *numbers, latency, succeeded, rate_limited = row
    known = dict(zip((*_ALWAYS, *_IF_SAID), numbers, strict=True))
    return Sums(**known, latency=Histogram.unpacked(latency), succeeded=succeeded, rate_limited=rate_limited)
