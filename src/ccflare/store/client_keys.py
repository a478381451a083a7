"""Client keys: who may use the proxy, and who is signed in to the dashboard.

Only hashes are here. A key has 256 random bits, so there is nothing to guess that a slow hash would protect: one
SHA-256 is right. Rows stay when a key is revoked, because the history names them.
"""

from collections.abc import Iterable, Mapping

from ccflare.errors import Conflict, NotFound
from ccflare.records import Admission, ClientKey, DashboardSession, Exchange
from ccflare.store.database import Database, Row
from ccflare.store.tokens import durable

MOST_KEYS = 1000
"""Keys, revoked ones included: every server has all of them in memory."""
MOST_SESSIONS = 100
"""Browsers that are signed in; of more, those that signed in first are signed out."""

_COLUMNS = "id, name, role, store_payloads, created_at, revoked_at, last_used"
_ALL = f"SELECT {_COLUMNS} FROM client_keys ORDER BY created_at, id"  # noqa: S608  # constants
_IN_FORCE = """
    SELECT digest, id, name, role, store_payloads, created_at, revoked_at, NULL FROM client_keys ORDER BY id"""
_INSERT = """
    INSERT INTO client_keys (id, name, role, store_payloads, created_at, digest) VALUES (?, ?, ?, ?, ?, ?)"""
_USED = "UPDATE client_keys SET last_used = MAX(COALESCE(last_used, 0), ?2) WHERE id = ?1"
_SESSIONS = "SELECT digest, key_id, expires_at FROM dashboard_sessions ORDER BY digest"
_DROP_OLDEST = """
    DELETE FROM dashboard_sessions
    WHERE digest IN (SELECT digest FROM dashboard_sessions ORDER BY expires_at DESC, digest LIMIT -1 OFFSET ?)"""


class ClientKeyTable:
    """A part of a store."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> list[ClientKey]:
        """Return all keys, oldest first, revoked ones too."""
        return [_key_of(row) for row in self._db.rows(_ALL)]

    def admission(self) -> Admission:
        """Return what decides who is let in; when keys were used last is not in it."""
        with self._db.snapshot():
            keys = {row[0]: _key_of(row[1:]) for row in self._db.rows(_IN_FORCE)}
            sessions = {row[0]: DashboardSession(*row[1:]) for row in self._db.rows(_SESSIONS)}
        return Admission(keys, sessions)

    def names(self) -> dict[str, str]:
        """Return the names of all keys by id, revoked ones too."""
        return dict(self._db.rows("SELECT id, name FROM client_keys"))

    def add(self, key: ClientKey, digest: bytes) -> None:
        """Add a key by its hash. Raises Conflict when its name is taken, or there are too many."""
        with durable(self._db), self._db.transaction():
            if self._db.one("SELECT 1 FROM client_keys WHERE name = ? AND revoked_at IS NULL", (key.name,)):
                raise Conflict(f"there is already a key named {key.name!r}")
            found = self._db.one("SELECT COUNT(*) FROM client_keys")
            if found is None or found[0] >= MOST_KEYS:
                raise Conflict(f"there are {MOST_KEYS} keys already, revoked ones included")
            self._db.run(_INSERT, (key.id, key.name, key.role, key.store_payloads, key.created_at_ms, digest))

    def revoke(self, key_id: str, now_ms: int) -> None:
        """Let nobody in with a key any more, and sign out who signed in with it. Raises NotFound."""
        with durable(self._db), self._db.transaction():
            statement = "UPDATE client_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
            if not self._db.run(statement, (now_ms, key_id)):
                raise NotFound("there is no key in force with this id")
            self._db.run("DELETE FROM dashboard_sessions WHERE key_id = ?", (key_id,))

    def count(self, exchanges: Iterable[Exchange]) -> None:
        """Note the keys of exchanges as used, in the caller's transaction."""
        latest: dict[str, int] = {}
        for each in exchanges:
            if each.client_key_id is not None:
                latest[each.client_key_id] = max(each.timestamp_ms, latest.get(each.client_key_id, 0))
        self.used(latest)

    def used(self, at_ms: Mapping[str, int]) -> None:
        """Note when keys were used, in the caller's transaction."""
        if at_ms:
            self._db.run_many(_USED, list(at_ms.items()))

    # Sessions of the dashboard.

    def begin_session(self, digest: bytes, session: DashboardSession, now_ms: int) -> None:
        """Keep a session; those that have ended are forgotten. Raises NotFound when its key is not in force."""
        with self._db.transaction():
            if not self._db.one("SELECT 1 FROM client_keys WHERE id = ? AND revoked_at IS NULL", (session.key_id,)):
                raise NotFound("there is no key in force with this id")
            self._db.run("DELETE FROM dashboard_sessions WHERE expires_at <= ?", (now_ms,))
            values = (digest, session.key_id, session.expires_at_ms)
            self._db.run("INSERT INTO dashboard_sessions (digest, key_id, expires_at) VALUES (?, ?, ?)", values)
            self._db.run(_DROP_OLDEST, (MOST_SESSIONS,))

    def session(self, digest: bytes) -> DashboardSession | None:
        """Return a session, ended or not; None when there is none."""
        row = self._db.one("SELECT key_id, expires_at FROM dashboard_sessions WHERE digest = ?", (digest,))
        return DashboardSession(*row) if row else None

    def end_session(self, digest: bytes) -> None:
        """Forget a session."""
        with self._db.transaction():
            self._db.run("DELETE FROM dashboard_sessions WHERE digest = ?", (digest,))


def _key_of(row: Row) -> ClientKey:
    key_id, name, role, store_payloads, created_at_ms, revoked_at_ms, last_used_ms = row
    return ClientKey(
        id=key_id,
        name=name,
        role="admin" if role == "admin" else "proxy",
        store_payloads=bool(store_payloads),
        created_at_ms=created_at_ms,
        revoked_at_ms=revoked_at_ms,
        last_used_ms=last_used_ms,
    )
