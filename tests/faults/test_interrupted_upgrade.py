"""An upgrade of the original's database that is killed leaves the old database or the new one, never a mixture."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import original_kit as kit
from ccflare.store import open_store

LIMIT_S = 30

_AT_EACH_STATEMENT = """
import json, os, signal, sqlite3, sys
from pathlib import Path
from ccflare.store import open_store

real, passed = sqlite3.connect, 0

def killing(limit):
    def count(statement):
        global passed
        passed += 1
        if passed == limit:
            os.kill(os.getpid(), signal.SIGKILL)
    def connect(*given, **named):
        connection = real(*given, **named)
        if given[0] != ":memory:":
            connection.set_trace_callback(count)
        return connection
    return connect

number = 0
while True:
    number += 1
    path = Path(sys.argv[1]) / str(number) / "ccflare.db"
    path.parent.mkdir()
    path.write_bytes(Path(sys.argv[2]).read_bytes())
    child = os.fork()
    if child == 0:
        sqlite3.connect = killing(number)
        open_store(path).close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        print(json.dumps([number - 1, os.WEXITSTATUS(status)]))
        break
"""
_ONCE = """
import sys
from pathlib import Path
from ccflare.store import open_store
print("now", flush=True)
open_store(Path(sys.argv[1])).close()
"""


def is_upgraded(path: Path) -> bool:
    """Look at a database without changing it."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return bool(db.execute("PRAGMA application_id").fetchone()[0])


def check(path: Path, old: dict[str, list[Any]], new: dict[str, list[Any]]) -> bool:
    """What is left is whole, every backup is the old database, and the next opening completes it."""
    upgraded = is_upgraded(path)
    assert kit.content(path) == (new if upgraded else old)
    whole = [each for each in kit.backups(path) if each.suffix != ".partial"]
    assert all(kit.content(each) == old for each in whole)
    assert whole or not upgraded
    open_store(path).close()
    assert is_upgraded(path)
    assert kit.content(path) == new
    assert not any(secret in path.read_bytes() for secret in kit.CLEAR)
    assert not [each for each in kit.backups(path) if each.suffix == ".partial"]
    return upgraded


def reference(path: Path) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return what a database holds before and after an upgrade that nobody interrupts."""
    copy = path.with_name("reference.db")
    copy.write_bytes(path.read_bytes())
    old = kit.content(copy)
    open_store(copy).close()
    return old, kit.content(copy)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that kills itself at a statement is forked")
def test_killed_before_each_statement(tmp_path: Path) -> None:
    """Whatever statement was the next: the database is one of the two, and the next start completes it."""
    small = kit.copy_of_real(tmp_path)
    with closing(sqlite3.connect(small, isolation_level=None)) as db:
        db.execute("DELETE FROM request_payloads WHERE rowid > 2")
        db.execute("PRAGMA journal_mode = DELETE")  # one file is the whole database
        db.execute("PRAGMA journal_mode = WAL")
    old, new = reference(small)
    rounds = tmp_path / "rounds"
    rounds.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _AT_EACH_STATEMENT, str(rounds), str(small)],
        capture_output=True, text=True, timeout=5 * LIMIT_S, check=True,
    )  # fmt: skip
    kills, status = json.loads(done.stdout)
    assert status == 0
    seen = Counter(check(rounds / str(number) / "ccflare.db", old, new) for number in range(1, kills + 1))
    assert seen[False] > 30  # statements before the commit
    assert seen[True] > 3  # and behind it


def large(path: Path) -> Path:
    """Make a database whose upgrade takes long enough to be killed in the middle of a statement."""
    kit.copy_of_real(path.parent)
    headers = {"x-api-key": "client-placeholder-key", "accept": "json"}
    text = json.dumps({"request": {"headers": headers, "body": "QUJD" * 5_000}})
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        for number in range(300):
            db.execute("INSERT INTO request_payloads VALUES (?, ?)", (f"p{number}", text))
        for number in range(5_000):
            db.execute(
                "INSERT INTO requests (id, timestamp, method, path) VALUES (?, ?, 'POST', '/')", (number, number)
            )
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def kill_after(path: Path, seconds: float | None) -> float:
    """Upgrade in another process and kill it after a while; return how long it ran."""
    child = subprocess.Popen([sys.executable, "-c", _ONCE, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "now\n"
        started = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            child.wait(LIMIT_S if seconds is None else seconds)
        return time.monotonic() - started
    finally:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        child.communicate(timeout=10)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Killed at random moments, in the middle of whatever is being written, nothing is lost or half done."""
    path = large(tmp_path / "ccflare.db")
    bytes_before = path.read_bytes()
    old, new = reference(path)
    takes_s = kill_after(path, None)
    assert is_upgraded(path)
    rng, unfinished = random.Random(7), 0
    for number in range(6):
        work = tmp_path / str(number)
        work.mkdir()
        (work / "ccflare.db").write_bytes(bytes_before)
        killed_after_s = rng.uniform(0, takes_s)
        ran_s = kill_after(work / "ccflare.db", killed_after_s)
        if ran_s < killed_after_s:  # it came to its end, quicker than when it was measured
            takes_s = ran_s
        unfinished += not check(work / "ccflare.db", old, new)
    assert unfinished >= 1
