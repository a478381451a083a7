"""Opening a SQLite file: private, shared, recognised, or refused in one clear line."""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ccflare.errors import StoreBusy, StoreError
from ccflare.records import Binding
from ccflare.store import Batch, open_store, opening
from ccflare.store.checkup import newest_schema
from ccflare.store.sqlite import SqliteStore


def test_files_are_private_from_the_first_moment(tmp_path: Path) -> None:
    """Database, journal and directories are closed to other users, whatever the umask says."""
    before = os.umask(0)
    try:
        store = open_store(tmp_path / "deep" / "er" / "ccflare.db")
        store.write(Batch(bindings=[Binding("k", "a", 1, 1)]))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep").rglob("*")}
        top = stat.S_IMODE((tmp_path / "deep").stat().st_mode)
        store.close()
    finally:
        os.umask(before)
    assert modes == {"er": 0o700, "ccflare.db": 0o600, "ccflare.db-wal": 0o600, "ccflare.db-shm": 0o600}
    assert top == 0o700


def test_a_new_file_is_set_up_for_concurrency_and_shrinking(tmp_path: Path) -> None:
    """Write-ahead log, incremental vacuum, a numbered schema, and the integrity check of the guide."""
    store = SqliteStore(tmp_path / "ccflare.db", 5.0)
    db = sqlite3.connect(tmp_path / "ccflare.db")
    pragmas = ("journal_mode", "auto_vacuum", "user_version", "integrity_check")
    values = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert values == ["wal", 2, newest_schema(), "ok"]
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (1,)
    db.close()
    store.close()


def test_many_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    """Concurrent first starts end with one complete database and no error."""
    path, gate = tmp_path / "ccflare.db", threading.Barrier(8)

    def start(_number: int) -> int:
        gate.wait(10)
        store = open_store(path)
        try:
            return store.counts().accounts
        finally:
            store.close()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(start, range(8))) == [0] * 8


def test_migrations_are_numbered_without_gap_and_double() -> None:
    """Of two with the same number one would never run."""
    names = sorted(path.name for path in opening._MIGRATIONS.glob("*.sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_an_interrupted_migration_leaves_an_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half-way changes nothing, and the next start completes it."""
    broken = tmp_path / "migrations"
    broken.mkdir()
    (broken / "0001_half.sql").write_text("CREATE TABLE accounts (id);\nCREATE TABLE accounts (id);\n")
    with monkeypatch.context() as patch:
        patch.setattr("ccflare.store.opening._MIGRATIONS", broken)
        with pytest.raises(StoreError, match="already exists"):
            open_store(tmp_path / "x.db")
    store = open_store(tmp_path / "x.db")
    assert store.accounts() == []
    store.close()


def test_a_file_where_a_directory_must_be(tmp_path: Path) -> None:
    """A database that cannot be made is one line with the guide's words, the path and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^Cannot create database: .*/file/ccflare.db: Not a directory$"):
        open_store(tmp_path / "file" / "ccflare.db")


@contextmanager
def without_privileges(directory: Path) -> Iterator[None]:
    """Be a user who may look into `directory` and nothing more: root becomes one for a while."""
    if os.geteuid() != 0:
        yield
        return
    for each in (directory, *directory.parents[:3]):
        each.chmod(each.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_without_permission(tmp_path: Path) -> None:
    """Permission denied is said in these words when the file, or its directory, cannot be made."""
    tmp_path.chmod(0o500)
    with without_privileges(tmp_path):
        for path in (tmp_path / "ccflare.db", tmp_path / "sub" / "ccflare.db"):
            with pytest.raises(StoreError, match=r"^Cannot create database: .*: Permission denied$"):
                open_store(path)
    tmp_path.chmod(0o700)


def test_a_file_without_permission(tmp_path: Path) -> None:
    """Permission denied is said in these words when the file is somebody else's."""
    file = tmp_path / "theirs.db"
    file.touch(mode=0o400)
    with (
        without_privileges(tmp_path),
        pytest.raises(StoreError, match=r"^Cannot open database: .*theirs.db: Permission denied$"),
    ):
        open_store(file)


def test_a_directory_is_not_a_database(tmp_path: Path) -> None:
    """The path of a directory is refused by name."""
    with pytest.raises(StoreError, match="it is a directory"):
        open_store(tmp_path)


def test_something_else_is_not_a_database(tmp_path: Path) -> None:
    """A file that is no database is refused and not touched."""
    file = tmp_path / "ccflare.db"
    file.write_text("a diary\n" * 500)
    with pytest.raises(StoreError, match="not a SQLite database"):
        open_store(file)
    assert file.read_text() == "a diary\n" * 500


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("CREATE TABLE accounts (id); CREATE TABLE requests (id);", "another program"),
        ("CREATE TABLE notes (id);", "another program"),
        ("PRAGMA user_version = 1;", "another program"),
        ("PRAGMA application_id = 0x63636661; PRAGMA user_version = 99;", "newer ccflare"),
    ],
)
def test_databases_that_are_not_ours_to_change(tmp_path: Path, script: str, message: str) -> None:
    """Another program's and a newer ccflare's file are named, refused and left untouched."""
    file = tmp_path / "ccflare.db"
    with sqlite3.connect(file) as db:
        db.executescript(script)
    db.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match=f"{file}.*{message}.*left untouched"):
        open_store(file)
    assert file.read_bytes() == before


