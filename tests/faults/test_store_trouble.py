"""Exchanges go on while the database does not: locked, removed, full."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness import Home, Server, Upstream, ask, assert_upstream_clean, eventually, messages, running


def _serves(server: Server, count: int = 20) -> None:
    for number in range(count):
        assert ask(server.port, messages(f"Hello {number}"), session=f"s{number % 3}").status == 200


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Hold the write lock of a database, as another program might."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_a_locked_database_delays_nothing(home: Home, server: Server, upstream: Upstream) -> None:
    """While another program holds the lock, requests are served; their rows come when it lets go."""
    with _locked(home.database):
        _serves(server)
        eventually(lambda: server.health()["writer"]["queued"] == 20)
        assert home.rows() == []
    assert len(home.rows_when(20)) == 20
    eventually(lambda: server.health()["writer"]["queued"] == 0)
    assert_upstream_clean(upstream)


def test_a_removed_database_is_made_anew(home: Home, server: Server, upstream: Upstream) -> None:
    """When the file is removed while the server runs, requests go on and later rows are in a new one."""
    _serves(server, 3)
    home.rows_when(3)
    for file in home.path.glob("ccflare.db*"):
        file.unlink()
    _serves(server, 3)
    eventually(home.database.exists, what="a new database")
    eventually(lambda: len(_rows_if_any(home)) >= 3, what="rows in the new database")
    server.wait_for_log("The database was removed or replaced")
    assert server.health()["accounts"]["active"] == 2
    _serves(server, 1)


def _rows_if_any(home: Home) -> list[Any]:
    try:
        return home.rows()
    except sqlite3.OperationalError:
        return []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system needs the right to mount one")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(filler: Path) -> None:
    """Write until there is no room."""
    with filler.open("wb", buffering=0) as file:
        while os.statvfs(filler).f_bavail:
            file.write(bytes(4096))


def test_a_full_disk_delays_nothing(small_disk: Path, make_home: Any, upstream: Upstream) -> None:
    """With the disk full, requests are served; the rows that could not be written come when there is room."""
    home = make_home()
    for file in home.path.glob("ccflare.db*"):
        shutil.move(file, small_disk)
    home.settings = {"ccflare_DB_PATH": str(small_disk / "ccflare.db")}
    filler = small_disk / "filler"
    with running(home) as server:
        _serves(server, 3)
        database = Home(small_disk)
        database.rows_when(3)
        _fill(filler)
        _serves(server, 200)
        assert server.health()["writer"]["queued"] > 0
        filler.unlink()
        assert len(database.rows_when(203, within_s=20)) == 203


def test_a_database_that_is_garbage_ends_the_start_in_one_line(home: Home) -> None:
    """A file that is no database stops the start with one clear line and no traceback."""
    home.database.write_bytes(b"this is not a database at all\n" * 200)
    done = home.ccflare("serve", "--port", "0", check=False)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "ccflare.db" in done.stderr
