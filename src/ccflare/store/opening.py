"""Opening a SQLite file: making it private, recognising whose it is, bringing its schema up to date.

An existing database file is never opened by anything but SQLite here: closing a second descriptor would drop
the locks that other connections of this process hold on it (sqlite.org/howtocorrupt.html §2.2).
"""

import contextlib
import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from ccflare.errors import DiskFull, StoreBusy, StoreError

APPLICATION_ID = 0x63636661
"""Marks a file as ours in its header ("ccfa")."""

_MIGRATIONS = Path(__file__).with_name("migrations")
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_INTERRUPT}
_NEVER = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError)
_RETRY_S = 0.02
_ROOM_BYTES = 65_536
"""What SQLite needs to open a database: 32 KB of shared memory, and the first pages of its log."""
_STATEMENTS = 256
"""So many stay prepared on a connection: there are some for each number of rows that is written at once."""

_T = TypeVar("_T")

# The driver looks for somebody who could adapt a None or bytes, and finding nobody takes longer than SQLite takes for
# three values. Both of these return what they are given.
sqlite3.register_adapter(type(None), lambda nothing: nothing)
sqlite3.register_adapter(bytes, bytes)


class Mapped:
    """Turns SQLite's exceptions into ours in a `with` block. ValueError: this data can never be stored.

    It stands around every statement: as a generator it took a tenth of what writing one exchange does.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and (kind := _kind_of(error, self._path)):
            raise kind(f"{_words(error, self._path)} ({self._path})") from error


def _kind_of(error: BaseException, path: Path) -> type[ValueError | StoreError] | None:
    if isinstance(error, _NEVER):
        return ValueError
    if isinstance(error, sqlite3.Error):
        return _trouble(error, path)
    return StoreError if isinstance(error, UnicodeDecodeError) else None  # a complaint that quotes what is no text


def _trouble(error: sqlite3.Error, path: Path) -> type[StoreError]:
    return DiskFull if is_full(error, path) else StoreBusy if is_busy(error) else StoreError


def is_busy(error: sqlite3.Error) -> bool:
    """Say whether the same call may succeed later: the database is locked, or its disk is full for now."""
    return _code(error) in _BUSY


def is_full(error: BaseException, path: Path) -> bool:
    """Say whether it is for want of room on the disk: SQLite itself often calls that an I/O error."""
    if _code(error) == sqlite3.SQLITE_IOERR:
        with contextlib.suppress(OSError):
            return shutil.disk_usage(path.parent).free < _ROOM_BYTES
    return _code(error) == sqlite3.SQLITE_FULL


def _words(error: BaseException, path: Path) -> str:
    """Return SQLite's words, and true ones where its own lead the wrong way."""
    return "the disk is full" if _code(error) != sqlite3.SQLITE_FULL and is_full(error, path) else str(error)


def _code(error: BaseException) -> int:
    """Return SQLite's primary result code, 0 for what did not come from SQLite."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    """Return a connection to an up-to-date database at a resolved path, making the file if need be."""
    _make_file(path)
    _check_access(path)
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw",
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,
            cached_statements=_STATEMENTS,
        )
        _prepare(connection, path, busy_timeout_s)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise _opening_error(path, error) from error
        if isinstance(error, UnicodeDecodeError):  # SQLite complains, and quotes what is no text
            raise StoreError(f"Cannot open database: {path}: its schema is damaged") from error
        raise
    return connection


def _make_file(path: Path) -> None:
    """Create a missing file and its directories, closed to everybody else from the first moment."""
    try:
        _make_directories(path.parent)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"Cannot create database: {path}: {error.strerror}") from error


def _make_directories(directory: Path) -> None:
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def _check_access(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"Cannot open database: {path}: it is a directory")
    if not _permitted(path, os.R_OK | os.W_OK):
        raise StoreError(f"Cannot open database: {path}: {_refusal(path)}")
    if not _permitted(path.parent, os.W_OK):
        raise StoreError(f"Cannot open database: {path}: {_refusal(path.parent)} in its directory")


def _permitted(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _refusal(path: Path) -> str:
    """Return the system's words for what keeps a path from being written."""
    with contextlib.suppress(AttributeError, OSError):  # no such call on this system; not for us to look at
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return os.strerror(errno.EROFS)
    return os.strerror(errno.EACCES)


