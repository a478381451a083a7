"""One run: what is started, in which order it is measured, and when it ends at the latest."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench import scenarios, wrk
from bench.machine import Cores, allow_many_files, busy_s, use_of
from bench.rows import Results
from bench.scenarios import Bench
from bench.servers import DIRECT, Ccflare, Place, Target, start_nginx, start_upstream

_IDLE_S = 1.0
_QUIET_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. No round begins later than `bound_s` after the start."""

    rounds: int
    starts: int
    lists: int
    closed_s: float
    open_s: float
    streams: int
    streams_s: float
    bound_s: float


DEFAULT = Plan(rounds=3, starts=5, lists=10, closed_s=3, open_s=4, streams=1000, streams_s=4, bound_s=210)
QUICK = Plan(rounds=1, starts=2, lists=3, closed_s=1, open_s=2, streams=1000, streams_s=2, bound_s=45)


def run(plan: Plan) -> tuple[Results, dict[str, object]]:
    """Measure everything; return what came of it and what it was measured with. Raises BenchError."""
    cores, began = Cores.of_this_machine(), time.monotonic()
    allow_many_files()
    os.sched_setaffinity(0, cores.others)
    results = Results()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccflare-bench-")))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        place = Place(cores, directory, start_upstream(cores, directory, stack))
        bench = Bench(runner, directory, place.upstream_port, results, wrk.installed())
        ccflare = Ccflare(place)
        scenarios.commands(results, ccflare, plan.starts, plan.lists)
        with ExitStack() as servers:
            targets = start(place, ccflare, servers)
            with watching_others(cores, targets, results):
                measure(bench, plan, targets, began + plan.bound_s)
        compare_with_database(bench, ccflare.database)
    return results, _setting(plan, cores, bench, time.monotonic() - began)


def start(place: Place, ccflare: Ccflare, stack: ExitStack) -> list[Target]:
    """Start everything that stands before the upstream, and put the upstream itself first."""
    targets = [Target(DIRECT, place.upstream_port, None)]
    if shutil.which("nginx"):
        targets.append(start_nginx(place, stack))
    targets.append(ccflare.start(stack))
    return targets


def measure(bench: Bench, plan: Plan, targets: Sequence[Target], bound: float) -> None:
    """Go through all measurements; within each, every round takes all targets in turn."""
    time.sleep(_IDLE_S)
    for target in targets:
        scenarios.memory(bench, target, "memory_idle")
    for name, action in _actions(bench, plan):
        for number in range(plan.rounds):
            if time.monotonic() > bound:
                bench.results.remarks.append(f"out of time: {name} has {number} of {plan.rounds} rounds")
                break
            for target in targets:
                action(target)
    time.sleep(_IDLE_S)
    for target in targets:
        scenarios.memory(bench, target, "memory_after")


@contextmanager
def watching_others(cores: Cores, targets: Sequence[Target], results: Results) -> Iterator[None]:
    """Remark on it when the measured core was not left alone: lost caches and turns cost CPU too."""
    began, busy = time.monotonic(), busy_s(cores.measured) - _cpu_s(targets)
    yield
    share = (busy_s(cores.measured) - _cpu_s(targets) - busy) / (time.monotonic() - began)
    if cores.apart and share > _QUIET_SHARE:
        results.remarks.append(f"others took {share:.0%} of the measured core: repeat this on a quiet machine")


def _cpu_s(targets: Sequence[Target]) -> float:
    return sum(use_of(target.pid).cpu_s for target in targets if target.pid is not None)


def _actions(bench: Bench, plan: Plan) -> Iterator[tuple[str, Callable[[Target], None]]]:
    yield "latency", lambda target: scenarios.latency(bench, target, plan.open_s)
    yield "streams", lambda target: scenarios.event_streams(bench, target, plan.streams, plan.streams_s)
    for size in scenarios.SIZES:
        yield f"{size} requests", partial(scenarios.whole_answers, bench, size, plan.closed_s)


def compare_with_database(bench: Bench, database: Path) -> None:
    """See that every exchange measured has been recorded: a proxy that forgets them would be cheap."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        ((rows,),) = connection.execute("select count(*) from requests").fetchall()
    if rows < bench.answered:
        bench.results.remarks.append(f"only {rows} of {bench.answered} exchanges are in the database")


def _setting(plan: Plan, cores: Cores, bench: Bench, seconds: float) -> dict[str, object]:
    return {
        "load": "wrk" if bench.with_wrk else "own generator",
        "rounds": plan.rounds,
        "streams": plan.streams,
        "cores": f"{sorted(cores.measured)} measured, {sorted(cores.others)} upstream and load",
        "apart": "yes" if cores.apart else "no: one core for everything",
        "seconds": round(seconds),
    }
