"""One refresh of one account's tokens, from the claim to the disk.

Theory. A refresh token may be used once, and what comes back is the only pair that counts from then on. So:

1. *Claim.* A lease in the store says who may; whoever does not get it waits for what the holder brings. Behind the
   lease the tokens are read again: another process may have been there. The lease is short and prolonged while the
   endpoint answers, so that a process that is killed holds up nobody for long.
2. *Exchange.* `invalid_grant` only counts when the store, read again, still has the same token.
3. *Save.* The new pair is on the disk before anybody may use it. When the store fails for `STORE_S`, a token in
   memory beats none: it is handed over as unsaved, and its owner goes on trying.

A store that cannot be written is no reason to let a token that has ended stay so: after `STORE_S` it is refreshed
without a claim. Nobody else gets one from such a store either. Refreshing ahead of time waits for a better moment.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from ccflare.clock import Clock
from ccflare.desk import Desk
from ccflare.errors import CcflareError, KeyMismatch, NotFound, StoreError, TokenRefused
from ccflare.oauth import Tokens
from ccflare.records import Credentials, Grant, Secret
from ccflare.store import Store
from ccflare.store.tokens import Lease

log = logging.getLogger("ccflare.TokenManager")

T = TypeVar("T")

LEASE_S = 6.0
RENEW_S = 2.0
POLL_S = 0.05
"""How often the holder's result is looked for."""
CLAIM_S = 60.0
"""Longest wait for a lease: the endpoint's own deadline, and a killed holder's lease behind it."""
STORE_S = 5.0
RECHECK_S = 1.0
"""How long the store is watched for a newer pair after the endpoint has refused one."""
ASK_S = 5.0
LONGEST_ERROR = 300


class TokenSource(Protocol):
    """Where new tokens come from."""

    async def refresh(self, refresh_token: Secret) -> Tokens:
        """Return new tokens. TokenRefused with `invalid_grant`: the refresh token is dead."""
        ...


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A new pair that the store does not have yet, and the refresh token that it has instead."""

    used: Secret
    grant: Grant


@dataclass(frozen=True, slots=True)
class Good:
    """The account has a good token: refreshed here, or found in the store."""

    grant: Grant
    refreshed: bool = False
    unsaved: Unsaved | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not work; it may later."""

    error: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """Only a person can help, by signing in again. `used` is what was refused; None: there was none."""

    used: Secret | None
    reason: str


Ending: TypeAlias = Good | Failed | Dead


@dataclass(frozen=True, slots=True)
class Ground:
    """What a flight works with. `holder` is a random name of this process."""

    source: TokenSource
    desk: Desk
    clock: Clock
    holder: str

    def now_ms(self) -> int:
        """Return the wall clock's time."""
        return int(self.clock.now() * 1000)

    async def ask(self, question: Callable[[Store], T]) -> T:
        """Ask the store."""
        return await self.desk.ask(question, within_s=ASK_S)

    async def save(self, lease: Lease, unsaved: Unsaved) -> Grant:
        """Put a new pair into the store and return what counts then. Raises StoreError, NotFound."""
        now_ms = self.now_ms()
        if await self.ask(lambda store: store.tokens.rotate(lease, unsaved.used, unsaved.grant, now_ms)):
            return unsaved.grant
        return await self.ask(lambda store: store.tokens.read(lease.account_id))


