"""How a server does at this moment, as metrics: gathered when somebody asks, from what its parts know anyway."""

import contextlib
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias, get_args

from ccflare import __version__
from ccflare.clock import Clock
from ccflare.journal import Journal
from ccflare.metrics import Distribution, Metric, Snapshot, Tally, table
from ccflare.pool import Pool, Standing
from ccflare.proxy import Proxy
from ccflare.records import State
from ccflare.refresh import Refresher
from ccflare.transport import Transport

STATES: tuple[State, ...] = get_args(State)

_PROC = Path("/proc/self")
_OWN_FILES = 1
"""The directory of open files is itself open while it is counted."""

Value: TypeAlias = tuple[Metric, float]


@dataclass(frozen=True, slots=True)
class Vitals:
    """The parts of one process that are asked."""

    clock: Clock
    pool: Pool
    proxy: Proxy
    transport: Transport
    refresher: Refresher
    journal: Journal
    tally: Tally
    followers: Callable[[], int]
    """How many follow the streams of the API."""
    delays: Distribution = field(default_factory=lambda: Distribution(table.LOOP_DELAY))
    """How late the event loop was."""

    def look(self) -> Callable[[], Snapshot]:
        """Look at this process, on its event loop; return what makes the numbers of it, best called in a thread."""
        standings = self.pool.states(int(self.clock.now() * 1000))
        return partial(self._whole, self._here(), standings, dict(self.refresher.counts))

    def _whole(
        self, snapshot: Snapshot, standings: Sequence[Standing], refreshes: Mapping[tuple[str, str], int]
    ) -> Snapshot:
        """Add what there is much of where there are many accounts, and what the system has to be asked."""
        self.tally.read(snapshot, {standing.account.id: standing.account.name for standing in standings})
        for standing in standings:
            _read_account(snapshot, standing)
        for (account_id, outcome), count in refreshes.items():
            snapshot.add(table.REFRESHES, (count,), (self.tally.name(account_id), outcome))
        for metric, value in _process():
            snapshot.put(metric, value)
        return snapshot

    def _here(self) -> Snapshot:
        snapshot = Snapshot()
        snapshot.add(table.LOOP_DELAY, self.delays.numbers())
        snapshot.put(table.UPSTREAM, self.transport.connections_idle, "idle")
        snapshot.put(table.UPSTREAM, self.transport.connections_in_use, "in_use")
        snapshot.put(table.BUILD, 1, __version__, platform.python_version())
        for values in (self._now(), self._writer()):
            for metric, value in values:
                snapshot.put(metric, value)
        return snapshot

    def _now(self) -> Iterator[Value]:
        yield table.IN_FLIGHT, self.proxy.in_flight
        yield table.STREAMS, sum(exchange.streamed for exchange in self.proxy.open.values())
        yield table.FOLLOWERS, self.followers()
        yield table.RETRY_BUDGET, self.proxy.budget.left(int(self.clock.now() * 1000))
        yield table.WORKERS, 1

    def _writer(self) -> Iterator[Value]:
        state = self.journal.state()
        yield table.QUEUE_ROWS, state.waiting
        yield table.QUEUE_BYTES, state.waiting_bytes
        yield table.WRITTEN, state.written
        yield table.LOST, state.lost
        yield table.WRITER_LAG, state.lag_s
        yield table.WRITER_FAILING, state.failing_s
        yield table.PAYLOADS_WAITING, state.payloads_waiting
        yield table.PAYLOAD_BYTES, state.payload_bytes_waiting
        yield table.PAYLOADS_WRITTEN, state.payloads_written
        yield table.PAYLOADS_DROPPED, state.payloads_dropped


def _read_account(snapshot: Snapshot, standing: Standing) -> None:
    account, name = standing.account, standing.account.name
    for state in STATES:
        snapshot.put(table.ACCOUNT_STATE, int(state == standing.state), name, state)
    if standing.state == "rate_limited" and account.limited_until_ms is not None:
        snapshot.put(table.ACCOUNT_LIMITED_UNTIL, account.limited_until_ms / 1000, name)
    snapshot.put(table.ACCOUNT_IN_FLIGHT, standing.in_flight, name)
    snapshot.put(table.ACCOUNT_SESSIONS, standing.sessions, name)
    for window in standing.windows:
        if window.utilization is not None:
            snapshot.put(table.WINDOW_UTILIZATION, window.utilization, name, window.name)
        if window.reset_ms is not None:
            snapshot.put(table.WINDOW_RESET, window.reset_ms / 1000, name, window.name)
    for budget in standing.budgets:
        if budget.limit is not None:
            snapshot.put(table.BUDGET_LIMIT, budget.limit, name, budget.name)
        if budget.remaining is not None:
            snapshot.put(table.BUDGET_REMAINING, budget.remaining, name, budget.name)


def _process() -> Iterator[Value]:
    """Yield what the system says about this process; what it does not say is left out."""
    times = os.times()
    yield table.CPU, times.user + times.system
    if sys.platform == "linux":
        yield from _proc()


def _proc() -> Iterator[Value]:
    with contextlib.suppress(OSError, ValueError):
        virtual, resident, *_ = (_PROC / "statm").read_text().split()
        yield table.RESIDENT, int(resident) * os.sysconf("SC_PAGE_SIZE")
        yield table.VIRTUAL, int(virtual) * os.sysconf("SC_PAGE_SIZE")
        yield table.OPEN_FDS, len(os.listdir(_PROC / "fd")) - _OWN_FILES
        yield table.MAX_FDS, _most_files()
        yield table.STARTED, _started_at()


def _most_files() -> float:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft


@cache
def _started_at() -> float:
    """Return when this process was started, in seconds since the epoch (proc(5): field 22 of stat, after the name)."""
    ticks = int((_PROC / "stat").read_text().rpartition(")")[2].split()[19])
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
