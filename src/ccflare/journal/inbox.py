"""The queue between the event loop and the writer: bounded in bytes, filled without waiting.

One thread fills it and one empties it, and each counter has one writer; so no lock is taken per exchange.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from ccflare.payload import Captured
from ccflare.records import Exchange
from ccflare.store import Batch

_ROW_BYTES = 1_200
_ATTEMPT_BYTES = 350


def size_of(exchange: Exchange) -> int:
    """Return about how many bytes of memory an exchange holds; rather too many than too few."""
    texts = len(exchange.path) + len(exchange.error_message or "")
    return _ROW_BYTES + texts + _ATTEMPT_BYTES * len(exchange.attempts)


class Inbox:
    """What the writer has not taken yet."""

    def __init__(
        self,
        bytes_at_most: int,
        rows_at_once: int,
        payload_bytes_at_most: int,
        count: Callable[[Sequence[Exchange]], None],
    ) -> None:
        self._items: deque[Exchange | Batch | Captured] = deque()
        self._wake = threading.Event()
        self._bytes_at_most = bytes_at_most
        self._rows_at_once = rows_at_once
        self._bytes_in = self._rows_in = 0
        self._bytes_out = self._rows_out = 0
        self._payload_bytes_at_most = payload_bytes_at_most
        self._payload_bytes_in = self._payloads_in = 0
        self._payload_bytes_out = self._payloads_out = 0
        self.count = count
        """Is called once with every exchange: by the writer with those that it takes, here with those that are lost."""
        self.lost = 0
        """Exchanges that came when the queue was full."""
        self.payloads_dropped = 0
        """Payloads that came when too many waited."""

    # The event loop's side.

    def put(self, exchange: Exchange, captured: Captured | None = None, /) -> None:
        """Add an exchange and what was captured of it; what the queue has no room for is counted instead."""
        size = size_of(exchange)
        if self._bytes_in - self._bytes_out + size > self._bytes_at_most:
            self.lost += 1
            self.count((exchange,))
            self.payloads_dropped += captured is not None
            return
        self._bytes_in += size
        self._rows_in += 1
        self._append(exchange)
        if captured is not None:
            self._put_captured(captured)

    def _put_captured(self, captured: Captured) -> None:
        """Add a payload behind its exchange: it is taken when that is written, or later."""
        size = captured.size_bytes
        if self.payload_bytes + size > self._payload_bytes_at_most:
            self.payloads_dropped += 1
            return
        self._payload_bytes_in += size
        self._payloads_in += 1
        self._append(captured)

    def put_changes(self, changes: Batch) -> None:
        """Add changes; the writer merges them, so they are not bounded here."""
        self._append(changes)

    def _append(self, item: Exchange | Batch | Captured) -> None:
        self._items.append(item)
        waiting = len(self._items)
        if waiting in (1, self._rows_at_once):
            # The first call is enough, the writer comes by itself; but a full batch is fetched at once.
            self._wake.set()

    # The writer's side.

    def __len__(self) -> int:
        return len(self._items)

    def wait(self, seconds: float) -> None:
        """Wait until there is something new, or too much, or time is up."""
        self._wake.wait(seconds)
        self._wake.clear()

    def wake(self) -> None:
        """End the wait of the writer; any thread may call it."""
        self._wake.set()

    def take(self) -> list[Exchange | Batch | Captured]:
        """Take everything out. What is taken counts as waiting until it is `done`."""
        return [self._items.popleft() for _ in range(len(self._items))]

    def done(self, exchanges: Sequence[Exchange]) -> None:
        """Forget exchanges that are in the store, or never will be."""
        self._bytes_out += sum(map(size_of, exchanges))
        self._rows_out += len(exchanges)

    def done_with(self, payloads: Sequence[Captured]) -> None:
        """Forget payloads that are in the store, or never will be."""
        self._payload_bytes_out += sum(each.size_bytes for each in payloads)
        self._payloads_out += len(payloads)

    # Anybody's.

    @property
    def waiting(self) -> int:
        """Exchanges that are not done."""
        return self._rows_in - self._rows_out

    @property
    def waiting_bytes(self) -> int:
        """About how many bytes they hold."""
        return self._bytes_in - self._bytes_out

    @property
    def payloads(self) -> int:
        """Payloads that are not done."""
        return self._payloads_in - self._payloads_out

    @property
    def payload_bytes(self) -> int:
        """About how many bytes they hold."""
        return self._payload_bytes_in - self._payload_bytes_out
