"""What grows with accounts, sessions and history: `python -m bench.growth [--rows N ...] [--directory DIR]`.

Prints two tables. The first is the pool by itself: CPU of one choice, and of what happens on the event loop between
requests. The second are servers that differ in one thing only, measured in turn as `python -m bench` does: CPU per
request, memory, what an idle one takes, and the pages that a dashboard asks for again and again.
"""

import argparse
import asyncio
import json
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median

import uvloop

from bench import ledger, payload, scenarios, wrk
from bench.enlarge import enlarge
from bench.machine import BenchError, Cores, allow_many_files, use_of
from bench.rows import Results
from bench.scenarios import Bench
from bench.servers import Ccflare, Place, Target, start_upstream
from ccflare.analytics import Question, analyse
from ccflare.pool import Ask, Pool
from ccflare.records import Account, Binding, Credentials, Secret
from ccflare.store import Batch, open_store
from ccflare.store.history import Filter

ACCOUNTS = (1, 10, 100, 1_000)
SESSIONS = (0, 100_000)
ROUNDS = 3
CLOSED_S = 2.0
IDLE_S = 3.0
NEW_SESSIONS = 20_000
"""Different sessions of the load that is made of new ones; each account serves some before they come again."""
WRITTEN_ROWS = 200_000
"""Larger histories are made of one of this size (enlarge.py)."""
MODEL = "claude-sonnet-5-5"
PAGES = {"GET /health": "/health", "GET /api/accounts": "/api/accounts", "GET /api/stats": "/api/stats"}

Table = dict[str, dict[str, float]]


# The pool by itself.


def accounts(count: int, url: str = "https://api.anthropic.com") -> list[Account]:
    """Return so many accounts."""
    return [
        Account(id=f"grow-{number}", name=f"grow-{number}", created_at_ms=1, base_url=url) for number in range(count)
    ]


def pool_costs(count: int, sessions: int) -> dict[str, float]:
    """Return the CPU in microseconds of what a pool of so many accounts and sessions does."""
    pool, everybody, now_ms = Pool(session_ms=3_600_000), accounts(count), 1_800_000_000_000
    pool.load(everybody, now_ms)
    bound = [Binding(f"old-{n}", everybody[n % count].id, now_ms, now_ms) for n in range(sessions)]
    pool.restore(bound, now_ms)
    turn = iter(range(1 << 62))

    def exchange(key: str) -> None:
        ask = Ask(key, MODEL)
        account = next(pool.candidates(ask, now_ms))
        pool.begin(account.id, ask)
        pool.served(ask, account.id, now_ms + next(turn))
        pool.end(account.id, ask)

    def save() -> None:
        exchange("one")
        pool.take_changes()
        pool.read_heard()
        pool.take_windows(now_ms)

    return {
        "exchange of a known session": _cpu_us(lambda: exchange("one"), 2_000),
        "exchange of a new session": _cpu_us(lambda: exchange(f"new-{next(turn)}"), 2_000),
        "saving what was learnt, 10/s": _cpu_us(save, 500),
        "taking over a change of accounts": _cpu_us(lambda: pool.load(everybody, now_ms), 20),
    }


def _cpu_us(action: Callable[[], None], times: int) -> float:
    spent = []
    for _ in range(5):
        began = time.thread_time()
        for _ in range(times):
            action()
        spent.append((time.thread_time() - began) / times)
    return min(spent) * 1e6


# Servers.


def server(place: Place, name: str, *, count: int = 3, sessions: int = 0, history: Path | None = None) -> Ccflare:
    """Return a server with so many accounts and sessions, and a copy of a history."""
    ccflare = Ccflare(place, name, accounts=0)
    if history is not None:
        shutil.copyfile(history, ccflare.database)
    now_ms = int(time.time() * 1000)
    with closing(open_store(ccflare.database)) as store:
        for removed in store.accounts():
            store.remove_account(removed.id)
        for account in accounts(count, f"http://127.0.0.1:{place.upstream_port}"):
            key = Secret(f"sk-ant-api03-{account.id}")
            store.add_account(account, Credentials(account.id, api_key=key))
        for start in range(0, sessions, 1000):
            bindings = [Binding(f"{n:032x}", f"grow-{n % count}", now_ms, now_ms) for n in range(start, start + 1000)]
            store.write(Batch(bindings=bindings))
    return ccflare


