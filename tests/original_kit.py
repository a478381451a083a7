"""Databases of the original ccflare for tests: a real one, and others made by SQL."""

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).with_name("fixtures")
DATABASE = FIXTURES / "original-ccflare.db"
"""Written by the original: 4 accounts, 48 requests, 48 payloads with credentials in clear."""
SETTINGS = FIXTURES / "original-ccflare.json"
CLEAR = (b"client-placeholder-key", b"secretcookie")
"""Credentials in the headers of its payloads."""

OLD_ACCOUNTS = """
    CREATE TABLE accounts (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, provider TEXT DEFAULT 'anthropic', api_key TEXT,
        refresh_token TEXT NOT NULL, access_token TEXT, expires_at INTEGER, created_at INTEGER NOT NULL,
        last_used INTEGER, request_count INTEGER DEFAULT 0, total_requests INTEGER DEFAULT 0,
        account_tier INTEGER DEFAULT 1
    );
"""
OLD_REQUESTS = """
    CREATE TABLE requests (
        id TEXT PRIMARY KEY, timestamp INTEGER NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
        account_used TEXT, status_code INTEGER, success BOOLEAN, error_message TEXT,
        response_time_ms INTEGER, failover_attempts INTEGER DEFAULT 0
    );
"""
PAYLOADS = "CREATE TABLE request_payloads (id TEXT PRIMARY KEY, json TEXT NOT NULL);"
OAUTH_SESSIONS = """
    CREATE TABLE oauth_sessions (
        id TEXT PRIMARY KEY, account_name TEXT NOT NULL, verifier TEXT NOT NULL, mode TEXT NOT NULL,
        tier INTEGER DEFAULT 1, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
    );
"""


def copy_of_real(directory: Path) -> Path:
    """Put a copy of the real database into a directory, readable by everybody, as the original made it."""
    path = directory / "ccflare.db"
    shutil.copyfile(DATABASE, path)
    path.chmod(0o644)
    return path


def made(path: Path, script: str, **tables: Sequence[Mapping[str, Any]]) -> Path:
    """Make a database by a script, with rows by table."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)
        for table, rows in tables.items():
            for row in rows:
                marks = ", ".join("?" * len(row))
                db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
        db.commit()
    return path


def account(name: str, /, **more: Any) -> dict[str, Any]:
    """A row of the original's `accounts`: one with tokens unless it is said otherwise."""
    row = {"id": f"id-{name}", "name": name, "refresh_token": f"rt-{name}", "access_token": f"at-{name}"}
    return {**row, "created_at": 1_000, **more}


def read(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask a database as a user with sqlite3 does."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables."""
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return {name: db.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall() for name in tables}


def backups(path: Path) -> list[Path]:
    """Return what lies beside a database under the name of a backup."""
    return sorted(path.parent.glob(f"{path.name}.backup-*"))
