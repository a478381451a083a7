"""What happened is kept here: a queue on the event loop's side, on the other a writer thread with its store.

The loop never waits: `put` appends and returns. The thread writes about every 100 ms, keeps what cannot be
written now, and watches the store for changes that other processes make.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ccflare.journal.inbox import Changes, Inbox
from ccflare.journal.watch import OnAccounts, WatchedStore
from ccflare.journal.writer import Pace, Writer
from ccflare.records import Account, Binding
from ccflare.store import Store

__all__ = ["Journal", "OnAccounts", "Pace", "WriterState"]


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


class Journal:
    """Keeps exchanges and the pool's changes. Everything here belongs to the event loop's thread.

    `open_store` is called in the writer's thread, again whenever the database was lost; with a short busy
    timeout (1 s) the writer stays responsive. `on_accounts` is called on the loop with the accounts and their
    secrets: once after the start, and within 250 ms after another process has changed them.
    """

    def __init__(self, open_store: Callable[[], Store], on_accounts: OnAccounts, pace: Pace | None = None) -> None:
        self._open_store = open_store
        self._on_accounts = on_accounts
        self._pace = pace or Pace()
        self._inbox = Inbox(self._pace.queue_bytes, self._pace.batch_rows)
        self._writer: Writer | None = None
        self.put = self._inbox.put
        """Keep a finished exchange. Never waits."""

    def start(self) -> None:
        """Start the writer. The running event loop is the one that is told about accounts."""
        store = WatchedStore(self._open_store, asyncio.get_running_loop(), self._on_accounts)
        self._writer = Writer(self._inbox, store, self._pace)
        self._writer.start()

    def put_changes(self, accounts: Sequence[Account], bindings: Sequence[Binding]) -> None:
        """Keep accounts whose run-time fields changed and bindings that were made or used. Never waits."""
        if accounts or bindings:
            self._inbox.put_changes(Changes(accounts, bindings))

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
        )
