"""The original program's database, and its fork's, become ours: once, in place, after a backup.

Everything happens in one transaction, so that at any moment the file is either the old database or the new one.
What was in clear where it should not be is overwritten, not only deleted.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from ccflare.store.original.accounts import make_names_unique, settle
from ccflare.store.original.backup import back_up
from ccflare.store.original.payloads import redact_payloads
from ccflare.store.original.tables import MOVED, Step, columns_of, make_room, move, schema_of, tables_of

__all__ = ["Step", "Upgrade", "is_original", "upgrade"]

log = logging.getLogger("ccflare.store")

_SIGNS = {
    "accounts": {"id", "name", "refresh_token", "created_at"},
    "requests": {"id", "timestamp", "method", "path"},
}
"""Columns that every version of the original's tables has."""
_LARGE_BYTES = 100_000_000
"""Databases above this take seconds: that is said beforehand."""
_BESIDE = ("-wal", "-shm", "-journal")


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """What an upgrade has done."""

    backup: Path
    accounts: int
    requests: int
    redacted: int
    """Stored payloads that had credentials in them."""
    renamed: Sequence[tuple[str, str]]
    """Old and new names of accounts."""
    troubled: Sequence[str]
    """Names of the accounts that cannot be used as they are."""


def is_original(connection: sqlite3.Connection) -> bool:
    """Say whether an unmarked, unnumbered database is the original program's."""
    marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")]
    return not any(marks) and all(
        columns <= {column.name for column in columns_of(connection, table)} for table, columns in _SIGNS.items()
    )


def upgrade(path: Path, busy_timeout_s: float, steps: Sequence[Step]) -> Upgrade | None:
    """Make the original's database ours by all migrations; None when another process was faster.

    Raises sqlite3.Error, and StoreError when no backup can be made; then the database is as it was.
    """
    size = path.stat().st_size
    if size > _LARGE_BYTES:
        log.warning("Upgrading the original ccflare's database %s (%d MB); this takes a while", path, size // 1_000_000)
    _close_to_others(path)
    with closing(
        sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=busy_timeout_s, isolation_level=None)
    ) as connection:
        connection.text_factory = _text
        for pragma in ("secure_delete = ON", "foreign_keys = OFF", "legacy_alter_table = ON"):
            connection.execute(f"PRAGMA {pragma}")
        _compact(connection, path)
        done = _upgrade(connection, path, steps)
        if done is None:
            return None
        _sweep(connection)
    log.warning("%s", _told(path, done))
    return done


def _upgrade(connection: sqlite3.Connection, path: Path, steps: Sequence[Step]) -> Upgrade | None:
    backup: Path | None = None
    now_s = time.time()
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_original(connection):
            connection.execute("ROLLBACK")
            return None
        backup = back_up(path, now_s)
        done = _change(connection, steps, int(now_s * 1000), backup)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        # An interrupt can arrive right behind the commit: then the backup is needed. Else every new try makes its own.
        if backup is not None and is_original(connection):
            backup.unlink(missing_ok=True)
        raise
    return done


def _change(connection: sqlite3.Connection, steps: Sequence[Step], now_ms: int, backup: Path) -> Upgrade:
    """Do everything that must happen together.

    The rows are there when the second migration runs: later migrations see what they see in a database of ours.
    """
    tables = tables_of(connection)
    redacted = redact_payloads(connection) if "request_payloads" in tables else 0
    if "oauth_sessions" in tables:
        connection.execute("DELETE FROM oauth_sessions WHERE COALESCE(expires_at, 0) <= ?", (now_ms,))
    schema = schema_of(steps)
    aside, attached = make_room(connection, schema)
    renamed = make_names_unique(connection, aside["accounts"])
    steps[0](connection)
    moved = {table: move(connection, aside[table], table, schema.columns[table]) for table in MOVED}
    troubled = settle(connection, now_ms)
    for step in steps[1:]:
        step(connection)
    _attach(connection, attached)
    return Upgrade(
        backup=backup,
        accounts=moved["accounts"],
        requests=moved["requests"],
        redacted=redacted,
        renamed=renamed,
        troubled=troubled,
    )


def _attach(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    """Make indexes and triggers again that are neither ours nor the original's, as far as they still fit."""
    for statement in statements:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            log.warning("Left out in the upgraded database: %s (%s)", statement, error)


def _compact(connection: sqlite3.Connection, path: Path) -> None:
    """Rewrite the file once: no old rows stay in unused parts of pages, and later it can shrink in small steps.

    It changes no row. Without room for it the upgrade goes on all the same.
    """
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0]:
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    try:
        connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            raise
        log.warning("Not compacted: %s (%s); its file will not become smaller, and remains may stay in it", path, error)


def _sweep(connection: sqlite3.Connection) -> None:
    """Give unused pages back, and empty the log, which has the old pages in it."""
    with suppress(sqlite3.OperationalError):  # somebody is using the database: it happens when they have finished
        connection.executescript("PRAGMA incremental_vacuum")  # `execute` stops after its first page
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _close_to_others(path: Path) -> None:
    """Take other users' permissions away: the original let everybody read its files, the settings too."""
    for each in (path, *(path.with_name(path.name + end) for end in _BESIDE), path.with_name("ccflare.json")):
        with suppress(FileNotFoundError):
            try:
                os.chmod(each, 0o600)
            except PermissionError:
                log.warning("%s belongs to another user: who else may read it stays as it is", each)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _told(path: Path, done: Upgrade) -> str:
    """Return one line for the operator."""
    parts = [f"Upgraded the original ccflare's database {path}: accounts: {done.accounts}, requests: {done.requests}"]
    parts.append(f"stored payloads with credentials, now masked: {done.redacted}")
    if done.renamed:
        parts.append("renamed: " + ", ".join(f"{old!r} is now {new!r}" for old, new in done.renamed))
    if done.troubled:
        parts.append(f"not usable as they are (ccflare --list says why): {', '.join(map(repr, done.troubled))}")
    parts.append(f"the database as it was, credentials in clear included, is in {done.backup}: delete it in time")
    return "; ".join(parts)
