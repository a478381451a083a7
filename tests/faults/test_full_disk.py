"""A disk that is full for a while: exchanges and payloads wait in memory, and come when there is room again.

Where nothing can be opened that is said in the right words, as it is of a disk that may not be written at all.
"""

import asyncio
import json
import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ccflare.errors import DiskFull, StoreError
from ccflare.journal import Journal, Pace
from ccflare.payload import Captured
from ccflare.records import Account, Credentials, Exchange, Secret
from ccflare.store import open_store
from ccflare.wire import ByteBudget
from harness import Home


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


@pytest.fixture
def closed_database(small_disk: Path) -> Path:
    """The database of an account on the small disk, cleanly closed."""
    path = small_disk / "ccflare.db"
    with closing(open_store(path)) as store:
        store.add_account(Account(id="a", name="a", created_at_ms=1), Credentials("a", api_key=Secret("k")))
    return path


def fill(disk: Path, *, leaving: int) -> None:
    """Leave so many bytes free."""
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - leaving))
    assert shutil.disk_usage(disk).free == leaving


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


@pytest.mark.parametrize("leaving", [0, 8192])
def test_a_database_that_cannot_be_opened_for_want_of_room_says_so(closed_database: Path, leaving: int) -> None:
    """Though SQLite calls it an I/O error; with room it opens, and was not changed."""
    before = closed_database.read_bytes()
    fill(closed_database.parent, leaving=leaving)
    with pytest.raises(DiskFull, match=rf"^Cannot open database: {closed_database}: the disk is full$"):
        open_store(closed_database)
    (closed_database.parent / "filler").unlink()
    assert closed_database.read_bytes() == before
    with closing(open_store(closed_database)) as store:
        assert [account.name for account in store.accounts()] == ["a"]


def test_commands_and_the_doctor_lead_to_the_full_disk(closed_database: Path, tmp_path: Path) -> None:
    """One line each, for the start of a server too; the doctor does not ask who owns the file."""
    home = Home(tmp_path, {"ccflare_DB_PATH": str(closed_database)})
    fill(closed_database.parent, leaving=8192)
    for command in (["--list"], ["--pause", "a"], ["--serve", "--port", "0"]):
        done = home.ccflare(*command, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"ccflare: Cannot open database: {closed_database}: the disk is full\n"
    report = json.loads(home.ccflare("doctor", "--json", check=False).stdout)
    advice = {each["message"]: each["advice"] for each in report["findings"] if each["severity"] == "error"}
    assert advice["The database cannot be read (its disk is full)"].startswith("make room where ")
    assert "who owns" not in "".join(advice.values())


def test_a_disk_that_may_only_be_read_is_no_matter_of_permission(closed_database: Path) -> None:
    """The system's own words are repeated: nobody has to look at owners and modes."""
    subprocess.run(["mount", "-o", "remount,ro", str(closed_database.parent)], check=True)
    with pytest.raises(StoreError, match=rf"^Cannot open database: {closed_database}: Read-only file system$"):
        open_store(closed_database)
