"""Throughput with several workers against one: `python -m bench.workers [--seconds S] [--rounds N]`.

Here everything shares all cores, because on a small machine there is no core to spare for the tools: upstream and load
generator take about 25 us of each request's time, so two workers on two cores cannot double what one does. What one
worker does with the tools beside it, on a core of their own, is the first line. Needs `wrk`.
"""

import argparse
import json
import statistics
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import payload, wrk
from bench.machine import BenchError, Cores, allow_many_files, children, use_of
from bench.scenarios import SESSIONS, SIZES
from bench.servers import START_S, Ccflare, Place, Target, start_upstream


@dataclass(frozen=True, slots=True)
class Setting:
    """How many workers, and whether the tools have cores of their own."""

    workers: int
    apart: bool

    def __str__(self) -> str:
        where = "tools on another core" if self.apart else "all on all cores"
        return f"{self.workers} worker{'s' if self.workers > 1 else ''}, {where}"


SETTINGS = (Setting(1, apart=True), Setting(1, apart=False), Setting(2, apart=False))


@dataclass(slots=True)
class Measured:
    """The rounds of one setting."""

    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """Of all processes of the server, per request."""
    shares: list[float] = field(default_factory=list)
    """Of the workers' CPU time, the busiest one's."""
    failures: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    allow_many_files()
    found: defaultdict[Setting, Measured] = defaultdict(Measured)
    for _ in range(given.rounds):
        for setting in SETTINGS:
            with ExitStack() as stack:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccflare-bench-")))
                measure(setting, directory, given.seconds, found[setting], stack)
    for setting, measured in found.items():
        print(
            f"{setting!s:36} {statistics.median(measured.rates):8.0f} requests/s "
            f"{statistics.median(measured.cpu_us):6.0f} us CPU each, busiest worker "
            f"{statistics.median(measured.shares):.0%}, {measured.failures} failed"
        )
    return 0


def measure(setting: Setting, directory: Path, seconds: int, into: Measured, stack: ExitStack) -> None:
    """Start everything anew, and take one round."""
    cores = Cores.of_this_machine()
    if not setting.apart:
        every = cores.measured | cores.others
        cores = Cores(every, every)
    upstream = start_upstream(cores, directory, 0, stack)
    place = Place(cores, directory, upstream.port)
    target = Ccflare(place, CCFLARE_WORKERS=str(setting.workers)).start(stack)
    wait_for_workers(target, setting.workers)
    requests = directory / "requests"
    wrk.write_requests(requests, payload.requests(payload.MESSAGES, target.authority, SIZES["4k"], SESSIONS))
    wrk.closed_loop(target.authority, requests, 1)
    before = cpu_of(target)
    served = wrk.closed_loop(target.authority, requests, seconds)
    spent = [after - then for after, then in zip(cpu_of(target), before, strict=True)]
    into.rates.append(served.answers / served.seconds)
    into.cpu_us.append(sum(spent) / served.answers * 1e6)
    into.shares.append(max(spent[1:] or spent) / sum(spent[1:] or spent))
    into.failures += served.failures


def wait_for_workers(target: Target, workers: int) -> None:
    """Wait until all of them serve. Raises BenchError."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        with urllib.request.urlopen(f"http://{target.authority}/health") as answer:
            if json.load(answer)["workers"]["answering"] == workers:
                return
        time.sleep(0.05)
    raise BenchError(f"{workers} workers did not come up")


def cpu_of(target: Target) -> list[float]:
    """Return what the process itself has used, and behind it each of its workers. Raises BenchError."""
    if target.pid is None:
        raise BenchError("whose CPU time counts is not known")
    workers = [use_of(child).cpu_s for child in children(target.pid)]
    return [use_of(target.pid).cpu_s - sum(workers), *workers]


if __name__ == "__main__":
    raise SystemExit(main())
