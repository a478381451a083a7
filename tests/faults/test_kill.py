"""A server that is killed loses a quarter of a second of history at most, and never the database."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

_CHILD = """
import asyncio, sys, time
from pathlib import Path
from ccflare.journal import Journal
from ccflare.records import Exchange
from ccflare.store import open_store

async def main():
    path = Path(sys.argv[1])
    journal = Journal(lambda: open_store(path, busy_timeout_s=1.0), lambda accounts, secrets: None)
    journal.start()
    while not journal.state().opened:  # as a server does, which is not ready before
        await asyncio.sleep(0.003)
    number, last = 0, time.monotonic()
    while True:
        for _ in range(5):
            journal.put(Exchange(id=f"{number:09d}", timestamp_ms=int(time.time() * 1000), method="POST", path="/v1/x",
                                 status_code=200, success=True, response_time_ms=1))
            number += 1
        now = time.monotonic()
        sys.stdout.write(f"{number} {now} {now - last}\\n")
        sys.stdout.flush()
        last = now
        await asyncio.sleep(0.003)

asyncio.run(main())
"""
_LOST_S = 0.25


def run_and_kill(path: Path, seconds: float) -> list[tuple[int, float, float]]:
    """Put exchanges until the kill; return after each step how many, when, and how long the step took."""
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        first = child.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(seconds)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        rest, _ = child.communicate(timeout=10)
    lines = [line.split() for line in (first + rest).splitlines() if line.count(" ") == 2]
    return [(int(number), float(at), float(step)) for number, at, step in lines]


@pytest.mark.parametrize("round_number", range(3))
def test_kill_at_any_moment(tmp_path: Path, round_number: int) -> None:
    """After kill -9 the database opens, is sound, and holds a prefix that ends at most 250 ms before."""
    path = tmp_path / "ccflare.db"
    steps = run_and_kill(path, random.Random(round_number).uniform(0.3, 0.8))
    db = sqlite3.connect(path)
    ids = [int(text) for (text,) in db.execute("SELECT id FROM requests ORDER BY rowid")]
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert ids == list(range(len(ids)))
    stalled = max(step for _, _, step in steps)  # what the machine, not the journal, has taken
    killed_at = steps[-1][1]
    ended_before = [number for number, at, _ in steps if at <= killed_at - _LOST_S - 2 * stalled]
    assert len(ids) >= max(ended_before, default=0)
    assert ids
