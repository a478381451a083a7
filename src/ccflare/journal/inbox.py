"""The queue between the event loop and the writer: bounded in bytes, filled without waiting.

One thread fills it and one empties it, and each counter has one writer; so no lock is taken per exchange.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ccflare.records import Account, Binding, Exchange

_ROW_BYTES = 1_200
_ATTEMPT_BYTES = 350


@dataclass(frozen=True, slots=True)
class Changes:
    """What the pool changed."""

    accounts: Sequence[Account]
    bindings: Sequence[Binding]


def size_of(exchange: Exchange) -> int:
    """Return about how many bytes of memory an exchange holds; rather too many than too few."""
    texts = len(exchange.path) + len(exchange.error_message or "")
    return _ROW_BYTES + texts + _ATTEMPT_BYTES * len(exchange.attempts)


class Inbox:
    """What the writer has not taken yet."""

    def __init__(self, bytes_at_most: int, rows_at_once: int) -> None:
        self._items: deque[Exchange | Changes] = deque()
        self._wake = threading.Event()
        self._bytes_at_most = bytes_at_most
        self._rows_at_once = rows_at_once
        self._bytes_in = self._rows_in = 0
        self._bytes_out = self._rows_out = 0
        self.lost = 0
        """Exchanges that came when the queue was full."""

    # The event loop's side.

    def put(self, exchange: Exchange) -> None:
        """Add an exchange; when the queue is full, count it instead."""
        size = size_of(exchange)
        if self._bytes_in - self._bytes_out + size > self._bytes_at_most:
            self.lost += 1
            return
        self._bytes_in += size
        self._rows_in += 1
        self._append(exchange)

    def put_changes(self, changes: Changes) -> None:
        """Add changes; the writer merges them, so they are not bounded here."""
        self._append(changes)

    def _append(self, item: Exchange | Changes) -> None:
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

    def take(self) -> list[Exchange | Changes]:
        """Take everything out. What is taken counts as waiting until it is `done`."""
        return [self._items.popleft() for _ in range(len(self._items))]

    def done(self, exchanges: Sequence[Exchange]) -> None:
        """Forget exchanges that are in the store, or never will be."""
        self._bytes_out += sum(map(size_of, exchanges))
        self._rows_out += len(exchanges)

    # Anybody's.

    @property
    def waiting(self) -> int:
        """Exchanges that are not done."""
        return self._rows_in - self._rows_out

    @property
    def waiting_bytes(self) -> int:
        """About how many bytes they hold."""
        return self._bytes_in - self._bytes_out
