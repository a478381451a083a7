"""The measurements. Each takes one target through one round and notes what came of it."""

import asyncio
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import load, payload, wrk
from bench.load import Served
from bench.machine import Use, forget_peak, own_cpu_s, use_of
from bench.rows import Results
from bench.servers import CCFLARE, Ccflare, Target
from bench.streams import Streamed, paced_streams

SIZES = {"4k": 4 * 1024, "100k": 100 * 1024}
"""Bytes of a request's body."""
SESSIONS = 256
"""Different sessions in turn, each a request of its own bytes."""
RATES = (200, 1000)
"""Requests per second of the open loops."""
BODY_BYTES = 150 * 1024
BODIES_APART = 100
"""Different ones of them; more would take memory here and show nothing."""
WARM_UP_S = 1.0
SETTLE_S = 0.4
"""After a load, for what is written behind it: that belongs to its cost."""
_MB = 1e6
_NS_PER_MS = 1e6


@dataclass(slots=True)
class Bench:
    """What measurements work with. `answered` counts the answers each database has to have recorded."""

    runner: asyncio.Runner
    directory: Path
    upstream: Target
    results: Results
    with_wrk: bool
    answered: Counter[Path] = field(default_factory=Counter)
    _requests: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)

    def requests(self, target: Target, size: int) -> list[bytes]:
        """Return the requests of one size for a target; they name it in `Host`."""
        key = (target.authority, size)
        if key not in self._requests:
            self._requests[key] = payload.requests(target.prefix + payload.MESSAGES, target.authority, size, SESSIONS)
        return self._requests[key]

    def note(self, what: str, target: Target, came: Served | Streamed) -> None:
        """Count what was served; a failure is a remark, for then the numbers mean less."""
        if target.database is not None:
            self.answered[target.database] += came.answers
        if came.failures:
            self.results.remarks.append(f"{what}, {target.name}: {came.failures} failed, {came.answers} did not")


def whole_answers(bench: Bench, name: str, seconds: float, target: Target, *, variant: str = "") -> None:
    """Measure CPU per request and requests per second under a closed loop."""
    size, add = SIZES[name], bench.results.add
    _closed_loop(bench, target, size, WARM_UP_S)
    before, tools_s = _use(target), _tools_s(bench)
    served = _closed_loop(bench, target, size, seconds)
    after, spent_s = _use(target), _tools_s(bench) - tools_s
    add(f"rate_{name}{variant}", target.name, served.answers / served.seconds)
    add(f"tools_{name}{variant}", target.name, spent_s / served.seconds * 100)
    if before and after and served.answers:
        add(f"cpu_{name}{variant}", target.name, (after.cpu_s - before.cpu_s) / served.answers * 1e6)


def _tools_s(bench: Bench) -> float:
    """Return what the upstream and the load generators have used."""
    assert bench.upstream.pid is not None
    return use_of(bench.upstream.pid).cpu_s + own_cpu_s()


def _closed_loop(bench: Bench, target: Target, size: int, seconds: float) -> Served:
    requests = bench.requests(target, size)
    if bench.with_wrk:
        path = bench.directory / f"requests-{target.name}-{target.port}-{size}"
        if not path.exists():
            wrk.write_requests(path, requests)
        served = wrk.closed_loop(target.authority, path, seconds)
    else:
        served = bench.runner.run(load.closed_loop(target.address, requests, seconds))
    time.sleep(SETTLE_S)
    bench.note(f"{size} byte requests", target, served)
    return served


def latency(bench: Bench, per_second: int, seconds: float, target: Target) -> None:
    """Measure how long answers take at a steady rate."""
    requests = bench.requests(target, SIZES["4k"])
    served = bench.runner.run(load.open_loop(target.address, requests, per_second, seconds))
    bench.note(f"{per_second} requests per second", target, served)
    ordered = sorted(served.latencies_ns)
    bench.results.add(f"latency_{per_second}_p50", target.name, percentile(ordered, 50) / _NS_PER_MS)
    bench.results.add(f"latency_{per_second}_p99", target.name, percentile(ordered, 99) / _NS_PER_MS)


def event_streams(bench: Bench, count: int, seconds: float, target: Target) -> None:
    """Measure CPU and added delay per event of many paced streams, and the memory they take."""
    streamed, (before, after) = _streams(bench, payload.STREAM, count, seconds, target)
    ordered = sorted(streamed.delays_ns)
    bench.results.add("delay_p50", target.name, percentile(ordered, 50) / _NS_PER_MS)
    bench.results.add("delay_p99", target.name, percentile(ordered, 99) / _NS_PER_MS)
    if before and after and ordered:
        bench.results.add("cpu_event", target.name, (after.cpu_s - before.cpu_s) / len(ordered) * 1e6)
        bench.results.add("memory_streams", target.name, after.resident_bytes / _MB)


def idle_streams(bench: Bench, count: int, seconds: float, target: Target) -> None:
    """Measure memory and CPU of open streams that say nothing, and see that all get their end."""
    empty = _use(target)
    streamed, (before, after) = _streams(bench, payload.IDLE, count, seconds, target)
    bench.results.add("idle_ended", target.name, streamed.answers)
    bench.results.add("idle_ended_of", target.name, count)
    if empty and before and after:
        bench.results.add("idle_memory", target.name, (after.resident_bytes - empty.resident_bytes) / count / 1024)
        bench.results.add("idle_cpu", target.name, (after.cpu_s - before.cpu_s) / streamed.seconds * 1e3)


def _streams(
    bench: Bench, path: str, count: int, seconds: float, target: Target
) -> tuple[Streamed, tuple[Use | None, Use | None]]:
    """Open streams; return what came of them, and what had been used when the measured time began and ended."""
    requests = payload.requests(target.prefix + path, target.authority, 4096, count, stream=True)
    uses: list[Use | None] = []
    streamed = bench.runner.run(
        paced_streams(target.address, bench.upstream.address, requests, seconds, lambda: uses.append(_use(target)))
    )
    bench.note(f"{count} streams", target, streamed)
    return streamed, (uses[0], uses[1])


def bodies(bench: Bench, count: int, target: Target) -> None:
    """Measure the memory of many long requests in flight at once, and what comes of them."""
    if target.pid is not None:
        forget_peak(target.pid)
    requests = payload.requests(target.prefix + payload.HOLD, target.authority, BODY_BYTES, BODIES_APART)
    repeated = [requests[number % BODIES_APART] for number in range(count)]
    came = bench.runner.run(load.held_requests(target.address, bench.upstream.address, repeated))
    bench.results.add("bodies_served", target.name, came.served)
    bench.results.add("bodies_served_of", target.name, count)
    if came.refused or came.lost:
        bench.results.remarks.append(f"bodies in flight, {target.name}: {came.refused} refused, {came.lost} lost")
    time.sleep(SETTLE_S)
    if target.database is not None:
        bench.answered[target.database] += came.served
    after = _use(target)
    if after:
        bench.results.add("bodies_memory", target.name, after.peak_bytes / _MB)
        bench.results.add("bodies_after", target.name, after.resident_bytes / _MB)


def peak(bench: Bench, target: Target, row: str) -> None:
    """Note the most memory a target has ever taken."""
    use = _use(target)
    if use:
        bench.results.add(row, target.name, use.peak_bytes / _MB)


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
