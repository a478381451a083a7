"""Client keys for tests: what is brought, and what a server knows of it."""

from ccflare.client_keys import digest_of
from ccflare.records import Admission, ClientKey, Role, Secret

NOW_MS = 1_790_000_000_000
BOSS = Secret("ccf_" + "b" * 43)
"""An admin's."""
WORKER = Secret("ccf_" + "w" * 43)
"""A program's, which may use the proxy."""
GONE = Secret("ccf_" + "g" * 43)
"""Revoked."""
WRONG = Secret("ccf_" + "x" * 43)
"""Nobody's."""


def key(name: str, role: Role = "proxy", *, store_payloads: bool = True, revoked: bool = False) -> ClientKey:
    """Return a key, without the key itself."""
    return ClientKey(
        id=f"key-{name}",
        name=name,
        role=role,
        store_payloads=store_payloads,
        created_at_ms=NOW_MS,
        revoked_at_ms=NOW_MS + 1 if revoked else None,
    )


KEYS = {BOSS: key("boss", "admin"), WORKER: key("worker"), GONE: key("gone", "admin", revoked=True)}


def admission(*without: Secret) -> Admission:
    """Return what lets these keys in."""
    return Admission({digest_of(secret): made for secret, made in KEYS.items() if secret not in without}, {})
