"""The original program's own database file: opened, upgraded once, with nothing lost and nothing left in clear."""

import base64
import json
import logging
import os
import shutil
import sqlite3
import stat
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import original_kit as kit
from ccflare.errors import DiskFull, StoreBusy, StoreError
from ccflare.records import Account, Credentials, Exchange, Secret, state_of
from ccflare.store import Batch, Store, open_store
from ccflare.store.original.backup import back_up

NOW_MS = 1_795_400_000_000
"""Some hours after the real file was written."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return kit.copy_of_real(tmp_path)


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = open_store(path)
    yield opened
    opened.close()


def open_and_close(path: Path, busy_timeout_s: float = 5.0) -> None:
    open_store(path, busy_timeout_s=busy_timeout_s).close()


def columns(path: Path, table: str) -> dict[str, tuple[Any, ...]]:
    return {row[1]: row[2:] for row in kit.read(path, f"PRAGMA table_xinfo({table})")}


# What it becomes.


def test_accounts_come_over_whole(store: Store) -> None:
    """Kinds, states, limits, tiers and counters are the original's."""
    found = {each.name: each for each in store.accounts()}
    assert {name: (each.kind, state_of(each, NOW_MS)) for name, each in found.items()} == {
        "primary": ("oauth", "active"),
        "backup": ("oauth", "rate_limited"),
        "console-key": ("api_key", "active"),
        "paused-acct": ("oauth", "paused"),
    }
    assert [each.request_count for each in found.values()] == [75, 9, 9, 0]
    assert [each.tier for each in found.values()] == [5, 20, 20, 1]
    assert found["backup"].limited_until_ms == found["backup"].rate_limit_reset_ms == 1_893_456_000_000
    assert found["primary"].limited_until_ms == 1_795_364_795_000
    assert found["primary"].expires_at_ms == 1_829_924_487_699


def test_credentials_come_over(store: Store) -> None:
    """Each account has the secrets it had, each in its place."""
    held = {each.account_id[0]: each for each in store.credentials().values()}
    assert held["3"] == Credentials("3" * 8 + "-3333-4333-8333-" + "3" * 12, api_key=Secret("sk-ant-api03-console"))
    assert (held["1"].access_token, held["1"].refresh_token) == (Secret("at-primary"), Secret("rt-primary"))


def test_the_history_comes_over_unchanged(path: Path) -> None:
    """Every value of every request is there under its old name, and readable as an exchange."""
    before = kit.read(path, "SELECT * FROM requests ORDER BY id")
    names = ", ".join(columns(path, "requests"))
    store = open_store(path)
    exchanges = store.exchanges()
    store.close()
    assert kit.read(path, f"SELECT {names} FROM requests ORDER BY id") == before
    assert [each.id for each in exchanges] == [row[0] for row in before]


