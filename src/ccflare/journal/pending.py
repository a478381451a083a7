"""What waits to be written: exchanges in the order in which they ended, of everything else only the latest."""

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from ccflare.forecast import AccountWindows
from ccflare.records import Account, Binding, Exchange, Owned
from ccflare.store import Batch

AT_MOST = 200_000
"""Bindings, and owned objects, that wait for the store. Of more the oldest are forgotten: at most a prompt cache or
an object's owner is lost by it."""

_T = TypeVar("_T")


class Pending:
    """Belongs to the writer's thread."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []
        self._accounts: dict[str, Account] = {}
        self._windows: dict[str, AccountWindows] = {}
        self._bindings: dict[str, Binding] = {}
        self._owners: dict[str, Owned] = {}
        self._keys_used: dict[str, int] = {}

    def __bool__(self) -> bool:
        changes = self._accounts or self._windows or self._bindings or self._owners or self._keys_used
        return bool(self._exchanges or changes)

    def add(self, exchange: Exchange) -> None:
        """Add an exchange behind those that wait."""
        self._exchanges.append(exchange)

    def merge(self, changes: Batch) -> None:
        """Take changes over; they replace older ones of the same thing."""
        self._accounts.update((account.id, account) for account in changes.accounts)
        self._windows.update((windows.account_id, windows) for windows in changes.windows)
        self._keys_used.update(changes.keys_used)
        for binding in changes.bindings:
            _put_last(self._bindings, binding.key, binding)
        for owned in changes.owners:
            _put_last(self._owners, owned.object_id, owned)

    def batch(self, rows: int) -> Batch:
        """Return what is to be written next, so many rows of each kind."""
        return Batch(
            exchanges=self._exchanges[:rows],
            accounts=list(islice(self._accounts.values(), rows)),
            windows=list(islice(self._windows.values(), rows)),
            bindings=list(islice(self._bindings.values(), rows)),
            owners=list(islice(self._owners.values(), rows)),
            keys_used=dict(islice(self._keys_used.items(), rows)),
        )

    def forget(self, batch: Batch) -> None:
        """Forget a batch that is written."""
        del self._exchanges[: len(batch.exchanges)]
        for account in batch.accounts:
            del self._accounts[account.id]
        for windows in batch.windows:
            del self._windows[windows.account_id]
        for binding in batch.bindings:
            del self._bindings[binding.key]
        for owned in batch.owners:
            del self._owners[owned.object_id]
        for key_id in batch.keys_used:
            del self._keys_used[key_id]


def singles(batch: Batch) -> Iterator[Batch]:
    """Yield everything in a batch as a batch of its own."""
    yield from (Batch(exchanges=[exchange]) for exchange in batch.exchanges)
    yield from (Batch(accounts=[account]) for account in batch.accounts)
    yield from (Batch(windows=[windows]) for windows in batch.windows)
    yield from (Batch(bindings=[binding]) for binding in batch.bindings)
    yield from (Batch(owners=[owned]) for owned in batch.owners)
    yield from (Batch(keys_used={key_id: at_ms}) for key_id, at_ms in batch.keys_used.items())


def _put_last(waiting: dict[str, _T], key: str, thing: _T) -> None:
    """Put a thing at the end, whether it waited before or not; the oldest make room."""
    waiting.pop(key, None)
    waiting[key] = thing
    while len(waiting) > AT_MOST:
        del waiting[next(iter(waiting))]
