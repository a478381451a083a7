"""OAuth tokens where processes meet: who may refresh an account's, and the exchange of an old pair for a new one.

A refresh token dies with its use, so two processes must not use the same one: a lease says who may. A lease ends by
itself when its holder is killed. Should two hold one all the same, the compare-and-swap keeps the newer pair.
Instants are wall-clock milliseconds; a lease that ends later than any could is not believed.
"""

import contextlib
from collections.abc import Iterator

import msgspec

from ccflare.errors import NotFound
from ccflare.records import Grant, Secret
from ccflare.store import rows
from ccflare.store.database import Database, Row
from ccflare.store.safe import Safe

_SELECT = """
    SELECT id, api_key, access_token, refresh_token, expires_at, expired_reason FROM accounts WHERE id = ?"""
_TAKE = """
    INSERT INTO token_leases (account_id, holder, until) VALUES (?1, ?2, ?3)
    ON CONFLICT (account_id) DO UPDATE SET holder = ?2, until = ?3"""
_ROTATE = """
    UPDATE accounts SET access_token = ?, refresh_token = ?, expires_at = ?, last_refresh_at = ?,
        expired_reason = NULL, auth_failed_reason = NULL
    WHERE id = ?"""
_FAIL = "UPDATE accounts SET refresh_failed_at = ?, refresh_error = ? WHERE id = ?"
_EXPIRE = "UPDATE accounts SET expired_reason = ?2, refresh_failed_at = ?3, refresh_error = ?2 WHERE id = ?1"


class Lease(msgspec.Struct, frozen=True):
    """A claim to refresh an account's tokens. `holder` is a random name of the process."""

    account_id: str
    holder: str
    until_ms: int


@contextlib.contextmanager
def durable(db: Database) -> Iterator[None]:
    """Have what is committed meanwhile on the disk, not only out of this process: it outlives a power cut."""
    db.run("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        db.run("PRAGMA synchronous = NORMAL")


class StoredTokens:
    """The tokens of one database. Every method raises NotFound when the account is gone."""

    def __init__(self, db: Database, safe: Safe) -> None:
        self._db = db
        self._safe = safe

    def read(self, account_id: str) -> Grant:
        """Return an account's tokens."""
        self._safe.unlock()
        row = self._db.one(_SELECT, (account_id,))
        if row is None:
            raise NotFound(f"there is no account with the id {account_id}")
        *secrets, expires_at_ms, expired_reason = row
        return Grant(rows.credentials_of(tuple(secrets), self._safe.open), expires_at_ms, expired_reason)

    def take_lease(self, lease: Lease, now_ms: int) -> Grant | None:
        """Take or prolong a lease and return the tokens as they are then; None while another process has it."""
        self._safe.unlock()
        if self._is_taken(lease, now_ms):  # a look that takes no lock: those who wait ask often
            return None
        with self._db.transaction():
            if self._is_taken(lease, now_ms):
                return None
            grant = self.read(lease.account_id)
            self._db.run(_TAKE, (lease.account_id, lease.holder, lease.until_ms))
        return grant

    def drop_lease(self, lease: Lease) -> None:
        """Give a lease back; harmless when it is another's by now."""
        with self._db.transaction():
            self._drop(lease)

    def rotate(self, lease: Lease, used: Secret, grant: Grant, now_ms: int) -> bool:
        """Exchange the pair whose refresh token was used for a new one, durably; the lease ends with it.

        False when the store has another refresh token by now: somebody signed in again, and that counts.
        """
        with durable(self._db), self._safe.transaction():
            self._drop(lease)
            if not self._is_current(lease.account_id, used):
                return False
            _, access, refresh = self._safe.texts(grant.credentials)
            self._db.run(_ROTATE, (access, refresh, grant.expires_at_ms, now_ms, lease.account_id))
        return True

    def fail(self, lease: Lease, error: str, now_ms: int) -> None:
        """Keep why a refresh failed in passing; the lease ends."""
        with self._db.transaction():
            self._drop(lease)
            self._db.run(_FAIL, (now_ms, error, lease.account_id))

    def expire(self, lease: Lease, used: Secret | None, reason: str, now_ms: int) -> bool:
        """Mark an account as in need of a new sign-in; the lease ends.

        False when the store has another refresh token than the one that was refused.
        """
        with self._safe.transaction():
            self._drop(lease)
            if not self._is_current(lease.account_id, used):
                return False
            self._db.run(_EXPIRE, (lease.account_id, reason, now_ms))
        return True

    def forget(self, account_id: str) -> None:
        """Drop whatever lease there is on an account that goes; inside the caller's transaction."""
        self._db.run("DELETE FROM token_leases WHERE account_id = ?", (account_id,))

    def _is_current(self, account_id: str, used: Secret | None) -> bool:
        return self.read(account_id).credentials.refresh_token == used

    def _is_taken(self, lease: Lease, now_ms: int) -> bool:
        found: Row | None = self._db.one(
            "SELECT holder, until FROM token_leases WHERE account_id = ?", (lease.account_id,)
        )
        if found is None or found[0] == lease.holder:
            return False
        length_ms = lease.until_ms - now_ms
        return bool(now_ms < found[1] <= now_ms + 2 * length_ms)

    def _drop(self, lease: Lease) -> None:
        self._db.run("DELETE FROM token_leases WHERE account_id = ? AND holder = ?", (lease.account_id, lease.holder))
