"""The store as the writer holds it: opened when needed and when its file was lost, watched for others.

When the file vanishes under a running server, rows go into a new one, and the accounts in memory stay in
use: an empty database is no word of the operator's, the first account in it is. The same goes for client keys. In
the same way the credentials in memory stay in use when those in the store cannot be read any more; whatever else it
says of accounts counts.
"""

import logging
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from ccflare.errors import KeyMismatch
from ccflare.journal.rests import Rests
from ccflare.records import Account, Admission, Binding, Credentials, Exchange, Owned
from ccflare.store import Store

OnAccounts: TypeAlias = Callable[[list[Account], dict[str, Credentials]], None]
OnWritten: TypeAlias = Callable[[Sequence[Exchange]], None]
OnKeys: TypeAlias = Callable[[Admission], None]
OnLearnt: TypeAlias = Callable[[list[Binding], list[Owned]], None]

log = logging.getLogger("ccflare.async-db-writer")

LEARN_EVERY_S = 1.0
LATE_MS = 3_000
"""So long after its instant something may come into the store."""
LEARNT_AT_MOST = 1_000
_TRIES = 3

_COUNTED: dict[str, Any] = {
    "last_used_ms": None,
    "request_count": 0,
    "total_requests": 0,
    "session_started_ms": None,
    "session_request_count": 0,
}


class WatchedStore:
    """One connection at a time, used by one thread. Its methods raise what the store raises."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        loop: AbstractEventLoop,
        on_accounts: OnAccounts,
        on_written: OnWritten | None = None,
        on_keys: OnKeys | None = None,
        on_learnt: OnLearnt | None = None,
    ) -> None:
        self._open_store = open_store
        self._loop = loop
        self._on_accounts = on_accounts
        self._on_written = on_written
        self._on_keys = on_keys
        self._on_learnt = on_learnt
        self._learn_at = 0.0
        self._learnt_ms = int(time.time() * 1000)
        self._unlearnt = False
        self._store: Store | None = None
        self.rests = Rests()
        """Taken between statements."""
        self._told: tuple[list[Account], dict[str, Credentials]] | None = None
        self._told_keys: Admission | None = None
        self._stale = True
        self._lost = self._keys_lost = False
        self._locked_out = False
        self.opened = False
        """Whether it could be opened, now or earlier."""

    def here(self) -> Store:
        """Return the open store, a new one when the database was removed or replaced."""
        if self._store is not None and self._store.moved():
            log.warning("The database was removed or replaced while running; it is opened again")
            self._lost = self._keys_lost = True
            self.close()
        if self._store is None:
            self._store = self._open_store()
            self._store.rest_by(self.rests.take)
            self._stale = self.opened = True
        return self._store

    def look(self) -> None:
        """Hand the accounts to the loop when another process has changed the store, and once at the start."""
        store = self.here()
        changed = store.changed()
        self._stale |= changed
        self._unlearnt |= changed
        if self._unlearnt and time.monotonic() >= self._learn_at:
            self._learn(store)
        if not self._stale:
            return
        for _ in range(_TRIES):
            # In this order a new account never comes without its credential.
            found = store.accounts(), self._credentials(store)
            self._look_at_keys(store)
            # What was changed meanwhile, through this server too, may have been told already: no older news behind it.
            self._stale = store.changed()
            if not self._stale:
                break
        if self._lost and not found[0]:
            log.error("The database has no accounts any more; those in memory are used until one is added")
        elif self._told is None or _routed(found[0]) != _routed(self._told[0]) or found[1] != self._told[1]:
            if self._lost:
                self._report_dropped(found[0])
            self._told = found
            self._tell(self._on_accounts, *found)
        self._lost &= not found[0]

    def _learn(self, store: Store) -> None:
        """Hand to the loop what other processes have learnt lately of sessions and objects."""
        self._learn_at = time.monotonic() + LEARN_EVERY_S
        since_ms, self._learnt_ms = self._learnt_ms - LATE_MS, int(time.time() * 1000)
        bindings = store.recent_bindings(bound_since_ms=since_ms, at_most=LEARNT_AT_MOST)
        owners = store.owners.load(LEARNT_AT_MOST, used_since_ms=since_ms)
        self._unlearnt = False
        if self._on_learnt is not None and (bindings or owners):
            self._tell(self._on_learnt, bindings, owners)

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def written(self, exchanges: Sequence[Exchange]) -> None:
        """Tell the loop what is in the store now."""
        if self._on_written is not None and exchanges:
            self._tell(self._on_written, exchanges)

    def _look_at_keys(self, store: Store) -> None:
        """Hand the client keys to the loop; a file without any in a lost one's place opens no server."""
        found = store.client_keys.admission()
        if self._keys_lost and not found.keys:
            return
        self._keys_lost = False
        if self._on_keys is not None and found != self._told_keys:
            self._told_keys = found
            self._tell(self._on_keys, found)

    def _credentials(self, store: Store) -> dict[str, Credentials]:
        """Return the credentials; those told last when they are under a key that this process does not have."""
        try:
            found = store.credentials()
        except KeyMismatch as error:
            if self._told is None:
                raise
            if not self._locked_out:
                log.error("The accounts' credentials cannot be read; those in memory are used: %s", error)
            self._locked_out = True
            return self._told[1]
        if self._locked_out:
            log.info("The accounts' credentials can be read again")
        self._locked_out = False
        return found

    def _report_dropped(self, accounts: list[Account]) -> None:
        """Name the accounts that were in use until now and are not in the database any more."""
        here = {account.id for account in accounts}
        dropped = [account.name for account in self._told[0] if account.id not in here] if self._told else []
        if dropped:
            log.warning("Not used any more, because the new database does not have them: %s", ", ".join(dropped))

    def _tell(self, whom: Callable[..., None], *what: object) -> None:
        try:
            self._loop.call_soon_threadsafe(whom, *what)
        except RuntimeError:
            # The loop has ended before the writer: there is nobody left to tell.
            log.debug("The writer has news after the server stopped")


def _routed(accounts: Sequence[Account]) -> list[Account]:
    """Return accounts without what changes with every exchange of another process, and routing does not go by."""
    return [msgspec.structs.replace(account, **_COUNTED) for account in accounts]
