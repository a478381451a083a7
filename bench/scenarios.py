"""The measurements. Each takes one target through one round and notes what came of it."""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import load, payload, wrk
from bench.load import Served
from bench.machine import Use, use_of
from bench.rows import Results
from bench.servers import CCFLARE, Ccflare, Target
from bench.streams import Streamed, paced_streams

SIZES = {"4k": 4 * 1024, "100k": 100 * 1024}
"""Bytes of a request's body."""
SESSIONS = 256
"""Different sessions in turn, each a request of its own bytes."""
OPEN_LOOP_PER_S = 200
WARM_UP_S = 1.0
SETTLE_S = 0.4
"""After a load, for what is written behind it: that belongs to its cost."""
_MB = 1e6
_NS_PER_MS = 1e6


@dataclass(slots=True)
class Bench:
    """What measurements work with. `answered` counts ccflare's answers, all of which it has to record."""

    runner: asyncio.Runner
    directory: Path
    upstream_port: int
    results: Results
    with_wrk: bool
    answered: int = 0
    _requests: dict[tuple[str, int, int], list[bytes]] = field(default_factory=dict)

    def requests(self, target: Target, size: int) -> list[bytes]:
        """Return the requests of one size for a target; they name it in `Host`."""
        key = (payload.MESSAGES, target.port, size)
        if key not in self._requests:
            self._requests[key] = payload.requests(payload.MESSAGES, f"127.0.0.1:{target.port}", size, SESSIONS)
        return self._requests[key]

    def note(self, what: str, target: Target, came: Served | Streamed) -> None:
        """Count what was served; a failure is a remark, for then the numbers mean less."""
        if target.name == CCFLARE:
            self.answered += came.answers
        if came.failures:
            self.results.remarks.append(f"{what}, {target.name}: {came.failures} failed, {came.answers} did not")


def whole_answers(bench: Bench, name: str, seconds: float, target: Target) -> None:
    """Measure CPU per request and requests per second under a closed loop."""
    size = SIZES[name]
    _closed_loop(bench, target, size, WARM_UP_S)
    before = _use(target)
    served = _closed_loop(bench, target, size, seconds)
    after = _use(target)
    bench.results.add(f"rate_{name}", target.name, served.answers / served.seconds)
    if before and after and served.answers:
        bench.results.add(f"cpu_{name}", target.name, (after.cpu_s - before.cpu_s) / served.answers * 1e6)


def _closed_loop(bench: Bench, target: Target, size: int, seconds: float) -> Served:
    requests = bench.requests(target, size)
    if bench.with_wrk:
        path = bench.directory / f"requests-{target.name}-{size}"
        if not path.exists():
            wrk.write_requests(path, requests)
        served = wrk.closed_loop(target.port, path, seconds)
    else:
        served = bench.runner.run(load.closed_loop(target.port, requests, seconds))
    time.sleep(SETTLE_S)
    bench.note(f"{size} byte requests", target, served)
    return served


def latency(bench: Bench, target: Target, seconds: float) -> None:
    """Measure how long answers take at a steady rate that is far from the limit."""
    served = bench.runner.run(
        load.open_loop(target.port, bench.requests(target, SIZES["4k"]), OPEN_LOOP_PER_S, seconds)
    )
    bench.note(f"{OPEN_LOOP_PER_S} requests per second", target, served)
    ordered = sorted(served.latencies_ns)
    bench.results.add("latency_p50", target.name, percentile(ordered, 50) / _NS_PER_MS)
    bench.results.add("latency_p99", target.name, percentile(ordered, 99) / _NS_PER_MS)


def event_streams(bench: Bench, target: Target, count: int, seconds: float) -> None:
    """Measure CPU and added delay per event of many paced streams, and the memory they take."""
    requests = payload.requests(payload.STREAM, f"127.0.0.1:{target.port}", 4096, count, stream=True)
    uses: list[Use | None] = []
    streamed = bench.runner.run(
        paced_streams(target.port, bench.upstream_port, requests, seconds, lambda: uses.append(_use(target)))
    )
    bench.note(f"{count} streams", target, streamed)
    ordered = sorted(streamed.delays_ns)
    bench.results.add("delay_p50", target.name, percentile(ordered, 50) / _NS_PER_MS)
    bench.results.add("delay_p99", target.name, percentile(ordered, 99) / _NS_PER_MS)
    before, after = uses
    if before and after and ordered:
        bench.results.add("cpu_event", target.name, (after.cpu_s - before.cpu_s) / len(ordered) * 1e6)
        bench.results.add("memory_streams", target.name, after.resident_bytes / _MB)


def memory(bench: Bench, target: Target, row: str) -> None:
    """Note how much memory a target takes at this moment."""
    use = _use(target)
    if use:
        bench.results.add(row, target.name, use.resident_bytes / _MB)


def commands(results: Results, ccflare: Ccflare, starts: int, lists: int) -> None:
    """Measure how long the server takes to be ready, and a command to answer."""
    for _ in range(starts):
        with ExitStack() as stack:
            began = time.perf_counter()
            ccflare.start(stack)
            results.add("start", CCFLARE, (time.perf_counter() - began) * 1e3)
    for _ in range(lists):
        began = time.perf_counter()
        ccflare.list_accounts()
        results.add("list", CCFLARE, (time.perf_counter() - began) * 1e3)


def percentile(ordered: list[int], percent: int) -> float:
    """Return the nearest-rank percentile of sorted values; of none at all, not a number."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else float("nan")


def _use(target: Target) -> Use | None:
    return use_of(target.pid) if target.pid is not None else None
