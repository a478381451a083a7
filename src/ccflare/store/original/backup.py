"""A copy of a database beside it, before anything is changed."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

from ccflare.errors import StoreError

_DRAFT = ".partial"


def back_up(database: Path, now_s: float) -> Path:
    """Copy what is committed, the write-ahead log included, to a new private file; return its path.

    The caller holds the write lock: then nobody else makes a backup, and what an interrupted one has left can go.
    The file gets its name when it is complete and on the disk. Raises StoreError when that is not possible.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    try:
        for left in database.parent.glob(f"{_escaped(database.name)}.backup-*{_DRAFT}"):
            left.unlink(missing_ok=True)
        draft = database.with_name(f"{database.name}.backup-{stamp}{_DRAFT}")
        try:
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            _copy(database, draft)
            return _publish(draft, _names(database, stamp))
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot back up database: {database}: {error.strerror or error}") from error


def _copy(database: Path, draft: Path) -> None:
    with (
        closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(draft)) as target,
    ):
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")  # one fsync at the end does it
        source.backup(target)
    descriptor = os.open(draft, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _names(database: Path, stamp: str) -> Iterator[Path]:
    yield database.with_name(f"{database.name}.backup-{stamp}")
    for number in count(2):
        yield database.with_name(f"{database.name}.backup-{stamp}-{number}")


def _publish(draft: Path, names: Iterator[Path]) -> Path:
    """Give the draft the first name that is free; nothing is ever overwritten."""
    for name in names:
        try:
            os.link(draft, name)
        except FileExistsError:
            continue
        except OSError:
            if name.exists():
                continue
            draft.replace(name)  # no hard links here: FAT, some network file systems
        break
    with suppress(OSError):  # not every system can sync a directory; the file itself is on the disk
        descriptor = os.open(name.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return name


def _escaped(name: str) -> str:
    """Return a file name as a pattern that matches only itself."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)
