"""Payloads on their way into the store: after their exchanges, redacted, a little at a time, and gladly dropped."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable

from ccflare.coding import decoder
from ccflare.errors import StoreBusy, StoreError
from ccflare.journal.inbox import Inbox
from ccflare.journal.retention import Retention
from ccflare.journal.searched import SearchedBodies
from ccflare.journal.trouble import REPORT_EVERY_S, Trouble
from ccflare.journal.watch import WatchedStore
from ccflare.payload import Captured, Payload, redacted
from ccflare.store import packing  # noqa: F401  # a server has it from the start: descriptors may run out later
from ccflare.store.difference import Told

log = logging.getLogger("ccflare.async-db-writer")

_AT_ONCE = 256
_BYTES_AT_ONCE = 2 * 1024 * 1024
"""About 10 ms of work; a single payload may be more. The more at once, the fewer pages are written."""
_LAST_TRIES_EVERY_S = 0.05
_DECODED_BYTES = 4 * 1024 * 1024
"""So much of a coded body is looked through for credentials."""


class PayloadWriter:
    """The payloads whose exchanges are in the store. Belongs to the writer's thread."""

    def __init__(self, inbox: Inbox, store: WatchedStore, rules: Callable[[], Retention]) -> None:
        self.written = 0
        self.refused = 0
        """Payloads that could not be redacted, or that no store could take."""
        self._inbox = inbox
        self._store = store
        self._rules = rules
        self._waiting: deque[Captured] = deque()
        self._searched = SearchedBodies()
        self._trouble = Trouble()
        self._reported, self._report_at = 0, 0.0

    def take(self, captured: Captured) -> None:
        """Take a payload over; its exchange is written before the next step."""
        self._waiting.append(captured)

    @property
    def due_at(self) -> float:
        """The monotonic second of the next step."""
        return self._trouble.retry_at if self._waiting else math.inf

    def write_some(self) -> None:
        """Write the first few. A failing store puts them off; meanwhile new ones push no exchange aside."""
        batch = self._next()
        self._store.rests.begin(len(self._waiting))
        try:
            (payloads, told), budget_bytes = self._redacted(batch), self._rules().payload_bytes
            self.written += self._store.here().payloads.write(payloads, told, budget_bytes=budget_bytes)
        except StoreError as error:
            if not isinstance(error, StoreBusy):
                self._store.close()  # it may be the connection that is broken
            self._trouble.hit(error, time.monotonic(), f"{len(self._waiting)} payloads wait")
            return
        except Exception:
            log.exception("Failed to execute DB job: %d payloads are not kept", len(batch))
            self.refused += len(batch)
        else:
            self._trouble.over(time.monotonic())
        for _ in batch:
            self._waiting.popleft()
        self._inbox.done_with(batch)

    def finish(self, stop_by: float) -> bool:
        """Write what waits until it works or time is up. True when nothing is left."""
        while self._waiting and time.monotonic() < stop_by:
            self.write_some()
            if self._trouble:
                time.sleep(_LAST_TRIES_EVERY_S)
        if self._waiting:
            log.warning("%d payloads were not kept before the end", len(self._waiting))
        return not self._waiting

    def report_dropped(self) -> None:
        """Say now and then how many payloads there was no room for."""
        dropped, now = self._inbox.payloads_dropped, time.monotonic()
        if dropped > self._reported and now >= self._report_at:
            log.warning("%d payloads were not kept: too many wait for the database", dropped - self._reported)
            self._reported, self._report_at = dropped, now + REPORT_EVERY_S

    def _next(self) -> list[Captured]:
        batch: list[Captured] = []
        size = 0
        for captured in self._waiting:
            size += captured.size_bytes
            if batch and (size > _BYTES_AT_ONCE or len(batch) == _AT_ONCE):
                break
            batch.append(captured)
        return batch

    def _redacted(self, batch: list[Captured]) -> tuple[list[Payload], dict[str, Told]]:
        payloads, told = list[Payload](), dict[str, Told]()
        for captured in batch:
            self._store.rests.take()
            try:
                payloads.append(redacted(captured, _decode, self._searched))
                if self._searched.told is not None:
                    told[captured.id] = self._searched.told
            except Exception:
                log.exception("Failed to capture streaming response: %s cannot be redacted", captured.id)
                self.refused += 1
        return payloads, told


def _decode(coding: bytes, data: bytes) -> bytes:
    plain = decoder(coding, _DECODED_BYTES)
    return b"" if plain is None else plain.feed(data)
