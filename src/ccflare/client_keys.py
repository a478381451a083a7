"""Who may use this server: client keys as the store had them last, in memory, so that no request waits for a disk.

A key is `ccf_` and 256 random bits. What is kept of it is one SHA-256: there is nothing to guess that a slow hash
would protect, and a check costs two microseconds. Keys are needed

* as soon as one is in force;
* where other machines reach the server, or where there was a key once and all are revoked: then nobody is let in.
  `open_without_keys` is the only way to be open there.
"""

import hmac
import logging
import secrets
from collections.abc import Iterator, Mapping
from hashlib import sha256

from ccflare.records import CLIENT_KEY_PREFIX, Admission, ClientKey, DashboardSession, Secret

log = logging.getLogger("ccflare.Server")

_RANDOM_BYTES = 32
_PREFIX = CLIENT_KEY_PREFIX.encode()
_LENGTH = len(_PREFIX) + 43
NOTED_EVERY_MS = 60_000

NONE_BROUGHT = "a client key is needed"
NOT_VALID = "this client key is not valid"
REVOKED = "this client key was revoked"


def new_key() -> Secret:
    """Make a key."""
    return Secret(CLIENT_KEY_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES))


def digest_of(secret: Secret) -> bytes:
    """Return what is kept of a key, or of a session's cookie."""
    return sha256(secret.reveal().encode("ascii")).digest()


def tokens(fields: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yield what a request's fields bring: clients send a key in either field, and the other may hold anything."""
    token = fields.get(b"x-api-key")
    if token:
        yield token
    credentials = fields.get(b"authorization")
    if credentials:
        scheme, _, token = credentials.partition(b" ")
        if scheme.lower() == b"bearer":
            yield token.strip()


class ClientKeys:
    """The keys, and who is signed in to the dashboard. Belongs to the event loop's thread."""

    def __init__(self, *, private: bool = True, open_without_keys: bool = False) -> None:
        self._private = private
        self._open = open_without_keys
        self._by_digest: dict[bytes, tuple[bytes, ClientKey]] = {}
        self._in_force: dict[str, ClientKey] = {}
        self._sessions: dict[bytes, DashboardSession] = {}
        self._loaded = False
        self._names: dict[str, str] = {}
        self._used_ms: dict[str, int] = {}
        self._noted_ms: dict[str, int] = {}
        self.required = not (private or open_without_keys)
        """Whether a request without a key is refused."""

    def load(self, admission: Admission) -> None:
        """Take over what the store has."""
        self._by_digest = {digest: (digest, key) for digest, key in admission.keys.items()}
        before, self._in_force = self._in_force, _in_force(admission)
        self._tell_changes(before)
        self._names = {key.id: key.name for key in admission.keys.values()}
        self._sessions = dict(admission.sessions)
        untouched = self._private and not admission.keys
        self.required = bool(self._in_force) or not (self._open or untouched)

    def _tell_changes(self, before: Mapping[str, ClientKey]) -> None:
        """Log who is let in from now on, and who is not any more; not what a server begins with."""
        for key_id in self._in_force.keys() - before.keys() if self._loaded else ():
            log.info("Client key %s (%s) is in force", self._in_force[key_id].name, self._in_force[key_id].role)
        for key_id in before.keys() - self._in_force.keys():
            log.info("Client key %s was revoked", before[key_id].name)
        self._loaded = True

    def of(self, fields: Mapping[bytes, bytes]) -> ClientKey | None:
        """Return the key in force that a request brings; its fields are by lower-case name."""
        for token in tokens(fields):
            key = self.known(token)
            if key is not None and key.revoked_at_ms is None:
                return key
        return None

    def known(self, token: bytes) -> ClientKey | None:
        """Return the key that a text is, a revoked one too. The time it takes tells nothing about other keys."""
        if len(token) != _LENGTH or not token.startswith(_PREFIX):
            return None
        digest = sha256(token).digest()
        held = self._by_digest.get(digest)
        return held[1] if held is not None and hmac.compare_digest(held[0], digest) else None

    def in_force(self, key_id: str) -> ClientKey | None:
        """Return a key that lets its holder in; None when it was revoked, or never was."""
        return self._in_force.get(key_id)

    def names(self) -> Mapping[str, str]:
        """Return the names of all keys by id, revoked ones too."""
        return self._names

    def is_shut(self) -> bool:
        """Say whether a key is needed and there is none."""
        return self.required and not self._in_force

    def has_admin(self) -> bool:
        """Say whether anybody can use the dashboard."""
        return any(key.role == "admin" for key in self._in_force.values())

    def why_not(self, fields: Mapping[bytes, bytes]) -> str:
        """Say why what a request brings lets nobody in; a holder may know that a key was revoked."""
        brought = [self.known(token) for token in tokens(fields)]
        if not brought:
            return NONE_BROUGHT
        return REVOKED if any(key is not None for key in brought) else NOT_VALID

    # The dashboard.

    def signed_in(self, digest: bytes, now_ms: int) -> ClientKey | None:
        """Return the key that a session was begun with; None when it has ended, or is not known here."""
        session = self._sessions.get(digest)
        if session is None or session.expires_at_ms <= now_ms:
            return None
        return self._in_force.get(session.key_id)

    def ends_at_ms(self, digest: bytes) -> int | None:
        """Return when a session ends; None when it is not known here."""
        session = self._sessions.get(digest)
        return None if session is None else session.expires_at_ms

    def note_session(self, digest: bytes, session: DashboardSession) -> None:
        """Take note of a session that has just begun, here or in another process."""
        self._sessions[digest] = session

    def forget_session(self, digest: bytes) -> None:
        """Take note of the end of a session."""
        self._sessions.pop(digest, None)

    # When keys were used; for the proxy's requests the exchanges say it.

    def note_use(self, key: ClientKey, now_ms: int) -> None:
        """Take note that a key was used for something that is no exchange; of each minute the first use counts."""
        if now_ms - self._noted_ms.get(key.id, 0) >= NOTED_EVERY_MS:
            self._noted_ms[key.id] = self._used_ms[key.id] = now_ms

    def take_used(self) -> dict[str, int]:
        """Return when keys were used since this was asked last."""
        used, self._used_ms = self._used_ms, {}
        return used


def _in_force(admission: Admission) -> dict[str, ClientKey]:
    return {key.id: key for key in admission.keys.values() if key.revoked_at_ms is None}