def test_the_schema_is_that_of_a_new_database(path: Path, tmp_path: Path) -> None:
    """Marks, tables, columns with types and defaults, and indexes are those of a fresh file."""
    fresh = tmp_path / "fresh.db"
    open_and_close(path)
    open_and_close(fresh)
    for pragma in ("user_version", "application_id", "auto_vacuum", "journal_mode"):
        assert kit.read(path, f"PRAGMA {pragma}") == kit.read(fresh, f"PRAGMA {pragma}"), pragma
    ours = kit.read(fresh, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for (table,) in ours:
        assert columns(path, table) == columns(fresh, table)
    indexes = (
        "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name IN ('accounts', 'requests')"
    )
    assert sorted(kit.read(path, indexes)) == sorted(kit.read(fresh, indexes))


def test_what_users_ask_with_sqlite3_still_works(path: Path) -> None:
    """The guide's commands give the right numbers, and the file is sound."""
    open_and_close(path)
    hour = "SELECT COUNT(*) FROM requests WHERE timestamp > strftime('%s','now','-1 hour')*1000"
    assert kit.read(path, hour.replace("strftime('%s','now','-1 hour')", "0")) == [(48,)]
    assert kit.read(path, hour)[0][0] <= 48
    assert kit.read(path, "SELECT COUNT(*) FROM accounts") == [(4,)]
    assert kit.read(path, "PRAGMA integrity_check") == [("ok",)]
    assert kit.read(path, "PRAGMA foreign_key_check") == []


def test_it_works_like_any_other_afterwards(store: Store, path: Path) -> None:
    """New exchanges are written and counted, and what upstream did not say stays unknown instead of 0."""
    store.write(
        Batch(
            exchanges=[
                Exchange(
                    id="new", timestamp_ms=NOW_MS, method="POST", path="/v1/messages", status_code=200, success=True,
                    response_time_ms=5, account_id="1" * 8 + "-1111-4111-8111-" + "1" * 12,
                )
            ]
        )
    )  # fmt: skip
    store.add_account(Account(id="n", name="n", created_at_ms=1), Credentials("n", api_key=Secret("k")))
    assert kit.read(path, "SELECT input_tokens, total_tokens, cost_usd FROM requests WHERE id = 'new'") == [(None,) * 3]
    assert next(each for each in store.accounts() if each.name == "primary").request_count == 76


# Payloads.


def test_stored_payloads_lose_their_credentials_and_nothing_else(path: Path) -> None:
    """Bodies are the same bytes, other headers the same values; credential headers are masked."""
    before = {key: json.loads(text) for key, text in kit.read(path, "SELECT id, json FROM request_payloads")}
    open_and_close(path)
    after = {key: json.loads(text) for key, text in kit.read(path, "SELECT id, json FROM request_payloads")}
    assert after.keys() == before.keys()
    masked = set()
    for key, payload in before.items():
        for part in ("request", "response"):
            headers = (payload.get(part) or {}).get("headers", {})
            for name in [name for name in headers if name in {"x-api-key", "authorization", "set-cookie", "cookie"}]:
                assert after[key][part]["headers"][name] == "***"
                masked.add(name)
                headers[name] = "***"
        assert after[key] == payload
    assert {"x-api-key", "set-cookie"} <= masked
    assert base64.b64decode(next(iter(after.values()))["request"]["body"]).startswith(b'{"model"')


def test_no_credential_of_a_payload_stays_in_the_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the database nor its log has the clear text in any page, whatever SQLite does by default."""

    class Careless(sqlite3.Connection):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.execute("PRAGMA secure_delete = OFF")

    assert all(secret in path.read_bytes() for secret in kit.CLEAR)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: real(*given, factory=Careless, **named))
    store = open_store(path)
    for file in [each for each in path.parent.iterdir() if ".backup-" not in each.name]:
        assert not any(secret in file.read_bytes() for secret in kit.CLEAR), file
    store.close()
    assert not any(secret in path.read_bytes() for secret in kit.CLEAR)
    assert all(secret in kit.backups(path)[0].read_bytes() for secret in kit.CLEAR)


def test_remains_of_deleted_rows_go_too(path: Path) -> None:
    """What the original had deleted without overwriting it is not in the file afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        for number in range(20):
            db.execute("INSERT INTO request_payloads VALUES (?, ?)", (f"gone-{number}", "sk-ant-deleted " * 900))
        db.execute("DELETE FROM request_payloads WHERE id LIKE 'gone-%'")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"sk-ant-deleted" in path.read_bytes()
    open_and_close(path)
    assert b"sk-ant-deleted" not in path.read_bytes()
    assert kit.read(path, "PRAGMA freelist_count") == [(0,)]


def test_one_payload_at_a_time_is_in_memory(tmp_path: Path) -> None:
    """The memory that an upgrade takes depends on the longest payload, not on how many there are."""
    payload = json.dumps({"request": {"headers": {"x-api-key": "clear"}, "body": "A" * 500_000}})
    rows = [{"id": str(number), "json": payload} for number in range(60)]
    path = kit.made(tmp_path / "ccflare.db", kit.OLD_ACCOUNTS + kit.OLD_REQUESTS + kit.PAYLOADS, request_payloads=rows)
    tracemalloc.start()
    open_and_close(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert b'"clear"' not in path.read_bytes()
    assert peak < 10 * len(payload) < len(payload) * len(rows) / 2


# The backup, and that it happens once.


def test_the_backup_is_the_database_as_it_was(path: Path) -> None:
    """It has every table and row, no other user can read it, and nothing half-made lies beside it."""
    before = kit.content(path)
    open_and_close(path)
    (backup,) = kit.backups(path)
    assert kit.content(backup) == before
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert {each.name for each in path.parent.iterdir()} == {path.name, backup.name}


def test_the_log_is_part_of_the_database(path: Path, tmp_path: Path) -> None:
    """Rows that were only in the write-ahead log, of a program that was killed, are upgraded and backed up."""
    work = tmp_path / "work"
    work.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("UPDATE accounts SET request_count = 4711 WHERE name = 'backup'")
        for name in (path.name, f"{path.name}-wal"):
            shutil.copyfile(tmp_path / name, work / name)
    assert b"sk-ant" in (work / path.name).read_bytes()
    open_and_close(work / path.name)
    (backup,) = kit.backups(work / path.name)
    for file in (work / path.name, backup):
        assert kit.read(file, "SELECT request_count FROM accounts WHERE name = 'backup'") == [(4711,)]


def test_opening_it_again_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second opening makes no backup, says nothing, and leaves every row."""
    open_and_close(path)
    once, saved = kit.content(path), kit.backups(path)
    caplog.clear()
    open_and_close(path)
    assert (kit.content(path), kit.backups(path), caplog.messages) == (once, saved, [])


def test_one_line_says_what_was_done(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The operator reads how much came over, and where the old database is."""
    open_and_close(path)
    (record,) = [each for each in caplog.records if each.name == "ccflare.store"]
    assert record.levelno == logging.WARNING
    assert "accounts: 4, requests: 48" in record.getMessage()
    assert str(kit.backups(path)[0]) in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_backup_overwrites_nothing(path: Path) -> None:
    """A name that is taken is left alone; what an interrupted backup left is removed."""
    (path.parent / "ccflare.db.backup-20010909T014640Z").write_text("mine")
    left = path.parent / "ccflare.db.backup-20010101T000000Z.partial"
    left.write_text("half")
    made = back_up(path, 1_000_000_000.0)
    assert made.name == "ccflare.db.backup-20010909T014640Z-2"
    assert kit.content(made) == kit.content(kit.DATABASE)
    assert (path.parent / "ccflare.db.backup-20010909T014640Z").read_text() == "mine"
    assert not left.exists()


def test_other_users_lose_their_access(path: Path) -> None:
    """Files that the original left open to everybody, log and settings included, are private afterwards."""
    settings = path.parent / "ccflare.json"
    shutil.copyfile(kit.SETTINGS, settings)
    settings.chmod(0o644)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT 1 FROM accounts").fetchall()
        os.chmod(f"{path}-wal", 0o644)
        store = open_store(path)
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
        store.close()
    assert len(modes) == 5
    assert set(modes.values()) == {0o600}


def test_many_processes_may_open_it_at_once(path: Path) -> None:
    """Concurrent first openings end with one upgrade, one backup and no error."""
    gate = threading.Barrier(6)

    def start(_number: int) -> int:
        gate.wait(10)
        store = open_store(path, busy_timeout_s=20)
        try:
            return store.counts().requests
        finally:
            store.close()

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(start, range(6))) == [48] * 6
    assert len(kit.backups(path)) == 1


# When it cannot be done.


def test_while_the_original_writes_it_waits_and_then_says_so(path: Path) -> None:
    """A database that stays locked is left as it was, without a backup, with advice."""
    before = kit.content(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match=r"Cannot upgrade .*ccflare.db: .*locked: stop the program that uses it"):
            open_store(path, busy_timeout_s=0.1)
    assert (kit.content(path), kit.backups(path)) == (before, [])
    open_and_close(path)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_FULL, DiskFull, "need three times its size"),
        (sqlite3.SQLITE_CORRUPT, StoreError, "trouble; it is left as it was"),
    ],
)
def test_trouble_on_the_way_leaves_the_old_database(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StoreError], words: str
) -> None:
    """An upgrade that fails at its end changes nothing, leaves no backup behind, and says why in one line."""

    def fail(*_arguments: object) -> None:
        error = sqlite3.OperationalError("trouble")
        error.sqlite_errorcode = code
        raise error

    before = kit.content(path)
    with monkeypatch.context() as patch:
        patch.setattr("ccflare.store.original.settle", fail)
        with pytest.raises(StoreError, match=words) as caught:
            open_store(path)
    assert type(caught.value) is kind
    assert (kit.content(path), kit.backups(path)) == (before, [])
    open_and_close(path)
    assert kit.read(path, "SELECT COUNT(*) FROM accounts") == [(4,)]


