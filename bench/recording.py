"""What keeping exchanges costs, in a process of its own: `python -m bench.recording --rows N --directory DIR`.

It prints one line of JSON: for each row of the table the values that were measured. Thousands of exchanges go through
a real journal, as fast as it takes them, with and without what was said; the same are written as the original program
does it; then a history of so many rows is made, and asked.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench import ledger, original, payload
from bench.machine import BenchError
from ccflare.analytics import Question, analyse
from ccflare.journal import Journal, WriterState
from ccflare.payload import Captured
from ccflare.records import Exchange, new_id
from ccflare.startup import share_interpreter
from ccflare.store import Store, open_store
from ccflare.wire import ByteBudget, Headers, lines_of

ROUNDS = 3
SUSTAINED = 10_000
"""Exchanges of a round that go through the journal."""
WAITING = 1_000
"""So many may wait for the writer: far from its bounds, and enough that it never waits for us."""
SESSIONS = 256
REQUEST_BYTES = 4096
FLUSH_S = 60.0
REPEATS = 7
ASKED = {name: Question(range=name) for name in ledger.RANGES} | {"30d_model": Question(range="30d", by_model=True)}

Values = dict[str, list[float]]


def finished(count: int) -> list[tuple[Exchange, Captured]]:
    """Return exchanges that have just ended, and what was said in them: as the load of 4 KB requests leaves them."""
    end_ms, rng, room = int(time.time() * 1000), random.Random(), ByteBudget(1 << 40)
    texts = payload.requests(payload.MESSAGES, "127.0.0.1:8080", REQUEST_BYTES, SESSIONS)
    requests = [(*_cut(text), dict[object, Any]()) for text in texts]
    answers = [_cut(payload.answer(number)) for number in range(SESSIONS)]
    names = tuple([name for name, _ in answers[0][0]])
    made = []
    for number, each in enumerate(ledger.exchanges(count, end_ms, random.Random(4))):
        at_ms, place = end_ms - count + number, number % SESSIONS
        (fields, body, known), (answer_fields, answer) = requests[place], answers[number * 7 % SESSIONS]
        own = {"id": new_id(at_ms, rng), "timestamp_ms": at_ms, "session": f"{place:032x}"}
        sizes = {"request_bytes": len(body), "response_bytes": len(answer)}
        exchange = msgspec.structs.replace(each, **own, **sizes)
        said = Captured(payload.MESSAGES.encode(), fields, room, known)
        said.request.add(body)
        said.answered(exchange.status_code, lines_of(answer_fields), names)
        said.response.add(answer)
        said.close(exchange)
        made.append((exchange, said))
    return made


def _cut(message: bytes) -> tuple[Headers, bytes]:
    """Return the fields and the body of a message."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    return [(name, value) for name, _, value in fields], body


async def sustained(path: Path, exchanges: Sequence[tuple[Exchange, Captured | None]]) -> float:
    """Put exchanges as fast as the writer takes them; return how many a second went into the database."""
    journal = Journal(lambda: open_store(path), lambda _accounts, _secrets: None)
    journal.start()
    await asyncio.sleep(ledger.PACE_S / 20)  # the database is open
    began = time.perf_counter()
    for number, (exchange, said) in enumerate(exchanges):
        journal.put(exchange, said)
        while number % 100 == 0 and _waiting(journal.state()) > WAITING:  # noqa: ASYNC110  # as the loop's other work
            await asyncio.sleep(0.001)
    if not await journal.close(FLUSH_S):
        raise BenchError("the writer did not keep up")
    spent, state = time.perf_counter() - began, journal.state()
    said_of = sum(said is not None for _, said in exchanges)
    if (state.written, state.payloads_written) != (len(exchanges), said_of):
        raise BenchError(
            f"{state.written} exchanges and {state.payloads_written} payloads of {len(exchanges)} were written"
        )
    return len(exchanges) / spent


def _waiting(state: WriterState) -> int:
    return max(state.waiting, state.payloads_waiting)


def writers(directory: Path) -> Values:
    """Measure our writer with and without what was said, and the original's way, in turn."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    with closing(open_store(directory / "writer.db")) as store:
        ledger.add_accounts(store)
    for _ in range(ROUNDS):
        whole = finished(SUSTAINED)
        found["writer"].append(_run(sustained(directory / "writer.db", whole)))
        found["writer_original"].append(original.write(directory / "original.db", ledger.ACCOUNTS, whole))
        lean = [(exchange, None) for exchange, _ in finished(SUSTAINED)]
        found["writer_lean"].append(_run(sustained(directory / "writer.db", lean)))
    return found


def _run(measuring: Coroutine[Any, Any, float]) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measuring)


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
    share_interpreter()  # as the server does
    try:
        found = writers(given.directory) | history(given.directory / "history.db", given.rows)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