def _opening_error(path: Path, error: sqlite3.Error) -> StoreError:
    if is_full(error, path):
        return DiskFull(f"Cannot open database: {path}: {_words(error, path)}")
    if is_busy(error):
        return StoreBusy(f"Cannot open database: {path}: {error}; another program is keeping it locked")
    if _code(error) == sqlite3.SQLITE_NOTADB:
        return StoreError(f"Cannot open database: {path}: it is not a SQLite database; it is left untouched")
    return StoreError(f"Cannot open database: {path}: {error}")


def _prepare(connection: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    migrations = _migrations()
    while (version := _version_of(connection, path, newest=max(migrations))) is None:
        _upgrade(path, busy_timeout_s, migrations)
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only heeded before the first page is written
    _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone(), busy_timeout_s)
    connection.execute("PRAGMA synchronous = NORMAL")
    _register_functions(connection)
    for number in sorted(migrations):
        if number > version:
            _migrate(connection, number, migrations[number])


def _upgrade(path: Path, busy_timeout_s: float, migrations: dict[int, Path]) -> None:
    """Make the original program's database ours, unless another process has done it in the meantime."""
    from ccflare.store.original import upgrade

    steps = [partial(_apply, number=number, script=migrations[number]) for number in sorted(migrations)]
    try:
        upgrade(path, busy_timeout_s, steps)
    except sqlite3.Error as error:
        kind, why = _trouble(error, path), _obstacle(error, path)
        raise kind(f"Cannot upgrade the original ccflare's database: {path}: {why}; it is left as it was") from error


def _obstacle(error: sqlite3.Error, path: Path) -> str:
    """Say what kept the upgrade from being done."""
    if is_full(error, path):
        return f"{_words(error, path)}: the backup and the upgrade need three times its size"
    if _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"{error}: stop the program that uses it"
    return str(error)


def _patiently(action: Callable[[], _T], patience_s: float) -> _T:
    """Repeat while the database is locked: SQLite's own timeout does not cover the change to WAL mode."""
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= give_up_at:
                raise
            time.sleep(_RETRY_S)


def _migrations() -> dict[int, Path]:
    return {int(path.name[:4]): path for path in _MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql")}


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _version_of(connection: sqlite3.Connection, path: Path, newest: int) -> int | None:
    """Return the schema's number, 0 for an empty file, None for the original program's database.

    Raises StoreError for a file that is none of these.
    """
    with _reading(connection):
        version = _number(connection, "user_version")
        ours = _number(connection, "application_id") == APPLICATION_ID
        empty = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table'").fetchone() is None
        original = not (ours or empty) and _is_original(connection)
    if ours and version > newest:
        raise StoreError(
            f"Cannot open database: {path}: it was written by a newer ccflare (schema {version}, this "
            f"program knows {newest}); it is left untouched"
        )
    if ours or (version == 0 and empty):
        return version
    if original:
        return None
    raise StoreError(f"Cannot open database: {path}: it belongs to another program; it is left untouched")


def _is_original(connection: sqlite3.Connection) -> bool:
    from ccflare.store.original import is_original

    return is_original(connection)


@contextlib.contextmanager
def _reading(connection: sqlite3.Connection) -> Iterator[None]:
    """One snapshot for several reads: a file that another process is making looks empty or complete."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # SQLite has ended it itself where there is no room
            connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, number: int, script: Path) -> None:
    """Apply one migration in one transaction, unless another process has done it in the meantime."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _number(connection, "user_version") < number:
            _apply(connection, number, script)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _apply(connection: sqlite3.Connection, number: int, script: Path) -> None:
    """Apply one migration inside the caller's transaction."""
    _register_functions(connection)
    for statement in _statements(script.read_text("utf-8")):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {number}")


def _register_functions(connection: sqlite3.Connection) -> None:
    from ccflare.store.functions import register

    register(connection)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
