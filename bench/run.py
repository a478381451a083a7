"""One run: what is started, in which order it is measured, and when it ends at the latest."""

import asyncio
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench import scenarios, servers, wrk
from bench.machine import BenchError, Child, Cores, allow_many_files, busy_s, use_of
from bench.rows import Results
from bench.scenarios import Bench
from bench.servers import CCFLARE, DIRECT, NGINX, Ccflare, Place, Target, start_nginx, start_upstream

_IDLE_S = 1.0
_QUIET_SHARE = 0.03
_RECORDING_S = 3600.0

Action = Callable[[Target], None]


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
    idle_streams: int
    idle_s: float
    bodies: int
    rows: int
    """Of the history that is asked."""
    bound_s: float


DEFAULT = Plan(
    rounds=3, starts=5, lists=10, closed_s=3, open_s=3, streams=1000, streams_s=4, idle_streams=5000, idle_s=5,
    bodies=1500, rows=200_000, bound_s=270,
)  # fmt: skip
QUICK = Plan(
    rounds=1, starts=2, lists=3, closed_s=1, open_s=1, streams=1000, streams_s=2, idle_streams=5000, idle_s=2,
    bodies=1500, rows=20_000, bound_s=60,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for besides the plan."""

    peers: Sequence[Target] = ()
    upstream_port: int = 0


def run(plan: Plan, asked: Asked) -> tuple[Results, dict[str, object]]:
    """Measure everything; return what came of it and what it was measured with. Raises BenchError."""
    cores, began = Cores.of_this_machine(), time.monotonic()
    allow_many_files()
    os.sched_setaffinity(0, cores.others)
    results = Results([each.name for each in asked.peers])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccflare-bench-")))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        upstream = start_upstream(cores, directory, asked.upstream_port, stack)
        place = Place(cores, directory, upstream.port)
        bench = Bench(runner, directory, upstream, results, wrk.installed())
        ccflare = Ccflare(place)
        scenarios.commands(results, ccflare, plan.starts, plan.lists)
        with ExitStack() as started:
            targets = start(place, ccflare, started)
            lean = Ccflare(place, "home-lean", CCFLARE_STORE_PAYLOADS="0").start(started)
            everybody = [Target(DIRECT, upstream.port, None), *targets, *asked.peers]
            with watching_others(cores, [*targets, lean], results):
                bound = began + plan.bound_s * (1 + len(asked.peers) / 3)
                measure(bench, _actions(bench, plan, everybody, lean), plan.rounds, bound)
        measure_fresh(bench, place, plan)
        compare_with_databases(bench)
        record(place, plan.rows, results)
    return results, _setting(plan, cores, bench, time.monotonic() - began)


def start(place: Place, ccflare: Ccflare, stack: ExitStack) -> list[Target]:
    """Start everything that stands before the upstream."""
    return ([start_nginx(place, stack)] if shutil.which("nginx") else []) + [ccflare.start(stack)]


def _actions(
    bench: Bench, plan: Plan, targets: Sequence[Target], lean: Target
) -> list[tuple[str, Action, Sequence[Target]]]:
    """Return what is measured, in which way and of whom; within each, every round takes all of them in turn."""
    whole = scenarios.whole_answers
    return [
        *(
            (f"latency at {rate}/s", partial(scenarios.latency, bench, rate, plan.open_s), targets)
            for rate in scenarios.RATES
        ),
        ("streams", partial(scenarios.event_streams, bench, plan.streams, plan.streams_s), targets),
        *((f"{size} requests", partial(whole, bench, size, plan.closed_s), targets) for size in scenarios.SIZES),
        ("4k requests without payloads", partial(whole, bench, "4k", plan.closed_s, variant="_lean"), [lean]),
    ]


def measure(bench: Bench, actions: Sequence[tuple[str, Action, Sequence[Target]]], rounds: int, bound: float) -> None:
    """Go through all measurements, and look at the memory before and after."""
    everybody = actions[0][2]
    time.sleep(_IDLE_S)
    for target in everybody:
        scenarios.memory(bench, target, "memory_idle")
    for name, action, targets in actions:
        for number in range(rounds):
            if time.monotonic() > bound:
                bench.results.remarks.append(f"out of time: {name} has {number} of {rounds} rounds")
                break
            for target in targets:
                _attempt(bench, name, action, target)
    time.sleep(_IDLE_S)
    for target in everybody:
        scenarios.memory(bench, target, "memory_after")
        scenarios.peak(bench, target, "memory_peak")


def _attempt(bench: Bench, name: str, action: Action, target: Target) -> None:
    """Measure one target. A peer may fail: that is a remark; what we have started may not."""
    try:
        action(target)
    except BenchError as error:
        if target.name not in bench.results.peers:
            raise
        bench.results.remarks.append(f"{name}, {target.name}: {error}")


def measure_fresh(bench: Bench, place: Place, plan: Plan) -> None:
    """Measure what needs a process that has done nothing yet, each in one of its own."""
    ccflare = Ccflare(place, "home-fresh")
    starters = {CCFLARE: ccflare.start} | ({NGINX: partial(start_nginx, place)} if shutil.which("nginx") else {})
    actions = (
        partial(scenarios.idle_streams, bench, plan.idle_streams, plan.idle_s),
        partial(scenarios.bodies, bench, plan.bodies),
    )
    for action in actions:
        for begin in starters.values():
            with ExitStack() as stack:
                target = begin(stack)
                time.sleep(_IDLE_S)
                action(target)


def record(place: Place, rows: int, results: Results) -> None:
    """Measure the writer and the questions in a process of their own, on the measured core."""
    command = [sys.executable, "-m", "bench.recording", "--rows", str(rows), "--directory", str(place.directory)]
    child = Child(command, place.cores.measured, place.directory, servers.environ())
    try:
        said, status = child.finish(b"", _RECORDING_S)
    finally:
        child.stop()
    if status != 0:
        raise BenchError(f"the measurement of the writer failed: {child.complaint()}")
    for row, values in json.loads(said).items():
        for value in values:
            results.add(row, CCFLARE, value)


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


def compare_with_databases(bench: Bench) -> None:
    """See that every exchange measured has been recorded: a proxy that forgets them would be cheap."""
    for database, answered in bench.answered.items():
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            ((rows,),) = connection.execute("select count(*) from requests").fetchall()
        if rows < answered:
            bench.results.remarks.append(f"only {rows} of {answered} exchanges are in the database")


def _setting(plan: Plan, cores: Cores, bench: Bench, seconds: float) -> dict[str, object]:
    return {
        "load": "wrk" if bench.with_wrk else "own generator",
        "rounds": plan.rounds,
        "streams": plan.streams,
        "idle_streams": plan.idle_streams,
        "bodies": plan.bodies,
        "rows": plan.rows,
        "cores": f"{sorted(cores.measured)} measured, {sorted(cores.others)} upstream and load",
        "apart": "yes" if cores.apart else "no: one core for everything",
        "seconds": round(seconds),
    }
