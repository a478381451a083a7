"""What a kill -9 costs: `python -m bench.kill_nine [--kills N] [--seed N]`.

A child keeps exchanges and payloads through a real journal and says what it has put and when. It is killed at a
random moment; then the database must open and be sound, hold every exchange but those of the last quarter of a
second, and every payload byte for byte with its exchange. The next child goes on with the same file.
"""

import argparse
import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ccflare.journal import Journal, Retention
from ccflare.payload import Captured
from ccflare.records import Exchange
from ccflare.store import open_store
from ccflare.wire import ByteBudget

LOST_MS = 250
"""An exchange that ended longer ago than this must be there."""
STEP_S = 0.004
AT_ONCE = 2
KILLS_PER_FILE = 4
SMALL_BUDGET = 150_000
"""Every other file forgets payloads while it is written, and becomes smaller."""
_TEXT = random.Random(0).randbytes(12_000).hex().encode()


@dataclass(frozen=True, slots=True)
class Kill:
    """What one kill has cost."""

    put: int
    """Exchanges that had been put in this life."""
    lost: int
    lost_ms: float
    """Since when the oldest lost exchange had been put."""
    stalled_ms: float
    """The longest the child itself stood still, which the machine has taken and not the journal."""
    payloads: int
    """How many were read back."""

    @property
    def within_bounds(self) -> bool:
        """Say whether no more was lost than may be."""
        return self.lost_ms <= LOST_MS + 2 * self.stalled_ms


# The child.


def request(number: int) -> bytes:
    """Return the body of an exchange: a conversation of its session that grows, about 20 KB."""
    size = 16_000 + number % 40 * 200
    return b'{"messages":["%b"],"number":%d}' % (_TEXT[number % 3 * 100 :][:size], number)


def response(number: int) -> bytes:
    """Return what was answered."""
    return random.Random(number).randbytes(500)


def exchange(number: int) -> Exchange:
    """Return an exchange that has just ended."""
    return Exchange(
        id=f"{number:09d}",
        timestamp_ms=int(time.time() * 1000),
        method="POST",
        path="/v1/messages",
        status_code=200,
        success=True,
        response_time_ms=1,
        session=f"session-{number % 3}",
    )


def captured(of: Exchange, number: int) -> Captured:
    """Return what was captured of it."""
    made = Captured(b"/v1/messages", [(b"x-number", b"%d" % number)], ByteBudget(1 << 30))
    made.request.add(request(number))
    made.answered(200, b"", ())
    made.response.add(response(number))
    made.close(of)
    return made


async def keep(path: Path, first: int, budget_bytes: int) -> None:
    """Put exchanges until the kill, and write down after each step how many and when."""
    journal = Journal(lambda: open_store(path, busy_timeout_s=1.0), lambda _accounts, _secrets: None)
    journal.rules = Retention(payload_bytes=budget_bytes)
    journal.start()
    while not journal.state().opened:  # noqa: ASYNC110  # a server is not ready before, and no event tells it
        await asyncio.sleep(STEP_S)
    number = first
    while True:
        for number in range(number, number + AT_ONCE):  # noqa: B020  # counts on
            made = exchange(number)
            journal.put(made, captured(made, number))
        number += 1
        os.write(1, b"%d %f\n" % (number, time.monotonic()))
        await asyncio.sleep(STEP_S)


# The parent.


def kill_once(path: Path, seconds: float, budget_bytes: int) -> Kill:
    """Run a child on a file for about so long, kill it, and look at what is left. Raises AssertionError."""
    first = _count(path)
    command = [sys.executable, "-m", "bench.kill_nine", "--child", str(path), str(first), str(budget_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        began = child.stdout.readline()
        time.sleep(seconds)
        killed_at = time.monotonic()
        os.kill(child.pid, signal.SIGKILL)
        told = began + child.stdout.read()
    assert child.returncode == -signal.SIGKILL, f"the child ended by itself: {child.returncode}"
    steps = [(int(number), float(at)) for number, at in map(str.split, _whole_lines(told))]
    kept = _check_rows(path)
    assert kept >= first, "exchanges of an earlier life are gone"
    missing = [at for number, at in steps if number > kept]
    gaps = [later - earlier for (_, earlier), (_, later) in pairwise(steps)]
    return Kill(
        put=steps[-1][0] - first,
        lost=max(0, steps[-1][0] - kept),
        lost_ms=(killed_at - min(missing)) * 1000 if missing else 0.0,
        stalled_ms=max(gaps, default=0.0) * 1000,
        payloads=_check_payloads(path),
    )


def _whole_lines(text: str) -> list[str]:
    return text[: text.rfind("\n")].splitlines()


def _count(path: Path) -> int:
    with closing(open_store(path)):
        pass  # it opens
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT COUNT(*) FROM requests").fetchone()[0])


def _check_rows(path: Path) -> int:
    """Return how many exchanges there are: the first ones, without a gap, in a sound file."""
    kept = _count(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ids = [int(each) for (each,) in db.execute("SELECT id FROM requests ORDER BY id")]
    assert ids == list(range(kept)), "an exchange is missing among those that were kept"
    return kept


def _check_payloads(path: Path) -> int:
    """Return how many payloads there are: each with its exchange, and as it was put."""
    with closing(sqlite3.connect(path)) as db:
        ids = {each for (each,) in db.execute("SELECT id FROM payloads")}
        alone = "SELECT COUNT(*) FROM payloads WHERE id NOT IN (SELECT id FROM requests)"
        assert db.execute(alone).fetchone() == (0,), "a payload without its exchange"
        groups = "SELECT id, bytes FROM payload_groups ORDER BY id"
        sums = "SELECT group_id, SUM(bytes) FROM payloads GROUP BY group_id ORDER BY group_id"
        assert db.execute(groups).fetchall() == db.execute(sums).fetchall(), "groups that are not their payloads' sums"
    with closing(open_store(path)) as store:
        for each in ids:
            found, number = store.payloads.read(each), int(each)
            assert found is not None
            assert found.request.data == request(number), f"the request of {each} is not what was put"
            assert found.response.data == response(number), f"the answer of {each} is not what was put"
    return len(ids)


def kills(count: int, seed: int) -> Iterator[Kill]:
    """Kill so many children at random moments, a few on each file."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        for number in range(count):
            file = number // KILLS_PER_FILE
            budget_bytes = SMALL_BUDGET if file % 2 else 1 << 40
            yield kill_once(Path(directory) / f"{file}.db", rng.uniform(0.05, 0.8), budget_bytes)


def main() -> int:
    """Kill and report. Returns 1 when more was lost than may be."""
    parser = argparse.ArgumentParser(prog="python -m bench.kill_nine", description="What a kill -9 costs.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        path, first, budget_bytes = given.child
        asyncio.run(keep(Path(path), int(first), int(budget_bytes)))
    done = list(kills(given.kills, given.seed))
    beyond = [kill for kill in done if not kill.within_bounds]
    print(f"kills: {len(done)}, exchanges put: {sum(kill.put for kill in done)}")
    print(f"lost exchanges per kill: at most {max(kill.lost for kill in done)}")
    print(f"age of the oldest lost exchange: at most {max(kill.lost_ms for kill in done):.0f} ms")
    print(f"payloads read back: {sum(kill.payloads for kill in done)}; kills that lost too much: {len(beyond)}")
    for kill in beyond:
        print(kill)
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