def test_a_database_that_stays_locked_while_it_is_opened(tmp_path: Path) -> None:
    """Opening waits for a while and then says that it is locked."""
    file = tmp_path / "ccflare.db"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreBusy, match=r"Cannot open database: .*database is locked"):
        open_store(file, busy_timeout_s=0.1)
    other.execute("ROLLBACK")
    other.close()
    open_store(file, busy_timeout_s=0.1).close()


def test_a_writer_at_the_moment_of_opening_is_waited_for(tmp_path: Path) -> None:
    """A file that came back from a backup in another mode opens although somebody writes just then."""
    file = tmp_path / "ccflare.db"
    open_store(file).close()
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.15, other.execute, ["ROLLBACK"])
    release.start()
    open_store(file, busy_timeout_s=5).close()
    release.join(5)
    other.close()


def test_a_link_to_a_missing_file_is_followed(tmp_path: Path) -> None:
    """A linked database is made where the link points, as private as any."""
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    open_store(tmp_path / "link.db").close()
    assert stat.S_IMODE((tmp_path / "real.db").stat().st_mode) == 0o600


def test_a_log_does_not_outlive_its_file(tmp_path: Path) -> None:
    """A file put in place of an open database is read as it is, and the old one keeps all its rows."""
    path, binding = tmp_path / "ccflare.db", Binding("old", "a", 1, 1)
    store = open_store(path)
    store.write(Batch(bindings=[binding]))
    path.rename(tmp_path / "old.db")
    open_store(tmp_path / "new.db").close()
    (tmp_path / "new.db").rename(path)
    store.close()
    for name, expected in (("ccflare.db", []), ("old.db", [binding])):
        again = open_store(tmp_path / name)
        assert again.bindings(bound_since_ms=0) == expected
        again.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT COUNT(*) FROM requests WHERE timestamp > strftime('%s','now','-1 hour')*1000",
            "idx_requests_timestamp",
        ),
        ("SELECT * FROM sessions WHERE bound_at >= 5 ORDER BY bound_at", "idx_sessions_bound"),
        ("SELECT 1 FROM accounts WHERE name = 'a' AND id <> 'b'", "idx_accounts_unique_name"),
    ],
)
def test_every_index_is_used(tmp_path: Path, query: str, index: str) -> None:
    """Each index that is kept up to date serves a query that is asked."""
    open_store(tmp_path / "ccflare.db").close()
    db = sqlite3.connect(tmp_path / "ccflare.db")
    plan = db.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    db.close()
    assert any(index in str(step) for step in plan)
