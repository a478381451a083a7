"""Where ccflare keeps things, and where its processes meet: the server, the command line and other servers.

A store is synchronous and belongs to the thread that opened it. Nothing on the request path touches one.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from ccflare.forecast import AccountWindows
from ccflare.records import Account, Binding, Credentials, Exchange, Owned
from ccflare.vault import Keys

if TYPE_CHECKING:
    from ccflare.store.client_keys import ClientKeyTable
    from ccflare.store.flows import Flows
    from ccflare.store.history import History
    from ccflare.store.leftovers import Leftovers
    from ccflare.store.owners import OwnerTable
    from ccflare.store.payloads import Payloads
    from ccflare.store.prices import KeptPrices
    from ccflare.store.rollups import Rollups
    from ccflare.store.tokens import StoredTokens
    from ccflare.store.windows import WindowTable


class AccountChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may change about an account; a field that is left out stays as it is."""

    name: str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    tier: int | UnsetType = UNSET
    base_url: str | UnsetType | None = UNSET
    paused: bool | UnsetType = UNSET
    paused_by: str | UnsetType | None = UNSET
    paused_reason: str | UnsetType | None = UNSET
    paused_at_ms: int | UnsetType | None = UNSET
    resumed_at_ms: int | UnsetType = UNSET
    """A running server forgets what it does not ask the account for at the moment."""
    auth_failed_reason: UnsetType | None = UNSET
    """None: try the refused credential again."""
    limited_until_ms: UnsetType | None = UNSET
    """None: do not wait for the limit to pass."""


def resumed(now_ms: int) -> AccountChange:
    """Return the change that has an account tried again, whatever kept it from serving."""
    return AccountChange(paused=False, resumed_at_ms=now_ms, auth_failed_reason=None, limited_until_ms=None)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is written together or not at all.

    Of `accounts` only the run-time fields are written (limits, refused credential, last use): the operator's
    fields and the counters belong to the store.
    """

    exchanges: Sequence[Exchange] = ()
    accounts: Sequence[Account] = ()
    bindings: Sequence[Binding] = ()
    windows: Sequence[AccountWindows] = ()
    owners: Sequence[Owned] = ()
    keys_used: Mapping[str, int] = {}
    """When client keys were used beside the exchanges, in milliseconds, by their ids."""


class Counts(msgspec.Struct, frozen=True):
    """How many rows there are."""

    accounts: int
    requests: int
    sessions: int


class Store(Protocol):
    """One connection to the database.

    Every method raises `StoreBusy` when the same call may succeed later (locked, disk full) and `StoreError`
    for everything else that is wrong with the database.
    """

    history: "History"
    """The rows of exchanges."""
    rollups: "Rollups"
    """Their sums."""
    flows: "Flows"
    """Sign-ins that wait for their code."""
    tokens: "StoredTokens"
    """OAuth tokens as they are refreshed, and who is at it."""
    owners: "OwnerTable"
    """Which account an upstream object belongs to."""
    prices: "KeptPrices"
    """The price table that was fetched last."""
    payloads: "Payloads"
    """What was said in exchanges."""
    leftovers: "Leftovers"
    """What deleted rows and older programs leave in the file."""
    windows: "WindowTable"
    """What upstream said last about each account's rate-limit windows."""
    client_keys: "ClientKeyTable"
    """Who may use the proxy, and who is signed in to the dashboard."""

    def accounts(self) -> list[Account]:
        """Return all accounts, oldest first."""
        ...

    def credentials(self) -> dict[str, Credentials]:
        """Return the secrets of all accounts by account id."""
        ...

    def unlock(self) -> None:
        """Make sure that the keys fit the stored credentials, and that all are sealed with the first of them.

        It happens by itself before the first credential is read or written. Raises KeyMismatch when they do not
        fit; then nothing was touched.
        """
        ...

    def add_account(self, account: Account, credentials: Credentials) -> None:
        """Add an account. Raises Conflict when its name is taken."""
        ...

    def add_accounts(self, accounts: Sequence[tuple[Account, Credentials]], *, replace: bool = False) -> None:
        """Add several accounts or none. Raises Conflict when a name is taken.

        `replace`: an account of the same name gets the credentials, address, priority and tier instead, and
        keeps its id, history and sessions.
        """
        ...

    def update_account(self, account_id: str, change: AccountChange) -> None:
        """Change what the operator owns. Raises NotFound, and Conflict when the new name is taken.

        Resuming forgets who paused, why and when; with a new address it is forgotten that the old one refused
        the credential.
        """
        ...

    def set_credentials(self, credentials: Credentials, expires_at_ms: int | None = None) -> None:
        """Replace an account's secrets; it counts as signed in again. Raises NotFound."""
        ...

    def remove_account(self, account_id: str) -> None:
        """Remove an account, its secrets and its sessions; its requests stay. Raises NotFound."""
        ...

    def bindings(self, *, bound_since_ms: int) -> list[Binding]:
        """Return the session bindings made at or after an instant, oldest first."""
        ...

    def recent_bindings(self, *, bound_since_ms: int, at_most: int) -> list[Binding]:
        """Return the latest session bindings made at or after an instant: cheap enough to be asked every second."""
        ...

    def forget_bindings(self, *, bound_before_ms: int, at_most: int = 1000) -> int:
        """Delete some bindings made before an instant; return how many."""
        ...

    def session_counts(self, *, bound_since_ms: int) -> dict[str, int]:
        """Return how many sessions each account was bound to since an instant."""
        ...

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction.

        An exchange that is already there is neither written nor counted again. Raises ValueError when a row
        can never be stored; then nothing was written.
        """
        ...

    def exchanges(self, *, after: str = "", at_most: int = 1000) -> list[Exchange]:
        """Return exchanges whose id sorts behind `after`: the ones that came later, oldest first."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Everything that is read in the block is of one moment; writers are not kept waiting."""
        ...

    def clear_history(self) -> int:
        """Delete all exchanges, their sums and payloads; return how many exchanges. Accounts and counters stay."""
        ...

    def reset_stats(self) -> None:
        """Set every account's counters to zero; the history stays."""
        ...

    def counts(self) -> Counts:
        """Count the rows. The cost grows with the history."""
        ...

    def changed(self) -> bool:
        """Say whether another connection has committed since this was asked last, or since opening."""
        ...

    def moved(self) -> bool:
        """Say whether the database has been removed, or another one put in its place, since it was opened."""
        ...

    def interrupt(self) -> None:
        """End the statement that runs; it raises StoreBusy. The one method that any thread may call."""
        ...

    def rest_by(self, rest: Callable[[], object]) -> None:
        """Have `rest` called behind every statement that changes rows, also inside a transaction: it may sleep."""
        ...

    def close(self) -> None:
        """Close the connection. Harmless when it is closed already."""
        ...


def open_store(path: Path, *, busy_timeout_s: float = 5.0, keys: Keys | None = None) -> Store:
    """Open the database, making it when there is none. The calling thread owns the store.

    `busy_timeout_s` is how long every call waits for a lock. With `keys` the credentials are sealed; share
    them between the stores of a process, because deriving a cipher takes a tenth of a second. Raises StoreError
    with one line for the operator, StoreBusy when the database stays locked.
    """
    from ccflare.store.sqlite import SqliteStore

    return SqliteStore(path, busy_timeout_s, keys)
