"""Exchanges go on while the database does not: locked, frozen, removed, replaced, full."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from faultcase import assert_states, attempts_of
from harness import Home, Server, Upstream, ask, assert_at_rest, assert_upstream_clean, eventually, messages, running


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


HOLDER = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE accounts SET priority = priority")
os.kill(os.getpid(), signal.SIGSTOP)
connection.execute("ROLLBACK")
"""
"""A program that is stopped in the middle of a transaction."""


def test_a_program_that_is_frozen_with_the_lock_delays_nothing(home: Home, server: Server, upstream: Upstream) -> None:
    """While its holder stands still, requests and questions are answered; a change is refused in words, in time."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(home.database)]) as holder:
        try:
            eventually(lambda: _state(holder.pid) == "T", within_s=20, what="the holder stands still")
            _serves(server)
            eventually(lambda: server.health()["writer"]["queued"] == 20)
            listed = ask(server.port, method="GET", target="/api/accounts", headers=[])
            assert (listed.status, home.rows()) == (200, [])
            assert_at_rest(server, upstream)
        finally:
            holder.send_signal(signal.SIGCONT)
            holder.wait(10)
    rows = home.rows_when(20)
    assert {attempts_of(home, row) for row in rows} == {"alpha deliver 200"}
    assert len(rows) == 20
    assert_states(home, {"alpha": "active", "beta": "active"})
    assert_upstream_clean(upstream)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_database_that_is_replaced_is_taken_over(home: Home, server: Server, upstream: Upstream) -> None:
    """When another file is put in its place, its accounts serve within a second and rows go there."""
    _serves(server, 3)
    home.rows_when(3)
    other = Home(home.path / "other")
    other.path.mkdir()
    other.add_account("gamma", upstream.account("beta").api_key, upstream.url)
    for suffix in ("-wal", "-shm"):
        home.database.with_name(home.database.name + suffix).unlink(missing_ok=True)
    other.database.replace(home.database)
    server.wait_for_log("The database was removed or replaced")
    server.wait_until_accounts(1)
    assert ask(server.port, messages("Hello")).status == 200
    (row,) = eventually(lambda: _rows_if_any(home)[-1:], what="a row in the new database")
    assert attempts_of(home, row) == "gamma deliver 200"
    assert_states(home, {"gamma": "active"})
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


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux's")
def test_files_that_may_not_grow_delay_nothing(home: Home, server: Server, upstream: Upstream) -> None:
    """With a quota that is used up, for the database and the log alike, requests are served; all rows come later."""
    _serves(server, 3)
    home.rows_when(3)
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1024, limits[1]))
    _serves(server, 50)
    eventually(lambda: server.health()["writer"]["queued"] == 50, what="rows that wait")
    eventually(lambda: server.health()["writer"]["error"], what="the writer's trouble")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    rows = home.rows_when(53, within_s=20)
    assert {attempts_of(home, row) for row in rows} == {"alpha deliver 200"}
    assert len(rows) == 53
    with closing(sqlite3.connect(home.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert_states(home, {"alpha": "active", "beta": "active"})


def test_a_log_directory_that_cannot_be_written_stops_nothing(make_home: Any, upstream: Upstream) -> None:
    """One line on standard error says where the log goes instead, and requests are served and recorded."""
    home = make_home({"CCFLARE_LOG_DIR": "/proc/ccflare-logs"})
    with running(home) as server:
        _serves(server, 3)
        (row, *_) = home.rows_when(3)
        assert attempts_of(home, row) == "alpha deliver 200"
        assert_at_rest(server, upstream)
        told = [line for line in server.output().splitlines() if line.startswith("Cannot write logs to")]
        assert len(told) == 1
        assert "CCFLARE_LOG_DIR" in told[0]
        eventually(lambda: server.output().count("Request completed for alpha: 200") == 3)
    assert_states(home, {"alpha": "active", "beta": "active"})


def test_a_database_that_is_garbage_ends_the_start_in_one_line(home: Home) -> None:
    """A file that is no database stops the start with one clear line and no traceback."""
    home.database.write_bytes(b"this is not a database at all\n" * 200)
    done = home.ccflare("serve", "--port", "0", check=False)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "ccflare.db" in done.stderr
