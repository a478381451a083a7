"""What happened is kept here: a queue on the event loop's side, on the other a writer thread with its store.

The loop never waits: `put` appends and returns. The thread writes about every 100 ms, keeps what cannot be
written now, and watches the store for changes that other processes make.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ccflare.errors import StoreBusy
from ccflare.forecast import AccountWindows
from ccflare.journal.inbox import Inbox
from ccflare.journal.retention import Removed, Retention
from ccflare.journal.trouble import TroubleKind
from ccflare.journal.watch import OnAccounts, OnKeys, OnLearnt, OnWritten, WatchedStore
from ccflare.journal.writer import Pace, Writer
from ccflare.records import Account, Binding, Exchange, Owned
from ccflare.store import Batch, Store

__all__ = [
    "Journal",
    "OnAccounts",
    "OnKeys",
    "OnWritten",
    "Pace",
    "Removed",
    "Retention",
    "TroubleKind",
    "WriterState",
    "together",
]


@dataclass(frozen=True, slots=True)
class WriterState:
    """How the writer is doing, for `/health` and people."""

    waiting: int
    """Exchanges that are not in the store yet."""
    waiting_bytes: int
    written: int
    lost: int
    """Exchanges that could not be kept: the queue was full, or no store could take them."""
    failing_s: float
    """For how many seconds nothing has worked; 0 when all is well."""
    error: str | None
    """What went wrong last, for the log: it may name the database's path."""
    trouble: TroubleKind | None = None
    """The same in a word, for everybody."""
    payloads_waiting: int = 0
    """Payloads that are not in the store yet, and about how many bytes of memory they hold."""
    payload_bytes_waiting: int = 0
    payloads_written: int = 0
    payloads_dropped: int = 0
    """Payloads that could not be kept: too many waited, or no store could take them."""
    lag_s: float = 0.0
    """What ended longer ago than this is in the store; 0 while nothing waits."""
    opened: bool = False
    """The store could be opened, now or earlier."""