def test_an_interrupt_behind_the_commit_keeps_the_backup(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the last moment: the database is upgraded, and the backup of the old one is not taken for litter."""

    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            done = super().execute(sql, *arguments)
            if sql == "COMMIT" and kit.backups(path):
                raise KeyboardInterrupt
            return done

    before, real = kit.content(path), sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **named: real(*given, factory=Interrupted, **named))
        with pytest.raises(KeyboardInterrupt):
            open_store(path)
    assert [kit.content(each) for each in kit.backups(path)] == [before]
    open_and_close(path)
    assert len(kit.backups(path)) == 1


def test_without_room_to_compact_it_is_upgraded_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A temporary directory that is too small costs the later shrinking only, and a line says so."""

    class Crowded(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "VACUUM":
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(sql, *arguments)

    real = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **named: real(*given, factory=Crowded, **named))
        open_and_close(path)
    assert any(line.startswith("Not compacted") for line in caplog.messages)
    assert kit.read(path, "SELECT COUNT(*) FROM requests") == [(48,)]
    assert not any(secret in path.read_bytes() for secret in kit.CLEAR)


def test_without_a_backup_nothing_is_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the copy cannot be completed the database stays the original's."""
    before = kit.content(path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"Cannot back up database: .*No space left"):
            open_store(path)
    assert (kit.content(path), kit.backups(path)) == (before, [])


def test_a_file_of_another_user_is_upgraded_with_a_word(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where permissions cannot be taken away that is said, and the upgrade is done."""

    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "chmod", refuse)
        open_and_close(path)
    assert any("belongs to another user" in line for line in caplog.messages)
    assert kit.read(path, "SELECT COUNT(*) FROM accounts") == [(4,)]
