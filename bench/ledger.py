"""The ledger at sizes that hurt: `python -m bench.ledger [--rows N ...] [--directory DIR] [--json FILE]`.

Makes databases of so many exchanges over a year, and measures there what people wait for: the writer in batches and
one by one, every range of the analytics, a page of the history with every filter, the event loop's delay while
2,000 rows a second are written, and what a row and a payload take on disk. Everything stays below the directory.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import msgspec
import uvloop

from ccflare.analytics import Question, analyse
from ccflare.analytics.answers import RangeName
from ccflare.desk import Desk
from ccflare.journal import Journal
from ccflare.payload import Content, Payload
from ccflare.records import Account, Attempt, Credentials, Exchange, Secret, new_id
from ccflare.startup import share_interpreter
from ccflare.store import Batch, Store, open_store
from ccflare.store.history import Cursor, Filter
from ccflare.usage import Usage

YEAR_MS = 365 * 86_400_000
BATCH = 500
ONE_BY_ONE = 1_000
PACE_ROWS_S = 2_000
PACE_S = 5.0
PAYLOADS = 1_000
PAYLOAD_BYTES = 20_000
TURNS = 20
"""Turns of a conversation whose bodies repeat what was said before."""
REPEATS = 5
MODELS = (
    "claude-sonnet-5-5",
    "claude-opus-5-5",
    "claude-haiku-5-5",
    "claude-opus-4-1-20250805",
    "claude-3-opus-20240229",
)
ACCOUNTS = tuple(f"account-{number}" for number in range(5))
STATUSES = (200,) * 92 + (429, 529, 500, 400, 499, 200, 200, 404)
RARE = Filter(account_id=ACCOUNTS[4], model="claude-3-opus", status=404)
FILTERS = {
    "all": Filter(),
    "errors": Filter(status="error"),
    "one account": Filter(account_id=ACCOUNTS[0]),
    "one model": Filter(model=MODELS[0]),
    "one family": Filter(model="claude-3-opus"),
    "one status": Filter(status=404),
    "three filters": RARE,
}
RANGES: tuple[RangeName, ...] = ("1h", "6h", "24h", "7d", "30d")

Results = dict[str, float]


def exchanges(count: int, end_ms: int, rng: random.Random) -> Iterator[Exchange]:
    """Yield exchanges that arrive evenly over the year before an instant, oldest first."""
    attempts = {name: (Attempt(name, "deliver", 200, 1800),) for name in ACCOUNTS}
    for number in range(count):
        at_ms = end_ms - YEAR_MS + YEAR_MS * number // count
        status = rng.choice(STATUSES)
        success = status == 200 and rng.random() < 0.99
        account = rng.choice(ACCOUNTS)
        yield Exchange(
            id=new_id(at_ms, rng),
            timestamp_ms=at_ms,
            method="POST",
            path="/v1/messages",
            account_id=account,
            status_code=status,
            success=success,
            error_message=None if success else f"status {status}",
            response_time_ms=int(rng.lognormvariate(7.5, 0.8)),
            first_byte_ms=int(rng.lognormvariate(6.5, 0.5)),
            own_ms=0.3,
            model=rng.choice(MODELS),
            usage=_usage(rng) if status == 200 else Usage(),
            cost_microusd=rng.randrange(100_000) if status == 200 else None,
            output_tokens_per_second=rng.uniform(30, 90) if status == 200 else None,
            session=f"{number // 40:032x}",
            client="127.0.0.1",
            streamed=True,
            request_bytes=rng.randrange(4_000, 200_000),
            response_bytes=rng.randrange(1_000, 30_000),
            attempts=attempts[account],
        )


def _usage(rng: random.Random) -> Usage:
    return Usage(
        input_tokens=rng.randrange(4_000),
        output_tokens=rng.randrange(2_000),
        cache_read_input_tokens=rng.randrange(100_000),
        cache_creation_5m_tokens=rng.randrange(5_000),
        cache_creation_1h_tokens=0,
    )


def add_accounts(store: Store) -> None:
    """Add the accounts that the exchanges went through."""
    for name in ACCOUNTS:
        store.add_account(Account(id=name, name=name, created_at_ms=1), Credentials(name, api_key=Secret("sk-bench")))


def fill(store: Store, count: int, end_ms: int) -> float:
    """Write so many exchanges in batches; return rows per second of the writing alone."""
    rows, batch, spent = exchanges(count, end_ms, random.Random(1)), [], 0.0
    for exchange in rows:
        batch.append(exchange)
        if len(batch) == BATCH:
            spent += _timed(partial(store.write, Batch(exchanges=batch)))
            batch = []
    if batch:
        spent += _timed(partial(store.write, Batch(exchanges=batch)))
    return count / spent


def one_by_one(store: Store, end_ms: int) -> float:
    """Write exchanges each in a transaction of its own; return rows per second."""
    rows = list(exchanges(ONE_BY_ONE, end_ms, random.Random(2)))

    def write() -> None:
        for row in rows:
            store.write(Batch(exchanges=[row]))

    return ONE_BY_ONE / _timed(write)


def questions(store: Store, end_ms: int) -> Results:
    """Return the milliseconds of each range of the analytics, by model for the longest."""
    asked = {each: Question(range=each) for each in RANGES} | {"30d by model": Question(range="30d", by_model=True)}
    return {
        f"analytics {name}": _median_ms(partial(analyse, store, question, end_ms)) for name, question in asked.items()
    }


def pages(store: Store, end_ms: int) -> Results:
    """Return the milliseconds of a page of the history with each filter, at its end and far back."""
    middle = Cursor(end_ms - YEAR_MS // 2, "")
    month = msgspec.structs.replace(RARE, from_ms=end_ms - YEAR_MS, to_ms=end_ms - YEAR_MS + 30 * 86_400_000)
    found = {}
    for name, wanted in (FILTERS | {"three filters in the first month": month}).items():
        page = partial(store.history.page, wanted)
        found[f"page: {name}"] = _median_ms(page)
        found[f"page half a year back: {name}"] = _median_ms(partial(page, before=middle))
    return found


async def loop_delay(path: Path, *, asking: bool) -> float:
    """Return the loop's 99th percentile delay (ms) while rows are written, and while somebody asks for 30 days."""
    journal = Journal(lambda: open_store(path, busy_timeout_s=1.0), lambda _accounts, _secrets: None)
    desk = Desk(lambda: open_store(path))
    journal.start()
    loop, delays, end_ms = asyncio.get_running_loop(), [], int(time.time() * 1000)
    rows = exchanges(int(PACE_ROWS_S * PACE_S), end_ms, random.Random(end_ms))
    asked = asyncio.ensure_future(_keep_asking(desk, end_ms)) if asking else None
    began = loop.time()
    for step in range(int(PACE_S * 200)):
        for _ in range(PACE_ROWS_S // 200):
            journal.put(next(rows))
        due = began + (step + 1) / 200
        await asyncio.sleep(due - loop.time())
        delays.append(loop.time() - due)
    if asked is not None:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    if not await journal.close(30):
        raise SystemExit("the writer did not keep up with 2,000 rows a second")
    await asyncio.to_thread(desk.close)
    return quantiles(delays, n=100)[98] * 1000


async def _keep_asking(desk: Desk, now_ms: int) -> None:
    while True:
        await desk.ask(lambda store: analyse(store, Question(range="30d"), now_ms))


def payload_bytes(directory: Path, *, conversations: bool) -> tuple[float, float]:
    """Return what 1,000 payloads take on disk in bytes, and milliseconds to write one."""
    path = directory / f"payloads-{conversations}.db"
    store, rng, now_ms = open_store(path), random.Random(3), int(time.time() * 1000)
    rows = list(exchanges(PAYLOADS, now_ms, rng))
    store.write(Batch(exchanges=rows))
    before = path.stat().st_size
    kept = [_payload(row, number, rng, conversations=conversations) for number, row in enumerate(rows)]
    batches = [kept[start : start + 20] for start in range(0, PAYLOADS, 20)]
    spent = _timed(lambda: [store.payloads.write(each, budget_bytes=1 << 30) for each in batches])
    store.close()
    return path.stat().st_size - before, spent / PAYLOADS * 1000


def _payload(row: Exchange, number: int, rng: random.Random, *, conversations: bool) -> Payload:
    """Return a payload of about 20 KB: words nobody has said before, or the last turn's and some more."""
    if conversations:
        talk, turn = divmod(number, TURNS)
        words = random.Random(talk)
        text = _words(words, PAYLOAD_BYTES // 2 + turn * PAYLOAD_BYTES // TURNS)
    else:
        text = _words(rng, PAYLOAD_BYTES)
    answer = _words(rng, 1_500)
    return Payload(
        id=row.id,
        timestamp_ms=number * 10_000,
        session=f"{number // TURNS}" if conversations else row.id,
        target="/v1/messages",
        request_head=b"content-type: application/json\nuser-agent: bench\n",
        request=Content(text, len(text)),
        status=200,
        response_head=b"content-type: text/event-stream\n",
        response=Content(answer, len(answer)),
    )


def _words(rng: random.Random, length: int) -> bytes:
    words = [
        f"{rng.choice('bcdfgklmnprst')}{rng.choice('aeiou')}{rng.choice('lmnrst')}{number % 97}"
        for number in range(700)
    ]
    said, size = [], 0
    while size < length:
        said.append(rng.choice(words))
        size += len(said[-1]) + 1
    return json.dumps({"model": MODELS[0], "messages": [{"role": "user", "content": " ".join(said)}]}).encode()


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _median_ms(action: Callable[[], object]) -> float:
    action()  # the first reads pages from the disk
    return median(_timed(action) for _ in range(REPEATS)) * 1000


def measure(directory: Path, count: int) -> Results:
    """Make a database of so many rows and measure everything there."""
    path, end_ms = directory / f"{count}.db", int(time.time() * 1000)
    store = open_store(path)
    add_accounts(store)
    results = {"rows/s in batches": fill(store, count, end_ms), "rows/s one by one": one_by_one(store, end_ms)}
    store.close()
    store = open_store(path)
    results["MB per million rows"] = path.stat().st_size / count
    results |= questions(store, end_ms) | pages(store, end_ms)
    store.close()
    for asking in (False, True):
        name = "loop delay p99 (ms) at 2,000 rows/s" + (" and 30-day questions" if asking else "")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results[name] = runner.run(loop_delay(path, asking=asking))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="sizes of the histories")
    parser.add_argument("--directory", type=Path, help="where the databases go (10 million rows take about 5 GB)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args(arguments)
    share_interpreter()  # as the server does
    found: dict[str, Results] = {}
    with tempfile.TemporaryDirectory(prefix="ccflare-ledger-", dir=given.directory) as name:
        directory = Path(name)
        for conversations in (False, True):
            size, ms = payload_bytes(directory, conversations=conversations)
            kind = "in conversations" if conversations else "each on its own"
            found[f"1,000 payloads of 20 KB, {kind}"] = {"MB on disk": size / 1e6, "ms to write one": ms}
        for count in given.rows:
            found[f"{count:,} rows"] = measure(directory, count)
    for title, results in found.items():
        print(title)
        for each, value in results.items():
            print(f"  {each:<52}{value:>14,.2f}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