class Flight:
    """One refresh, of what an account holds; `unsaved`: the store has not even got that yet."""

    def __init__(self, ground: Ground, held: Grant, unsaved: Unsaved | None = None) -> None:
        self.urgent = False
        """Somebody waits for it. May be set at any time."""
        self._ground = ground
        self._held = held
        self._account_id = held.credentials.account_id
        self._unwanted = held.credentials.access_token
        self._unsaved = unsaved

    async def run(self) -> Ending:
        """Return how it ended. Never raises for what is expected to go wrong."""
        try:
            grant = self._unsaved.grant if self._unsaved else await self._claim()
            if self._is_good(grant):
                await self._drop()
                return Good(grant)
            return await self._exchange(grant)
        except (CcflareError, ValueError) as error:
            return await self._fail(error)

    # Claim.

    async def _claim(self) -> Grant:
        """Return the tokens as they are once nobody else may refresh them, or once they are good."""
        monotonic = self._ground.clock.monotonic
        began = monotonic()
        while True:
            try:
                grant = await self._look()
            except KeyMismatch:
                raise
            except (StoreError, NotFound):  # the second: its database was lost while running
                if monotonic() - began >= STORE_S:
                    if not self.urgent:
                        raise
                    return self._held
                grant = None
            if grant is not None:
                return grant
            if monotonic() - began >= CLAIM_S:
                raise StoreError("another process refreshes the token and does not come to an end")
            await self._ground.clock.sleep(POLL_S)

    async def _look(self) -> Grant | None:
        """Take the lease, or find that its holder is done; None: neither."""
        grant = await self._take()
        if grant is None:
            found = await self._ground.ask(lambda store: store.tokens.read(self._account_id))
            grant = found if self._is_good(found) else None
        return grant

    async def _take(self) -> Grant | None:
        lease, now_ms = self._lease(), self._ground.now_ms()
        return await self._ground.ask(lambda store: store.tokens.take_lease(lease, now_ms))

    def _is_good(self, grant: Grant) -> bool:
        """Whether a pair is another than the one to be replaced, and still alive."""
        token, end_ms = grant.credentials.access_token, grant.expires_at_ms
        alive = end_ms is None or end_ms > self._ground.now_ms()
        return token is not None and token != self._unwanted and alive and grant.expired_reason is None

    def _lease(self) -> Lease:
        return Lease(self._account_id, self._ground.holder, self._ground.now_ms() + int(LEASE_S * 1000))

    async def _drop(self) -> None:
        lease = self._lease()
        await self._ground.ask(lambda store: store.tokens.drop_lease(lease))

    # Exchange.

    async def _exchange(self, grant: Grant) -> Ending:
        used = grant.credentials.refresh_token
        if used is None:
            return await self._bury(None, "the access token has ended and there is no refresh token")
        try:
            tokens = await self._send(used)
        except TokenRefused as error:
            if error.reason != "invalid_grant":
                raise
            return await self._refused(used, error)
        original = self._unsaved.used if self._unsaved else used
        return await self._save(Unsaved(original, self._granted(tokens, used)))

    async def _send(self, used: Secret) -> Tokens:
        prolonging = asyncio.create_task(self._prolong())
        try:
            return await self._ground.source.refresh(used)
        finally:
            prolonging.cancel()

    async def _prolong(self) -> None:
        """Keep the lease for as long as the endpoint takes."""
        while True:
            await self._ground.clock.sleep(RENEW_S)
            try:
                await self._take()
            except (StoreError, NotFound) as error:
                log.debug("A lease was not prolonged: %s", error)

    def _granted(self, tokens: Tokens, used: Secret) -> Grant:
        refresh_token = tokens.refresh_token or used
        credentials = Credentials(self._account_id, access_token=tokens.access_token, refresh_token=refresh_token)
        return Grant(credentials, tokens.expires_at_ms)

    async def _refused(self, used: Secret, error: TokenRefused) -> Ending:
        """Another process, or a person, may have brought a newer pair; else it is over."""
        give_up = self._ground.clock.monotonic() + RECHECK_S
        while True:
            found = await self._ground.ask(lambda store: store.tokens.read(self._account_id))
            if found.credentials.refresh_token != used and not self._unsaved:
                await self._drop()
                return Good(found) if self._is_good(found) else Failed("the tokens were replaced meanwhile")
            if self._ground.clock.monotonic() >= give_up:
                return await self._bury(used, str(error))
            await self._ground.clock.sleep(POLL_S)

    # Save.

    async def _save(self, unsaved: Unsaved) -> Good:
        monotonic, lease = self._ground.clock.monotonic, self._lease()
        give_up = monotonic() + STORE_S
        while True:
            try:
                grant = await self._ground.save(lease, unsaved)
            except (StoreError, NotFound):
                if monotonic() >= give_up:
                    return Good(unsaved.grant, refreshed=True, unsaved=unsaved)
                await self._ground.clock.sleep(POLL_S)
            else:
                return Good(grant, refreshed=grant is unsaved.grant)

    async def _bury(self, used: Secret | None, reason: str) -> Ending:
        """Mark the account as in need of a new sign-in."""
        lease, now_ms = self._lease(), self._ground.now_ms()
        current = self._unsaved.used if self._unsaved else used
        if await self._ground.ask(lambda store: store.tokens.expire(lease, current, _short(reason), now_ms)):
            return Dead(used, reason)
        return Failed("the tokens were replaced meanwhile")

    async def _fail(self, error: Exception) -> Failed:
        """Keep why it failed, where that is possible."""
        text, lease, now_ms = _short(str(error)), self._lease(), self._ground.now_ms()
        if not isinstance(error, StoreError | NotFound):
            try:
                await self._ground.ask(lambda store: store.tokens.fail(lease, text, now_ms))
            except StoreError as trouble:
                log.debug("Why a refresh failed was not kept: %s", trouble)
        return Failed(text, getattr(error, "retry_after_s", None))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."
