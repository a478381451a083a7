"""SQL functions of ours. No table, index or view needs them: users' own programs read the file without."""

import sqlite3

from ccflare.histogram import Histogram
from ccflare.records import outcome_of
from ccflare.store.series import series_id, series_model


def register(connection: sqlite3.Connection) -> None:
    """Make the functions known to a connection."""
    connection.create_function("series_id", 4, series_id, deterministic=True)
    connection.create_function("series_model", 1, series_model, deterministic=True)
    connection.create_function("outcome_of", 2, _outcome_of, deterministic=True)
    connection.create_function("merged", 2, _merged, deterministic=True)
    connection.create_aggregate("latency_of", 1, _Count)  # type: ignore[arg-type]  # typeshed: integers only
    connection.create_aggregate("latency_sum", 1, _Sum)  # type: ignore[arg-type]  # as above


def _outcome_of(status: int | None, success: int | None) -> str:
    return outcome_of(status or 0, bool(success))


def _merged(one: bytes | None, other: bytes | None) -> bytes:
    return Histogram.unpacked((one or b"") + (other or b"")).packed()


class _Count:
    """Durations in milliseconds, counted. NULL is none."""

    def __init__(self) -> None:
        self._durations: list[float] = []

    def step(self, duration_ms: float | None) -> None:
        if duration_ms is not None:
            self._durations.append(duration_ms)

    def finalize(self) -> bytes:
        return Histogram.of(self._durations).packed()


class _Sum:
    """Stored histograms, merged."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def step(self, stored: bytes | None) -> None:
        if stored:
            self._parts.append(stored)

    def finalize(self) -> bytes:
        return Histogram.unpacked(b"".join(self._parts)).packed()