def histories(directory: Path, sizes: Iterable[int]) -> dict[int, Path]:
    """Make histories of these sizes, or take those that are there already."""
    made = {}
    for rows in sizes:
        made[rows] = path = directory / f"{rows}.db"
        if path.exists():
            continue
        with closing(open_store(path)) as store:
            ledger.add_accounts(store)
            ledger.fill(store, min(rows, WRITTEN_ROWS), int(time.time() * 1000))
        if rows > WRITTEN_ROWS:
            enlarge(path, rows // WRITTEN_ROWS)
    return made


def variants(place: Place, made: dict[int, Path]) -> dict[str, Ccflare]:
    """Return the servers by what is different about them."""
    found = {f"{count:,} accounts": server(place, f"accounts-{count}", count=count) for count in ACCOUNTS}
    for sessions in SESSIONS[1:]:
        found[f"{sessions:,} sessions"] = server(place, f"sessions-{sessions}", sessions=sessions)
    for rows, path in made.items():
        found[f"{rows:,} rows"] = server(place, f"rows-{rows}", history=path)
    return found


def measure(bench: Bench, place: Place, made: dict[int, Path], rounds: int) -> Table:
    """Start all servers, take them in turn, and return the medians."""
    table: Table = {}
    with ExitStack() as stack:
        started = {}
        for name, ccflare in variants(place, made).items():
            began = time.perf_counter()
            started[name] = ccflare.start(stack)
            table[name] = {"server ready, ms": (time.perf_counter() - began) * 1e3}
            table[name]["ccflare --list, ms"] = _wall_ms(ccflare.list_accounts)
        time.sleep(IDLE_S)
        for name, target in started.items():
            table[name] |= _idle(target)
        fresh = payload.requests(payload.MESSAGES, "127.0.0.1", 4096, NEW_SESSIONS)
        found: dict[str, dict[str, list[float]]] = {name: {} for name in started}
        for _ in range(rounds):
            for name, target in started.items():
                for row, value in _loaded(bench, target, fresh).items():
                    found[name].setdefault(row, []).append(value)
        for name, rows in found.items():
            table[name] |= {row: median(values) for row, values in rows.items()}
        for name, target in started.items():
            table[name] |= {page: _page_ms(target, path) for page, path in PAGES.items()}
    return table


def _idle(target: Target) -> dict[str, float]:
    assert target.pid is not None
    before = use_of(target.pid)
    time.sleep(IDLE_S)
    after = use_of(target.pid)
    return {
        "memory, idle, MB": after.resident_bytes / 1e6,
        "CPU, idle, ms/s": (after.cpu_s - before.cpu_s) / IDLE_S * 1e3,
    }


def _loaded(bench: Bench, target: Target, fresh: Sequence[bytes]) -> dict[str, float]:
    """Return CPU per request of 256 sessions in turn, and of ever new ones."""
    name = target.authority
    scenarios.whole_answers(bench, "4k", CLOSED_S, Target(name, target.port, target.pid))
    known = bench.results.values("cpu_4k", name)[-1]
    path = bench.directory / "fresh"
    if not path.exists():
        wrk.write_requests(path, fresh)
    assert target.pid is not None
    before = use_of(target.pid)
    served = wrk.closed_loop(name, path, CLOSED_S)
    time.sleep(scenarios.SETTLE_S)
    spent_s = use_of(target.pid).cpu_s - before.cpu_s
    if served.failures:
        raise BenchError(f"{name}: {served.failures} failed")
    return {"CPU per request, us": known, "CPU per request of a new session, us": spent_s / served.answers * 1e6}


def _page_ms(target: Target, path: str) -> float:
    """Return the CPU of the server in milliseconds for one page: a hundred in one connection each."""
    assert target.pid is not None
    times = 100
    before = use_of(target.pid).cpu_s
    for _ in range(times):
        with socket.create_connection(target.address, timeout=10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode())
            if not b"".join(iter(partial(connection.recv, 1 << 16), b"")).startswith(b"HTTP/1.1 200"):
                raise BenchError(f"{path} did not answer 200")
    return (use_of(target.pid).cpu_s - before) / times * 1e3


def _wall_ms(action: Callable[[], None]) -> float:
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        action()
        spent.append((time.perf_counter() - began) * 1e3)
    return median(spent)


def questions(made: dict[int, Path]) -> Table:
    """Return the CPU in milliseconds of each range of the analytics and of the slowest page, for each history."""
    table: Table = {}
    for rows, path in made.items():
        with closing(open_store(path)) as store:
            end_ms = store.history.page(Filter(), at_most=1)[0].timestamp_ms
            asked = {f"analytics {name}": Question(range=name) for name in ledger.RANGES}
            asked["analytics 30d by model"] = Question(range="30d", by_model=True)
            found = {name: _cpu_ms(partial(analyse, store, question, end_ms)) for name, question in asked.items()}
            pages = [partial(store.history.page, wanted) for wanted in ledger.FILTERS.values()]
            found["slowest page"] = max(map(_cpu_ms, pages))
        table[f"{rows:,} rows"] = found
    return table


def _cpu_ms(action: Callable[[], object]) -> float:
    action()  # the first reads pages from the disk
    spent = []
    for _ in range(5):
        began = time.thread_time()
        action()
        spent.append(time.thread_time() - began)
    return min(spent) * 1e3


def text(title: str, table: Table) -> str:
    """Return a table as Markdown: what is measured downwards, what differs to the right."""
    names = list(table)
    rows = list(dict.fromkeys(row for column in table.values() for row in column))
    lines = [f"| {title} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    lines += [f"| {row} | {' | '.join(_shown(table[name].get(row)) for name in names)} |" for row in rows]
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def run(directory: Path | None, sizes: Sequence[int], rounds: int) -> dict[str, Table]:
    """Measure everything. Raises BenchError."""
    cores = Cores.of_this_machine()
    allow_many_files()
    if not wrk.installed():
        raise BenchError("wrk is needed")
    found = {"us of CPU": {f"{count:,} accounts": pool_costs(count, 0) for count in ACCOUNTS}}
    found["us of CPU"] |= {f"{count:,} sessions": pool_costs(3, count) for count in SESSIONS[1:]}
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccflare-growth-", dir=directory)))
        made = histories(home if directory is None else directory, sizes)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        upstream = start_upstream(cores, home, 0, stack)
        bench = Bench(runner, home, upstream, Results(), with_wrk=True)
        found["server"] = measure(bench, Place(cores, home, upstream.port), made, rounds)
        found["ms of CPU"] = questions(made)
        for remark in bench.results.remarks:
            print(f"remark: {remark}", file=sys.stderr)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description="What grows with what.")
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000], help="sizes of the histories")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--directory", type=Path, help="where histories are, or are made (10 million rows: 5 GB)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    try:
        found = run(given.directory, given.rows, given.rounds)
    except BenchError as error:
        print(f"growth: {error}", file=sys.stderr)
        return 1
    print("\n\n".join(text(title, table) for title, table in found.items()))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
