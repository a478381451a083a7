"""The store as the writer holds it: opened when needed and when its file was lost, watched for others.

When the file vanishes under a running server, rows go into a new one, and the accounts in memory stay in
use: an empty database is no word of the operator's, the first account in it is.
"""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import TypeAlias

from ccflare.records import Account, Credentials
from ccflare.store import Store

OnAccounts: TypeAlias = Callable[[list[Account], dict[str, Credentials]], None]

log = logging.getLogger("ccflare.async-db-writer")


class WatchedStore:
    """One connection at a time, used by one thread. Its methods raise what the store raises."""

    def __init__(self, open_store: Callable[[], Store], loop: AbstractEventLoop, on_accounts: OnAccounts) -> None:
        self._open_store = open_store
        self._loop = loop
        self._on_accounts = on_accounts
        self._store: Store | None = None
        self._told: tuple[list[Account], dict[str, Credentials]] | None = None
        self._stale = True
        self._lost = False

    def here(self) -> Store:
        """Return the open store, a new one when the database was removed or replaced."""
        if self._store is not None and self._store.moved():
            log.warning("The database was removed or replaced while running; it is opened again")
            self._lost = True
            self.close()
        if self._store is None:
            self._store = self._open_store()
            self._stale = True
        return self._store

    def look(self) -> None:
        """Hand the accounts to the loop when another process has changed the store, and once at the start."""
        store = self.here()
        self._stale |= store.changed()
        if not self._stale:
            return
        # In this order a new account never comes without its credential.
        found = store.accounts(), store.credentials()
        self._stale = False
        if self._lost and not found[0]:
            log.error("The database has no accounts any more; those in memory are used until one is added")
        elif found != self._told:
            self._told = found
            self._tell(*found)
        self._lost &= not found[0]

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _tell(self, accounts: list[Account], credentials: dict[str, Credentials]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._on_accounts, accounts, credentials)
        except RuntimeError:
            # The loop has ended before the writer: there is nobody left to tell.
            log.debug("Accounts changed after the server stopped")
