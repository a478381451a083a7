"""A disk that is full for a while: exchanges and payloads wait in memory, and come when there is room again."""

import asyncio
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ccflare.journal import Journal, Pace
from ccflare.payload import Captured
from ccflare.records import Exchange
from ccflare.store import open_store
from ccflare.wire import ByteBudget


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system needs the right to mount one")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Look again and again until something is so; fail when it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def put(journal: Journal, number: int) -> None:
    """Put an exchange with an answer of 20 KB that does not become smaller."""
    made = Exchange(
        id=f"{number:05d}", timestamp_ms=int(time.time() * 1000), method="POST", path="/v1/messages", status_code=200,
        success=True, response_time_ms=1,
    )  # fmt: skip
    captured = Captured(b"/v1/messages", [], ByteBudget(1 << 30))
    captured.answered(200, b"", ())
    captured.response.add(random.Random(number).randbytes(20_000))
    captured.close(made)
    journal.put(made, captured)


async def test_what_has_no_room_waits_for_it(small_disk: Path) -> None:
    """The disk fills up in the middle of batches; nothing is lost, nothing is half there, the file stays sound."""
    path = small_disk / "ccflare.db"
    journal = Journal(lambda: open_store(path, busy_timeout_s=0.2), lambda *_: None, Pace(batch_s=0.01))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(2_000_000))
    journal.start()
    number = 0
    while journal.state().error is None and journal.state().payloads_waiting < 30:
        assert number < 1000, "the disk does not become full"
        put(journal, number)
        number += 1
        await asyncio.sleep(0.005)
    assert os.statvfs(small_disk).f_bavail < 100
    filler.unlink()
    await until(lambda: journal.state().payloads_written == number)
    assert await journal.close()
    state = journal.state()
    assert (state.written, state.lost, state.payloads_dropped) == (number, 0, 0)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [int(text) for (text,) in db.execute("SELECT id FROM requests ORDER BY id")] == list(range(number))
    db.close()
    store = open_store(path)
    for each in range(number):
        found = store.payloads.read(f"{each:05d}")
        assert found is not None
        assert found.response.data == random.Random(each).randbytes(20_000)
    store.close()
