"""The writer thread: it writes what the server has to keep, and watches for what others write.

It sleeps until there is something to write or to look at. What cannot be written stays, in order, and is
tried again. Exchanges come first: payloads and retention get the time between batches, in small steps.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ccflare.errors import StoreBusy, StoreError
from ccflare.journal.inbox import Inbox
from ccflare.journal.payloads import PayloadWriter
from ccflare.journal.pending import Pending, singles
from ccflare.journal.retention import Retention, Sweep
from ccflare.journal.trouble import Trouble
from ccflare.journal.watch import WatchedStore
from ccflare.payload import Captured
from ccflare.records import Exchange
from ccflare.store import Batch, Store

log = logging.getLogger("ccflare.async-db-writer")

_BINDINGS_KEPT_MS = 31 * 24 * 3_600_000
"""Longer than a session can be set to last."""
_FORGET_EVERY_S = 600.0
_FORGET_AT_ONCE = 1_000
_LAST_WORD_S = 2.0
"""How much longer a stop waits, for a call that is under way and for the line that says what was lost."""
_LAST_TRIES_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Pace:
    """How the writer works."""

    batch_s: float = 0.1
    """How long an exchange may wait for others to be written with it."""
    batch_rows: int = 500
    watch_s: float = 0.25
    """How often the store is asked whether others have changed it."""
    queue_bytes: int = 64 * 1024 * 1024
    """What may wait, about 40,000 exchanges. Beyond that they are counted, reported and not kept."""
    payload_bytes: int = 32 * 1024 * 1024
    """What may wait of payloads besides."""
    sweep_s: float = 60.0
    """How often retention looks for what has become too old or too much."""


class Writer:
    """Runs in a thread of its own from `start` to `stop`."""

    def __init__(
        self,
        inbox: Inbox,
        store: WatchedStore,
        pace: Pace,
        rules: Callable[[], Retention],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self.trouble = Trouble()
        self.payloads = PayloadWriter(inbox, store, rules)
        self.sweep = Sweep(store, rules, pace.sweep_s, leads)
        self.written = 0
        self.refused = 0
        """Exchanges that no store could take."""
        self._inbox = inbox
        self._store = store
        self._pace = pace
        self._thread = threading.Thread(target=self._run, name="async-db-writer", daemon=True)
        self._stop_by: float | None = None
        self._flushed = False
        self._write_at: float | None = None
        self._watch_at = self._forget_at = 0.0
        self._look_asked = False
        self._lost_reported = 0
        self._caught_up_at = time.monotonic()
        self._pending = Pending()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Write what waits and end the thread, in about `timeout_s`. True when nothing is left."""
        self._stop_by = time.monotonic() + timeout_s
        self._inbox.wake()
        self._thread.join(timeout_s + _LAST_WORD_S)
        return self._flushed

    def clean_up(self) -> "Future[None]":
        """Have retention run now; what is returned is done when nothing is left to delete."""
        done = self.sweep.ask()
        self._inbox.wake()
        return done

    def look_at_store(self) -> None:
        """Look now whether others have changed the store; any thread may ask for it."""
        self._look_asked = True
        self._inbox.wake()

    def look_again(self) -> None:
        """Have retention look soon: its rules are others now."""
        self.sweep.hurry()
        self._inbox.wake()

    @property
    def opened(self) -> bool:
        """Whether the store could be opened, now or earlier."""
        return self._store.opened

    def lag_s(self, now: float) -> float:
        """Return since when what has ended may not be in the store; 0 while no exchange waits."""
        return now - self._caught_up_at if self._inbox.waiting else 0.0

    # The thread.

    def _run(self) -> None:
        while self._stop_by is None:
            self._inbox.wait(self._pause_s(time.monotonic()))
            self._turn(time.monotonic())
        self._finish(self._stop_by)
        self.sweep.end()
        self._store.close()

    def _pause_s(self, now: float) -> float:
        if self.trouble:
            return max(0.0, self.trouble.retry_at - now)
        wake_at = min(self._watch_at, self.payloads.due_at, self.sweep.due_at)
        if self._write_at is not None:
            wake_at = min(wake_at, self._write_at)
        return max(0.0, wake_at - now)

    def _turn(self, now: float) -> None:
        """Do what is due. A failure of any kind puts things off and loses nothing."""
        if not self._waiting():
            self._caught_up_at = now
        if self.trouble:
            if now < self.trouble.retry_at:
                self.sweep.refuse(StoreBusy(self.trouble.error or "the database cannot be written"))
                return
            self._watch_at = now  # so that something is tried
        self._report_lost()
        try:
            if (now >= self._watch_at or self._look_asked) and self._waiting():
                self._write_all()  # before others' changes are read: they must not hide what was learnt here
            self._watch(now)
            if self._due(now):
                self._write_all()
        except StoreError as error:
            if not isinstance(error, StoreBusy):
                self._store.close()  # it may be the connection that is broken
            self._hit(error)
        except Exception as error:
            log.exception("Failed to execute DB job")
            self._hit(error)
        else:
            self.trouble.over(time.monotonic())
            self._use_the_time()

    def _hit(self, error: Exception) -> None:
        self.sweep.refuse(error)
        self.trouble.hit(error, time.monotonic(), f"{self._inbox.waiting} exchanges wait to be recorded")

    def _use_the_time(self) -> None:
        """Do one step of what is less urgent than exchanges: payloads, and when there are none, retention."""
        now = time.monotonic()
        if now >= self.payloads.due_at:
            self.payloads.write_some()
        elif now >= self.sweep.due_at and self._stop_by is None:
            self.sweep.step()

    def _waiting(self) -> bool:
        return bool(self._inbox or self._pending)

    def _due(self, now: float) -> bool:
        if not self._waiting():
            return False
        if self._write_at is None:
            self._write_at = now + self._pace.batch_s
        return now >= self._write_at or len(self._inbox) >= self._pace.batch_rows or bool(self.trouble)

    def _watch(self, now: float) -> None:
        """See to what others do, and in between forget sessions that ended long ago."""
        if now < self._watch_at and not self._look_asked:
            return
        self._look_asked = False
        self._watch_at = now + self._pace.watch_s
        self._store.look()
        if now >= self._forget_at:
            before_ms = int(time.time() * 1000) - _BINDINGS_KEPT_MS
            forgotten = self._store.here().forget_bindings(bound_before_ms=before_ms, at_most=_FORGET_AT_ONCE)
            self._forget_at = now if forgotten == _FORGET_AT_ONCE else now + _FORGET_EVERY_S

    # Writing.

    def _write_all(self) -> None:
        """Write everything that waits, in order, batch by batch. Raises what the store raises."""
        taken_at = time.monotonic()
        self._sort_in()
        while self._pending:
            batch = self._pending.batch(self._pace.batch_rows)
            self._store.rests.begin(self._inbox.waiting)
            written = self._write(self._store.here(), batch)
            self._pending.forget(batch)
            self._inbox.done(batch.exchanges)
            self.written += len(written)
            self._store.written(written)
        self._caught_up_at = taken_at
        # What came meanwhile has called nobody unless the queue was empty then.
        self._write_at = time.monotonic() + self._pace.batch_s if self._inbox else None

    def _sort_in(self) -> None:
        """Take what the loop has put: exchanges in order, of changes only the latest."""
        exchanges: list[Exchange] = []
        for item in self._inbox.take():
            match item:
                case Exchange():
                    self._pending.add(item)
                    exchanges.append(item)
                case Captured():
                    self.payloads.take(item)
                case Batch():
                    self._pending.merge(item)
        self._inbox.count(exchanges)

    def _write(self, store: Store, batch: Batch) -> Sequence[Exchange]:
        """Write a batch; return its exchanges that are in the store then."""
        try:
            store.write(batch)
        except ValueError:
            return self._write_singly(store, batch)
        return batch.exchanges

    def _write_singly(self, store: Store, batch: Batch) -> Sequence[Exchange]:
        """Find what no store can take, so that it does not hold up the rest."""
        written: list[Exchange] = []
        for single in singles(batch):
            try:
                store.write(single)
            except ValueError as error:
                self.refused += len(single.exchanges)
                subject = single.exchanges[0].id if single.exchanges else "a change"
                log.error("Failed to execute DB job: %s can never be stored: %s", subject, error)
            else:
                written += single.exchanges
        return written

    def _report_lost(self) -> None:
        lost = self._inbox.lost
        if lost > self._lost_reported:
            new, self._lost_reported = lost - self._lost_reported, lost
            log.error("Failed to execute DB job: the queue is full; %d exchanges were not recorded", new)
        self.payloads.report_dropped()

    # The end.

    def _finish(self, stop_by: float) -> None:
        """Write what waits, trying again until it works or time is up."""
        while self._waiting():
            now = time.monotonic()
            self.trouble.retry_at = now
            self._write_at = now
            self._turn(now)
            if self._waiting() and time.monotonic() >= stop_by:
                log.error(
                    "Failed to execute DB job: %s; %d exchanges were not recorded before the end",
                    self.trouble.error,
                    self._inbox.waiting,
                )
                return
            if self.trouble:
                time.sleep(_LAST_TRIES_EVERY_S)
        if not self.payloads.finish(stop_by):
            return
        self._flushed = True
        log.info("Async DB writer queue flushed")
