"""A database file looked at from outside: whose it is, how large, whether it is sound. Nothing is changed or made.

Every question has a time limit, because a history may be large and a disk slow.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from glob import escape
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from ccflare.store.opening import APPLICATION_ID, is_busy, is_full
from ccflare.store.safe import COUNT_CLEAR, SELECT_PROOF, fitting
from ccflare.vault import Keys

Belonging = Literal[
    "ours", "empty", "missing", "original", "older", "newer", "foreign", "locked", "corrupt", "unreadable"
]

BUSY_S: Final = 0.5
HELD_S: Final = 1.5
NOT_A_FILE: Final = "it is not a file"
DISK_FULL: Final = "its disk is full"
_STEPS: Final = 20_000
"""Instructions of SQLite's machine between two looks at the clock: about a millisecond."""
_MOST_TABLES: Final = 50
_MOST_ACCOUNTS: Final = 10_000


class Identity(msgspec.Struct, frozen=True):
    """Whose a database is. `older`: ours, brought up to date at the next start."""

    belonging: Belonging
    schema: int | None = None
    detail: str | None = None

    @property
    def has_accounts(self) -> bool:
        """Whether it can be asked for accounts."""
        return self.belonging in {"ours", "older", "newer", "original"}

    @property
    def usable(self) -> bool:
        """Whether opening it as a store changes nothing."""
        return self.belonging == "ours"


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """What a database is like; None where it could not be found out in time."""

    integrity: str | None = None
    """`ok`, else the first things that are wrong."""
    journal_mode: str | None = None
    auto_vacuum: str | None = None
    page_bytes: int | None = None
    pages: int | None = None
    free_pages: int | None = None
    rows: dict[str, int | None] = {}
    payload_bytes: int | None = None
    """What kept headers and bodies take."""
    oldest_request_ms: int | None = None
    newest_request_ms: int | None = None


class AccountTexts(NamedTuple):
    """What a report must not show of an account, or only on demand."""

    name: str
    base_url: str | None
    secrets: tuple[str, ...]
    """Credentials that are stored in clear."""


class AtRest(NamedTuple):
    """How the credentials of a database are stored."""

    encrypted: bool
    in_clear: int
    """Accounts with a credential in clear."""
    under_first_key: bool
    """False: they are under a key that is to be replaced by the first one, or in clear."""


