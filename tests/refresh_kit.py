"""OAuth accounts for tests: an upstream that has them, and homes and stores that are signed in to it."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ccflare.demo.accounts import SimulatedAccount
from ccflare.records import Account, Credentials, Secret
from ccflare.store import Store, open_store
from harness import Home, Upstream


def oauth_upstream(*names: str, **settings: Any) -> Upstream:
    """Return an upstream with OAuth accounts; `settings` are those of its token endpoint."""
    upstream = Upstream()

    def prepare() -> None:
        for name, value in settings.items():
            setattr(upstream.server.oauth.settings, name, value)
        for name in names:
            upstream.server.add(SimulatedAccount(name, kind="oauth"))

    upstream.do(prepare)
    return upstream


def oauth_settings(upstream: Upstream, **more: str) -> Mapping[str, str]:
    """Return the variables with which ccflare refreshes tokens there."""
    return {"CLIENT_ID": "simulated-client", "CCFLARE_OAUTH_TOKEN_URL": f"{upstream.url}/v1/oauth/token", **more}


def tokens_of(upstream: Upstream, name: str) -> tuple[str, str]:
    """Return the newest access and refresh token of an account."""
    return upstream.do(lambda: upstream.server.oauth.tokens(name))


def refreshes(upstream: Upstream) -> dict[str, int]:
    """Return how often each account's tokens were refreshed."""
    return upstream.do(lambda: dict(upstream.server.oauth.counts.refreshes))


def now_ms() -> int:
    return int(time.time() * 1000)


def add_oauth_account(store: Store, upstream: Upstream, name: str, *, ends_in_s: float, priority: int = 0) -> Account:
    """Put an account into a store as a sign-in would have done, some time ago."""
    access, refresh = tokens_of(upstream, name)
    account = Account(
        id=f"id-{name}",
        name=name,
        kind="oauth",
        base_url=upstream.url,
        priority=priority,
        created_at_ms=1,
        expires_at_ms=now_ms() + int(ends_in_s * 1000),
    )
    store.add_account(account, Credentials(account.id, access_token=Secret(access), refresh_token=Secret(refresh)))
    return account


def sign_in(home: Home, upstream: Upstream, names: Iterable[str], *, ends_in_s: float) -> None:
    """Have a home's store know accounts whose access tokens end at a moment, in the past where it is negative."""
    store = open_store(home.database)
    try:
        for name in names:
            add_oauth_account(store, upstream, name, ends_in_s=ends_in_s)
    finally:
        store.close()
