"""The rows of the table: what is measured, in which unit, and what it has to reach."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench.servers import CCFLARE, DIRECT, NGINX

Against = Literal["ratio to nginx", "added to direct", "ratio to another row", "nothing"]


class Results:
    """One value for each row, target and round; and what went wrong."""

    def __init__(self, peers: Sequence[str] = ()) -> None:
        self.peers = tuple(peers)
        """Names of what else is measured."""
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.remarks: list[str] = []

    def add(self, row: str, target: str, value: float) -> None:
        self._values[row, target].append(value)

    def values(self, row: str, target: str) -> list[float]:
        """Return the values of all rounds; empty when it was not measured."""
        return self._values.get((row, target), [])

    def median(self, row: str, target: str) -> float | None:
        """Return the median of all rounds; None when it was not measured."""
        values = self.values(row, target)
        return median(values) if values else None

    def spread(self, row: str, target: str) -> float | None:
        """Return half the range of all rounds as a share of their median; None without two rounds."""
        values = self.values(row, target)
        middle = self.median(row, target)
        return (max(values) - min(values)) / 2 / middle if len(values) > 1 and middle else None

    def ratio(self, row: str) -> float | None:
        """Return ccflare's median over nginx's."""
        ours, nginx = self.median(row, CCFLARE), self.median(row, NGINX)
        return ours / nginx if ours is not None and nginx else None

    def ratio_of_rows(self, row: str, other: str) -> float | None:
        """Return ccflare's median of a row over its median of another."""
        value, base = self.median(row, CCFLARE), self.median(other, CCFLARE)
        return value / base if value is not None and base else None

    def added(self, row: str, target: str) -> float | None:
        """Return a target's median over direct."""
        value, direct = self.median(row, target), self.median(row, DIRECT)
        return value - direct if value is not None and direct is not None else None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `met` says whether the target is reached; None when that cannot be said."""

    key: str
    title: str
    unit: str
    digits: int
    against: Against = "nothing"
    target: str = ""
    met: Callable[[Results], bool | None] = lambda _results: None
    other: str = ""
    """The row that this one is a ratio to, when it is one; and what stands behind the ratio."""
    other_words: str = ""


def _at_most(key: str, limit: float) -> Callable[[Results], bool | None]:
    return lambda results: _within(results.median(key, CCFLARE), limit)


def _ratio_at_most(key: str, limit: float) -> Callable[[Results], bool | None]:
    return lambda results: _within(results.ratio(key), limit)


def _added_at_most(key: str, limit: float) -> Callable[[Results], bool | None]:
    return lambda results: _within(results.added(key, CCFLARE), limit)


def _tail_met(results: Results) -> bool | None:
    """Say whether the slowest are within 2 ms and, where nginx is there, no slower than with it."""
    within = _within(results.added("latency_200_p99", CCFLARE), 2.0)
    ratio = results.ratio("latency_200_p99")
    return within and (ratio is None or ratio <= 1.0)


def _all_served(key: str) -> Callable[[Results], bool | None]:
    """Say whether ccflare served as many as there were."""

    def met(results: Results) -> bool | None:
        values, there = results.values(key, CCFLARE), results.values(f"{key}_of", CCFLARE)
        return None if not values else min(values) >= max(there)

    return met


def _times_another(key: str, other: str, times: float) -> Callable[[Results], bool | None]:
    def met(results: Results) -> bool | None:
        ratio = results.ratio_of_rows(key, other)
        return None if ratio is None else ratio >= times

    return met


def _within(value: float | None, limit: float) -> bool | None:
    return None if value is None else value <= limit


_RATIO: Against = "ratio to nginx"
_ADDED: Against = "added to direct"
_OTHER: Against = "ratio to another row"

ROWS = (
    Row("cpu_4k", "CPU per 4 KB request", "us", 1, _RATIO, "<= 7x nginx, then 5x", _ratio_at_most("cpu_4k", 7)),
    Row("cpu_4k_lean", "  without payloads", "us", 1, _OTHER, other="cpu_4k", other_words="with them"),
    Row("rate_4k", "requests per second, 4 KB", "1/s", 0, _RATIO),
    Row("rate_4k_lean", "  without payloads", "1/s", 0, _OTHER, other="rate_4k", other_words="with them"),
    Row("tools_4k", "  upstream and load meanwhile", "% core", 0),
    Row("cpu_100k", "CPU per 100 KB request", "us", 1, _RATIO, "<= 4x nginx", _ratio_at_most("cpu_100k", 4)),
    Row("rate_100k", "requests per second, 100 KB", "1/s", 0, _RATIO),
    Row("tools_100k", "  upstream and load meanwhile", "% core", 0),
    Row("latency_200_p50", "latency at 200/s, p50", "ms", 2, _ADDED, "+0.5 ms", _added_at_most("latency_200_p50", 0.5)),
    Row("latency_200_p99", "latency at 200/s, p99", "ms", 2, _ADDED, "+2 ms, <= nginx", _tail_met),
    Row("latency_1000_p50", "latency at 1,000/s, p50", "ms", 2, _ADDED),
    Row("latency_1000_p99", "latency at 1,000/s, p99", "ms", 2, _ADDED),
    Row("cpu_event", "CPU per event, {streams:,} streams", "us", 1, _RATIO, "<= 80 us", _at_most("cpu_event", 80)),
    Row("delay_p50", "delay per event, p50", "ms", 2, _ADDED),
    Row("delay_p99", "delay per event, p99", "ms", 2, _ADDED, "+10 ms", _added_at_most("delay_p99", 10)),
    Row("idle_memory", "memory per stream, {idle_streams:,} idle", "KB", 1, _RATIO),
    Row("idle_cpu", "  CPU while they are idle", "ms/s", 1),
    Row("idle_ended", "  of them got their end", "", 0, "nothing", "all", _all_served("idle_ended")),
    Row("memory_idle", "memory, idle", "MB", 1, target="<= 70 MB", met=_at_most("memory_idle", 70)),
    Row(
        "memory_streams",
        "memory, {streams:,} streams",
        "MB",
        1,
        target="<= 120 MB",
        met=_at_most("memory_streams", 120),
    ),
    Row("memory_peak", "memory, peak of the rows above", "MB", 1),
    Row("memory_after", "memory, after them", "MB", 1),
    Row("bodies_memory", "memory, peak, {bodies:,} bodies of 150 KB", "MB", 1, _RATIO),
    Row("bodies_after", "  after them", "MB", 1),
    Row("bodies_served", "  of them served", "", 0, "nothing", "all", _all_served("bodies_served")),
    Row("start", "server ready", "ms", 0, target="<= 700 ms", met=_at_most("start", 700)),
    Row("list", "ccflare --list", "ms", 0, target="<= 200 ms", met=_at_most("list", 200)),
    Row(
        "writer",
        "exchanges recorded, with all that was said",
        "1/s",
        0,
        _OTHER,
        ">= 20x the original",
        _times_another("writer", "writer_original", 20),
        other="writer_original",
        other_words="original",
    ),
    Row("writer_original", "  the original's statements", "1/s", 0),
    Row("writer_lean", "  ours without payloads", "1/s", 0, _OTHER, other="writer", other_words="with them"),
    Row("analytics_1h", "analytics 1 h, {rows:,} rows", "ms", 1),
    Row("analytics_24h", "analytics 24 h", "ms", 1, target="<= 50 ms", met=_at_most("analytics_24h", 50)),
    Row("analytics_7d", "analytics 7 d", "ms", 1),
    Row("analytics_30d", "analytics 30 d", "ms", 1),
    Row(
        "analytics_30d_model",
        "analytics 30 d by model",
        "ms",
        1,
        target="<= 150 ms",
        met=_at_most("analytics_30d_model", 150),
    ),
    Row("page", "history page", "ms", 2),
    Row("page_worst", "  with any filter, anywhere", "ms", 2, target="<= 20 ms", met=_at_most("page_worst", 20)),
    Row("stall", "loop delay p99, questions and 2,000 rows/s", "ms", 2, target="<= 5 ms", met=_at_most("stall", 5)),
)
