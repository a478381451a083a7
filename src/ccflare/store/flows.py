"""Sign-ins on their way: kept between the moment a person is sent to the browser and the code that comes back."""

from typing import TYPE_CHECKING

import msgspec

from ccflare.records import Secret
from ccflare.store.database import Database

if TYPE_CHECKING:  # who only lists accounts need not load what a sign-in takes
    from ccflare.oauth import Mode

MOST = 100
"""Beyond that the oldest is dropped: nobody waits for so many codes."""

_COLUMNS = "id, name, mode, verifier, priority, tier, base_url, account_id, created_at, expires_at"

_INSERT = f"INSERT INTO sign_in_flows ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # constants

_DROP_OLDEST = """
    DELETE FROM sign_in_flows
    WHERE id IN (SELECT id FROM sign_in_flows ORDER BY created_at DESC, id LIMIT -1 OFFSET ?)"""


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in that waits for its code."""

    id: str
    """SHA-256 of its state, in hexadecimal."""
    name: str
    """The name of the account."""
    mode: "Mode"
    verifier: Secret | None
    """The PKCE verifier; None when what is stored cannot be one."""
    priority: int = 0
    tier: int = 1
    base_url: str | None = None
    account_id: str | None = None
    """The account that is signed in again; None when one is to be added."""
    created_at_ms: int
    expires_at_ms: int


class Flows:
    """A part of a store: the sign-ins that wait. Each can be taken once and before it expires."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, flow: Flow) -> None:
        """Keep a sign-in; those that have expired when it was made are forgotten."""
        if flow.verifier is None:
            raise ValueError("a sign-in begins with a verifier")
        values = (
            flow.id,
            flow.name,
            flow.mode,
            flow.verifier.reveal(),
            flow.priority,
            flow.tier,
            flow.base_url,
            flow.account_id,
            flow.created_at_ms,
            flow.expires_at_ms,
        )
        with self._db.transaction():
            self._forget(flow.created_at_ms)
            self._db.run(_INSERT, values)
            self._db.run(_DROP_OLDEST, (MOST,))

    def take(self, flow_id: str, now_ms: int) -> Flow | None:
        """Return a sign-in and forget it; None when it is not there (any more) or has expired."""
        with self._db.transaction():
            self._forget(now_ms)
            found = self._db.rows(f"DELETE FROM sign_in_flows WHERE id = ? RETURNING {_COLUMNS}", (flow_id,))  # noqa: S608  # constants
        if not found:
            return None
        key, name, mode, verifier, *rest = found[0]
        priority, tier, base_url, account_id, created_at_ms, expires_at_ms = rest
        return Flow(
            id=key,
            name=name,
            mode=mode,
            verifier=_secret(verifier),
            priority=priority,
            tier=tier,
            base_url=base_url,
            account_id=account_id,
            created_at_ms=created_at_ms,
            expires_at_ms=expires_at_ms,
        )

    def _forget(self, now_ms: int) -> None:
        self._db.run("DELETE FROM sign_in_flows WHERE expires_at <= ?", (now_ms,))


def _secret(text: str) -> Secret | None:
    try:
        return Secret(text)
    except ValueError:
        return None
