"""What keeping exchanges costs, in a process of its own: `python -m bench.recording --rows N --directory DIR`.

It prints one line of JSON: for each row of the table the values that were measured. Thousands of exchanges go through
a real journal, as fast as it takes them; others one commit each; then a history of so many rows is made, and asked.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from bench import ledger
from bench.machine import BenchError
from ccflare.analytics import Question, analyse
from ccflare.journal import Journal
from ccflare.records import new_id
from ccflare.store import Store, open_store

ROUNDS = 3
SUSTAINED = 10_000
"""Exchanges of a round that go through the journal."""
WAITING = 4_000
"""So many may wait for the writer: far from its bound, and enough that it never waits for us."""
FLUSH_S = 60.0
REPEATS = 7
ASKED = {name: Question(range=name) for name in ledger.RANGES} | {"30d_model": Question(range="30d", by_model=True)}

Values = dict[str, list[float]]


async def sustained(path: Path, count: int) -> float:
    """Put exchanges as fast as the writer takes them; return how many a second went into the database."""
    journal = Journal(lambda: open_store(path), lambda _accounts, _secrets: None)
    end_ms, rng = int(time.time() * 1000), random.Random()
    rows = [
        msgspec.structs.replace(each, id=new_id(end_ms, rng), timestamp_ms=end_ms - number)
        for number, each in enumerate(ledger.exchanges(count, end_ms, random.Random(4)))
    ]
    journal.start()
    await asyncio.sleep(ledger.PACE_S / 20)  # the database is open
    began = time.perf_counter()
    for number, row in enumerate(rows):
        journal.put(row)
        while number % 100 == 0 and journal.state().waiting > WAITING:  # noqa: ASYNC110  # as the loop's other work
            await asyncio.sleep(0.001)
    if not await journal.close(FLUSH_S):
        raise BenchError("the writer did not keep up")
    spent, state = time.perf_counter() - began, journal.state()
    if state.written != count or state.lost:
        raise BenchError(f"{state.written} of {count} exchanges were written, {state.lost} lost")
    return count / spent


def writers(directory: Path) -> Values:
    """Measure the writer, and a transaction for each row, in turn."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    path = directory / "writer.db"
    for _ in range(ROUNDS):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found["writer"].append(runner.run(sustained(path, SUSTAINED)))
        with closing(open_store(path)) as store:
            found["writer_single"].append(ledger.one_by_one(store, int(time.time() * 1000)))
    return found


def history(path: Path, rows: int) -> Values:
    """Make a history of so many rows over a year, and measure the questions of people."""
    end_ms = int(time.time() * 1000)
    with closing(open_store(path)) as store:
        ledger.add_accounts(store)
        ledger.fill(store, rows, end_ms)
        found = {
            f"analytics_{name}": _ms(partial(analyse, store, question, end_ms)) for name, question in ASKED.items()
        }
        found["page"], found["page_worst"] = _pages(store, end_ms)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found["stall"] = [runner.run(ledger.loop_delay(path, asking=True))]
    return found


def _pages(store: Store, end_ms: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of the newest page, and of the page and filter that take longest."""
    found = ledger.pages(store, end_ms)
    return [found["page: all"]], [max(found.values())]


def _ms(action: Callable[[], object]) -> list[float]:
    action()  # the first reads pages from the disk
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        action()
        spent.append((time.perf_counter() - began) * 1e3)
    return spent


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.recording", description="What keeping exchanges costs.")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    given = parser.parse_args()
    sys.setswitchinterval(0.00002)  # as the server does
    try:
        found = writers(given.directory) | history(given.directory / "history.db", given.rows)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
