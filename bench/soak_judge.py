"""What a soak must show: nothing has grown, nothing went wrong that was not asked for, and the books agree."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from statistics import fmean, linear_regression

from bench.soak_server import Look, Soak
from bench.soak_traffic import Traffic

WARM_UP = 1 / 3
"""Of the time; caches fill, histories get their first thousand rows, the allocator its arenas."""
BOUNDS: Mapping[str, float] = {
    "memory_mb": 10.0,
    "descriptors": 10.0,
    "upstream_connections": 10.0,
    "threads": 1.0,
    "tasks": 10.0,
    "blocks": 40_000.0,
    "waiting": 50.0,
}
"""By how much each may have grown by the line through all looks after the warm-up, from its begin to its end."""


def growth(looks: Sequence[Look], name: str) -> tuple[float, float, float]:
    """Return the mean of a measure after the warm-up, its last value, and by how much the line through it rises."""
    counted = looks[int(len(looks) * WARM_UP) : -1]
    minutes, values = [each.minute for each in counted], [float(getattr(each, name)) for each in counted]
    slope = linear_regression(minutes, values).slope if len(counted) > 2 else 0.0
    return fmean(values), float(getattr(looks[-1], name)), slope * (minutes[-1] - minutes[0])


def compare_books(soak: Soak, traffic: Traffic) -> list[str]:
    """Return where clients, database and upstream do not agree on how often something happened."""
    with closing(sqlite3.connect(soak.database)) as db:
        rows = Counter(dict(db.execute("SELECT status_code || '/' || success, COUNT(*) FROM requests GROUP BY 1")))
        ((attempts, ids),) = db.execute("SELECT SUM(json_array_length(attempts)), COUNT(DISTINCT id) FROM requests")
        ((summed,),) = db.execute(
            "SELECT SUM(requests) FROM (SELECT requests FROM rollup_ever UNION ALL SELECT requests FROM rollup_new)"
        )
        sound = db.execute("PRAGMA integrity_check").fetchall()
    seen: Counter[str] = Counter()
    for (_, outcome), count in traffic.seen.items():
        seen[outcome] += count
    pairs = {
        "requests asked, rows": (sum(traffic.asked.values()), sum(rows.values())),
        "rows, different ids": (sum(rows.values()), ids),
        "rows, their sums": (sum(rows.values()), summed),
        "answered whole, successful rows": (seen["200"], rows["200/1"]),
        "left by clients, rows 499": (seen["left"], rows["499/0"]),
        "cut by upstream, failed rows with 200": (seen["cut"], rows["200/0"]),
        "400, rows 400": (seen["400"], rows["400/0"]),
        "500, rows 500": (seen["500"], rows["500/0"]),
        "attempts recorded, requests upstream": (attempts, soak.upstream_asked),
    }
    wrong = [f"{what}: {one} and {other}" for what, (one, other) in pairs.items() if one != other]
    return wrong + ([] if sound == [("ok",)] else [f"the database is not sound: {sound}"])


def judge(soak: Soak, traffic: Traffic) -> list[str]:
    """Return what is wrong."""
    wrong = [f"not expected: {what} ({count} times)" for what, count in Counter(traffic.unexpected).items()]
    wrong += soak.faults[:20]
    for name, bound in BOUNDS.items():
        _, _, grown = growth(soak.looks, name)
        if grown > bound:
            wrong.append(f"{name} has grown by {grown:.1f}, more than {bound:g}")
    last = soak.looks[-1]
    if last.in_flight or last.waiting:
        wrong.append(f"not at rest: {last.in_flight} in flight, {last.waiting} waiting")
    return wrong + compare_books(soak, traffic)


def text(soak: Soak, traffic: Traffic) -> str:
    """Return the tables."""
    lines = [f"{'':<22}{'mean':>12}{'at rest':>12}{'grown':>10}{'bound':>10}"]
    for name, bound in BOUNDS.items():
        mean, rest, grown = growth(soak.looks, name)
        lines.append(f"{name:<22}{mean:>12,.1f}{rest:>12,.1f}{grown:>+10,.1f}{bound:>10,.0f}")
    lines.append("")
    lines += [f"{kind:<22}{outcome:>8}{count:>9,}" for (kind, outcome), count in sorted(traffic.seen.items())]
    asked, minutes = sum(traffic.asked.values()), soak.looks[-1].minute
    done = f"{asked:,} requests in {minutes:.1f} minutes, {soak.upstream_asked:,} upstream with all repetitions"
    beside = f"{soak.changes} changes of accounts, {soak.polls:,} pages, {soak.rotations} rotations of the log"
    return "\n".join([*lines, "", f"{done}; {beside}, {soak.log_lines['all']:,} lines in it"])
