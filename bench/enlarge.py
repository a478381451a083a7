"""A history made larger inside the database: `python -m bench.enlarge FILE TIMES`.

Ten million exchanges take long to be written as a server writes them. Here a smaller history is copied in SQL: copies
lie between their originals, each with what another exchange was, and the sums are made anew by the statements that
upgrade a database of the original program. The file is as if they had been written.
"""

import argparse
import re
import sqlite3
from contextlib import closing
from importlib import resources
from pathlib import Path

from ccflare.store.functions import register

_STRIDE = 104_729
"""A prime: the exchange that a copy takes after is this far away, times its number."""
_CACHE_KIB = 1 << 20
_INDEXES = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'requests' AND sql IS NOT NULL"
_SUMS = ("rollup_minute", "rollup_hour", "rollup_day", "rollup_ever")


def enlarge(path: Path, times: int) -> int:
    """Make a history so many times as large; return its number of rows. No server may have the file open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        register(db)
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            db.execute(f"PRAGMA {setting}").fetchall()
        indexes = db.execute(_INDEXES).fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        _copy(db, times)
        for _, statement in indexes:
            db.execute(statement)
        _sum(db)
        db.execute("PRAGMA journal_mode=WAL").fetchall()
        ((rows,),) = db.execute("SELECT COUNT(*) FROM requests").fetchall()
    return int(rows)


def _copy(db: sqlite3.Connection, times: int) -> None:
    columns = [name for _, name, *_ in db.execute("PRAGMA table_info(requests)")]
    others = [name for name in columns if name not in {"id", "timestamp"}]
    ((rows, first, last),) = db.execute("SELECT MAX(rowid), MIN(timestamp), MAX(timestamp) FROM requests").fetchall()
    step_ms = (last - first) // rows // times
    for number in range(1, times):
        db.execute(
            f"""
            INSERT INTO requests (id, timestamp, {", ".join(others)})
            SELECT own.id || ?, own.timestamp - ?, {", ".join(f"other.{name}" for name in others)}
            FROM requests AS own JOIN requests AS other ON other.rowid = (own.rowid + ?) % ? + 1
            WHERE own.rowid <= ?""",  # the table's own columns
            (f"-{number}", number * step_ms, number * _STRIDE, rows, rows),
        )


def _sum(db: sqlite3.Connection) -> None:
    """Make all sums anew, with the statements of the migration that made them first."""
    text = (resources.files("ccflare.store") / "migrations" / "0003_series.sql").read_text()
    db.execute("DELETE FROM rollup_new")
    for table in _SUMS:
        found = re.search(rf"INSERT INTO {table}\b.*?;", text, re.DOTALL)
        assert found is not None, table
        db.execute(f"DELETE FROM {table}")  # our own names
        db.execute(found[0])


def main() -> None:
    """Enlarge a file."""
    parser = argparse.ArgumentParser(prog="python -m bench.enlarge", description="Make a history larger.")
    parser.add_argument("file", type=Path)
    parser.add_argument("times", type=int)
    given = parser.parse_args()
    print(f"{enlarge(given.file, given.times):,} rows")


if __name__ == "__main__":
    main()