class Journal:
    """Keeps exchanges and the pool's changes. Everything here belongs to the event loop's thread.

    `open_store` is called in the writer's thread, again whenever the database was lost; with a short busy
    timeout (1 s) the writer stays responsive. `on_accounts` is called on the loop with the accounts and their
    secrets: once after the start, and within 250 ms after another process has changed them. `on_written` is called
    on the loop once for each batch, with the exchanges that are in the store now: while the store fails with none,
    and never with those that it cannot take. `on_keys` is called like `on_accounts`, with the client keys. `count` is
    called with every exchange once, whether it comes to be kept or not: within a batch's time in the writer's thread,
    on the loop where the queue has no room.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        on_accounts: OnAccounts,
        pace: Pace | None = None,
        *,
        on_written: OnWritten | None = None,
        on_keys: OnKeys | None = None,
        count: Callable[[Sequence[Exchange]], None] | None = None,
    ) -> None:
        self._open_store = open_store
        self._on_accounts = on_accounts
        self._on_written = on_written
        self._on_keys = on_keys
        self._pace = pace or Pace()
        count = count or _count_nothing
        self._inbox = Inbox(self._pace.queue_bytes, self._pace.batch_rows, self._pace.payload_bytes, count)
        self._writer: Writer | None = None
        self.put = self._inbox.put
        """Keep a finished exchange, and what was captured of it. Never waits."""
        self._rules = Retention()
        self.on_learnt: OnLearnt | None = None
        """Called on the loop with bindings and owners that other processes have learnt, and perhaps with own ones."""
        self.leads: Callable[[], bool] = lambda: True
        """Says whether this journal does what one is enough for, deleting what is too old; set it before the start."""

    def start(self) -> None:
        """Start the writer. The running event loop is the one that is told about accounts."""
        loop = asyncio.get_running_loop()
        told = self._on_accounts, self._on_written, self._on_keys, self.on_learnt
        store = WatchedStore(self._open_store, loop, *told)
        self._writer = Writer(self._inbox, store, self._pace, lambda: self._rules, self.leads)
        self._writer.start()

    @property
    def rules(self) -> Retention:
        """What is kept for how long. May be replaced at any time; other rules count at once."""
        return self._rules

    @rules.setter
    def rules(self, rules: Retention) -> None:
        if rules != self._rules:
            self._rules = rules
            if self._writer is not None:
                self._writer.look_again()

    def put_changes(
        self,
        accounts: Sequence[Account] = (),
        bindings: Sequence[Binding] = (),
        owners: Sequence[Owned] = (),
        windows: Sequence[AccountWindows] = (),
        keys_used: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Keep what the pool has learnt, of accounts only the run-time fields. Never waits."""
        if accounts or bindings or owners or windows or keys_used:
            self._inbox.put_changes(
                Batch(accounts=accounts, bindings=bindings, owners=owners, windows=windows, keys_used=keys_used)
            )

    def look(self) -> None:
        """Have the writer look now whether others have changed the store: somebody says so."""
        if self._writer is not None:
            self._writer.look_at_store()

    async def clean_up(self, within_s: float = 30.0) -> Removed:
        """Have the writer delete now what retention does not keep; return what was removed by that.

        What takes longer than `within_s` goes on by itself. Raises StoreBusy when the writer is not running, and
        StoreError when the database cannot be changed.
        """
        writer = self._writer
        if writer is None:
            raise StoreBusy("the database's writer is not running")
        before = writer.sweep.removed
        done = asyncio.wrap_future(writer.clean_up())
        done.add_done_callback(_forget)
        finished, _ = await asyncio.wait([done], timeout=within_s)
        if finished:
            done.result()
        return writer.sweep.removed.since(before, complete=bool(finished))

    async def close(self, timeout_s: float = 5.0) -> bool:
        """Write what waits and stop. False when something could not be written in time; that is lost."""
        if self._writer is None:
            return not self._inbox
        return await asyncio.to_thread(self._writer.stop, timeout_s)

    def state(self) -> WriterState:
        """Say how the writer is doing."""
        inbox, writer = self._inbox, self._writer
        return WriterState(
            waiting=inbox.waiting,
            waiting_bytes=inbox.waiting_bytes,
            written=writer.written if writer else 0,
            lost=inbox.lost + (writer.refused if writer else 0),
            failing_s=writer.trouble.lasting_s(time.monotonic()) if writer else 0.0,
            error=writer.trouble.error if writer else None,
            trouble=writer.trouble.kind if writer else None,
            payloads_waiting=inbox.payloads,
            payload_bytes_waiting=inbox.payload_bytes,
            payloads_written=writer.payloads.written if writer else 0,
            payloads_dropped=inbox.payloads_dropped + (writer.payloads.refused if writer else 0),
            lag_s=writer.lag_s(time.monotonic()) if writer else 0.0,
            opened=writer is not None and writer.opened,
        )


def together(states: Sequence[WriterState]) -> WriterState:
    """Return how several writers are doing: their sums, and the trouble of the one that has failed for longest."""
    worst = max(states, key=lambda state: state.failing_s)
    return WriterState(
        waiting=sum(state.waiting for state in states),
        waiting_bytes=sum(state.waiting_bytes for state in states),
        written=sum(state.written for state in states),
        lost=sum(state.lost for state in states),
        failing_s=worst.failing_s,
        error=worst.error,
        trouble=worst.trouble,
        payloads_waiting=sum(state.payloads_waiting for state in states),
        payload_bytes_waiting=sum(state.payload_bytes_waiting for state in states),
        payloads_written=sum(state.payloads_written for state in states),
        payloads_dropped=sum(state.payloads_dropped for state in states),
        lag_s=max(state.lag_s for state in states),
        opened=all(state.opened for state in states),
    )


def _count_nothing(_exchanges: Sequence[Exchange]) -> None:
    """Stand for nobody who counts."""


def _forget(done: "asyncio.Future[None]") -> None:
    """Take note of an outcome that nobody may be waiting for any more."""
    if not done.cancelled():
        done.exception()