def newest_schema() -> int:
    """Return the number of the schema that this program works with."""
    return max(int(path.name[:4]) for path in Path(__file__).with_name("migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))


def file_sizes(path: Path) -> dict[str, int]:
    """Return the sizes in bytes of the database and the files SQLite keeps beside it, by suffix."""
    sizes = {}
    for suffix in ("", "-wal", "-shm"):
        try:
            sizes[suffix] = os.stat(f"{path}{suffix}").st_size
        except FileNotFoundError:
            continue
    return sizes


def identify(path: Path) -> Identity:
    """Say whose a database is. Never raises what SQLite or the disk says."""
    try:
        if not path.exists():
            return Identity("missing")
        if not path.is_file():
            return Identity("unreadable", detail=NOT_A_FILE)
        if not os.access(path, os.R_OK):
            return Identity("unreadable", detail="Permission denied")
        with _opened(path) as connection:
            return _identity(connection)
    except sqlite3.Error as error:
        return _trouble(error, path)
    except OSError as error:
        return Identity("unreadable", detail=error.strerror or str(error))


def account_texts(path: Path) -> list[AccountTexts]:
    """Return what is to be masked of every account, oldest first; nothing where that cannot be read."""
    try:
        with _opened(path) as connection:
            found = connection.execute("SELECT * FROM accounts ORDER BY created_at, id LIMIT ?", (_MOST_ACCOUNTS,))
            columns = [column[0] for column in found.description]
            rows = [dict(zip(columns, row, strict=True)) for row in found]
    except sqlite3.Error:
        return []
    return [_texts(row) for row in rows]


def _texts(row: Mapping[str, Any]) -> AccountTexts:
    stored = (row.get(column) for column in ("api_key", "access_token", "refresh_token"))
    return AccountTexts(str(row["name"]), row.get("base_url"), tuple(str(text) for text in stored if text))


def at_rest(path: Path, keys: Keys) -> AtRest:
    """Say how credentials are stored. Raises KeyMismatch when the keys do not fit, and sqlite3.Error."""
    with _opened(path) as connection:
        row = connection.execute(SELECT_PROOF).fetchone()
        in_clear = int(connection.execute(COUNT_CLEAR).fetchone()[0])
    place, _ = fitting(row, keys, path)
    return AtRest(row is not None, in_clear, place == 0)


def is_held(path: Path) -> bool:
    """Whether another program keeps a database of ours from being changed, for longer than a server ever does."""
    location = f"{path.resolve().as_uri()}?mode=rw"
    with closing(sqlite3.connect(location, uri=True, timeout=HELD_S, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if is_busy(error):
                return True
            raise
        connection.execute("ROLLBACK")
    return False


def backups(path: Path) -> list[Path]:
    """Return the copies that were made of the original program's database before it was upgraded."""
    return sorted(path.parent.glob(f"{escape(path.name)}.backup-*"))


def examine(path: Path, *, check_s: float = 1.0, count_s: float = 0.5) -> Checkup:
    """Look into a database of ours; what cannot be read is None. Raises sqlite3.Error when it is locked."""
    with _opened(path) as connection:
        tables = [name for (name,) in _ask(connection, _TABLES, count_s) or ()]
        spans = _ask(connection, "SELECT MIN(timestamp), MAX(timestamp) FROM requests", count_s)
        oldest, newest = spans[0] if spans else (None, None)
        give_up_at = time.monotonic() + count_s
        return Checkup(
            integrity=_integrity(connection, check_s),
            journal_mode=_value(connection, "PRAGMA journal_mode"),
            auto_vacuum={0: "none", 1: "full", 2: "incremental"}.get(_value(connection, "PRAGMA auto_vacuum")),
            page_bytes=_value(connection, "PRAGMA page_size"),
            pages=_value(connection, "PRAGMA page_count"),
            free_pages=_value(connection, "PRAGMA freelist_count"),
            rows={name: _count(connection, name, give_up_at - time.monotonic()) for name in tables},
            payload_bytes=_value(connection, "SELECT COALESCE(SUM(bytes), 0) FROM payload_groups"),
            oldest_request_ms=oldest,
            newest_request_ms=newest,
        )


_TABLES = f"""
    SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
    ORDER BY name <> 'accounts', name <> 'requests', name LIMIT {_MOST_TABLES}"""  # noqa: S608  # a constant


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file to be read only."""
    with closing(
        sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)
    ) as connection:
        yield connection


def _identity(connection: sqlite3.Connection) -> Identity:
    schema, application = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("user_version", "application_id")
    )
    if application == APPLICATION_ID:
        newest = newest_schema()
        return Identity("ours" if schema == newest else "older" if schema < newest else "newer", schema)
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table'").fetchone() is None:
        return Identity("empty" if schema == 0 else "foreign", schema)
    from ccflare.store.original import is_original

    return Identity("original" if is_original(connection) else "foreign", schema)


def _trouble(error: sqlite3.Error, path: Path) -> Identity:
    if is_full(error, path):
        return Identity("unreadable", detail=DISK_FULL)
    if is_busy(error):
        return Identity("locked", detail=str(error))
    by_code: dict[int, Belonging] = {sqlite3.SQLITE_NOTADB: "foreign", sqlite3.SQLITE_CORRUPT: "corrupt"}
    return Identity(by_code.get(_code(error), "unreadable"), detail=str(error))


def _integrity(connection: sqlite3.Connection, seconds: float) -> str | None:
    try:
        with _limited(connection, seconds):
            found = connection.execute("PRAGMA quick_check(5)").fetchall()
    except sqlite3.DatabaseError as error:
        return None if is_busy(error) else str(error)
    return "; ".join(str(line) for (line,) in found)


def _count(connection: sqlite3.Connection, table: str, seconds: float) -> int | None:
    quoted = table.replace('"', '""')
    found = _ask(connection, f'SELECT COUNT(*) FROM "{quoted}"', seconds)  # noqa: S608  # quoted
    return int(found[0][0]) if found else None


def _value(connection: sqlite3.Connection, statement: str) -> Any:
    found = _ask(connection, statement, BUSY_S)
    return found[0][0] if found else None


def _ask(connection: sqlite3.Connection, statement: str, seconds: float) -> list[tuple[Any, ...]] | None:
    """Return all rows; None when that takes too long or cannot be read, which the integrity tells."""
    try:
        with _limited(connection, seconds):
            return connection.execute(statement).fetchall()
    except sqlite3.DatabaseError as error:
        if _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise
        return None


@contextmanager
def _limited(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Interrupt statements that take longer."""
    give_up_at = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > give_up_at, _STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 for what did not come from SQLite."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
