"""Signing in with OAuth: a person allows it in a browser and brings back a code, and an account comes of it.

A sign-in is begun (`init`), waits in the store for ten minutes at most, and is completed once. What is wrong
with the pasted text is found before anything is sent; from then on the sign-in is spent, whatever comes of it. So
what has begun to spend it runs to its end, also when whoever asked has gone: a code works once.
"""

import asyncio
import hmac
import logging
import random
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import msgspec

from ccflare.clock import Clock
from ccflare.errors import (
    CcflareError,
    Conflict,
    InvalidCode,
    NotFound,
    RequestError,
    StoreBusy,
    TokenEndpointError,
    TokenRefused,
    TransportError,
)
from ccflare.oauth import (
    RANDOM_BYTES,
    Mode,
    OAuthSettings,
    PastedCode,
    Tokens,
    authorize_url,
    hash_of,
    random_text,
    read_code,
)
from ccflare.records import Account, Credentials, check_account_name, new_id
from ccflare.store import Store
from ccflare.store.flows import Flow
from ccflare.tokens import TokenEndpoint
from ccflare.wire import BaseUrl

T = TypeVar("T")

FLOW_MS = 600_000
"""How long a sign-in waits for its code."""
KEEP_TRYING_S = 20.0
"""How long a locked database is asked again to take what cannot be had a second time."""
_PAUSE_S = 0.2

log = logging.getLogger("ccflare.SignIn")
log.addHandler(logging.NullHandler())  # the command line has no log and says itself what went wrong


class Asks(Protocol):
    """Asks the store something, as `Desk.ask` does."""

    def __call__(self, question: Callable[[Store], T], /) -> Coroutine[Any, Any, T]:
        """Return what the question returns."""
        ...


class Begun(msgspec.Struct, frozen=True):
    """A sign-in that waits for its code."""

    auth_url: str
    """Where the person goes."""
    flow_id: str
    """Names the sign-in. It is no secret: without the code it is worth nothing."""
    expires_at_ms: int


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What an account that is signed in to will be."""

    name: str
    mode: Mode = "max"
    base_url: str | None = None
    priority: int = 0
    tier: int = 1


class SignIn:
    """Adds accounts by OAuth, and signs in again to those there are.

    Every call raises InvalidSetting when there is no OAuth client, and StoreBusy or StoreError.
    """

    def __init__(
        self,
        ask: Asks,
        endpoint: TokenEndpoint,
        settings_of: Callable[[], OAuthSettings],
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._ask = ask
        self._endpoint = endpoint
        self._settings_of = settings_of
        self._clock = clock
        self._random_bytes = random_bytes
        self._running: set[asyncio.Task[Account]] = set()

    async def close(self, within_s: float) -> None:
        """Let the sign-ins that are being completed come to the disk; what takes longer is given up."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def init(self, wanted: NewAccount) -> Begun:
        """Begin to add an account. Raises RequestError for a bad name or address, Conflict for a taken name."""
        try:
            check_account_name(wanted.name)
            if wanted.base_url is not None:
                BaseUrl.parse(wanted.base_url)
        except ValueError as error:
            raise RequestError(str(error)) from None
        await self._ask(lambda store: _check_free(store, wanted.name))
        return await self._begin(wanted, None)

    async def init_again(self, account_id: str) -> Begun:
        """Begin to sign in again to an account; it gets new credentials of its kind and nothing else changes.

        Raises NotFound.
        """
        account = await self._ask(lambda store: _account(store, account_id))
        mode: Mode = "console" if account.kind == "api_key" else "max"
        return await self._begin(NewAccount(name=account.name, mode=mode), account_id)

    async def complete(self, flow_id: str | None, pasted: str) -> Account:
        """Return the account after its code, in the form `code#state`, was brought back.

        `flow_id` None: the state alone says which sign-in it belongs to. Raises InvalidCode while nothing was
        sent and the right code may still be given; NotFound when no sign-in waits for this code, or the account
        has gone; Conflict when the name was taken meanwhile; TokenRefused and TokenEndpointError. A caller that is
        cancelled does not end what has begun.
        """
        given = read_code(pasted)
        state_hash = hash_of(given.state)
        if flow_id is not None and not _same(flow_id, state_hash):
            raise InvalidCode("this code belongs to another sign-in; paste the code that the newest address gave")
        self._settings_of()
        task = asyncio.create_task(self._completed(given, state_hash))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _completed(self, given: PastedCode, state_hash: str) -> Account:
        flow = await self._ask(lambda store: _taken(store, state_hash, self._now_ms()))
        try:
            account, credentials = await self._proven(flow, given)
            kept = await self._kept(account, credentials, new=flow.account_id is None)
        except CcflareError as error:
            log.warning("Account %s was not signed in to: %s", flow.name, error)
            raise
        except Exception:
            log.exception("Account %s was not signed in to", flow.name)  # there may be nobody else to be told
            raise
        log.info("Account %s was signed in to", flow.name)
        return kept

    async def _begin(self, wanted: NewAccount, account_id: str | None) -> Begun:
        settings = self._settings_of()
        state, verifier = (random_text(self._random_bytes(RANDOM_BYTES)) for _ in range(2))
        now_ms = self._now_ms()
        flow = Flow(
            id=hash_of(state),
            **msgspec.structs.asdict(wanted),
            verifier=verifier,
            account_id=account_id,
            created_at_ms=now_ms,
            expires_at_ms=now_ms + FLOW_MS,
        )
        await self._ask(lambda store: store.flows.put(flow))
        url = authorize_url(settings, wanted.mode, state=state, verifier=verifier)
        return Begun(url, flow.id, flow.expires_at_ms)

    async def _proven(self, flow: Flow, given: PastedCode) -> tuple[Account, Credentials]:
        """Return the account that the code has led to, and its credentials."""
        now_ms = self._now_ms()
        account = Account(
            id=flow.account_id or new_id(now_ms, random.SystemRandom()),
            name=flow.name,
            kind="oauth" if flow.mode == "max" else "api_key",
            base_url=flow.base_url,
            priority=flow.priority,
            tier=flow.tier,
            created_at_ms=now_ms,
        )
        with _telling("Token exchange failed"):
            tokens = await self._exchanged(flow, given)
        if flow.mode == "max":
            account = msgspec.structs.replace(account, expires_at_ms=tokens.expires_at_ms)
            return account, Credentials(account.id, None, tokens.access_token, tokens.refresh_token)
        with _telling("API key creation failed"):
            key = await self._endpoint.create_api_key(tokens.access_token)
        return account, Credentials(account.id, api_key=key)

    async def _exchanged(self, flow: Flow, given: PastedCode) -> Tokens:
        if flow.verifier is None:
            raise TokenRefused("invalid_request", "Invalid code_verifier")
        tokens = await self._endpoint.exchange(code=given.code, state=given.state, verifier=flow.verifier)
        if flow.mode == "max" and tokens.refresh_token is None:
            raise TokenEndpointError("the answer has no refresh token")
        return tokens

    async def _kept(self, account: Account, credentials: Credentials, *, new: bool) -> Account:
        """Write what was granted; a database that is locked for a moment is asked again."""
        give_up_at = self._clock.monotonic() + KEEP_TRYING_S
        change = _add if new else _renew
        while True:
            try:
                return await self._ask(lambda store: change(store, account, credentials))
            except StoreBusy:
                if self._clock.monotonic() >= give_up_at:
                    raise
            await self._clock.sleep(_PAUSE_S)

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("ascii"))


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Say what failed, and that it begins anew: a code works once."""
    again = ". Begin the sign-in again"
    try:
        yield
    except TokenRefused as error:
        raise TokenRefused(error.reason, f"{what}: {error}{again}") from error
    except TransportError as error:
        raise TokenEndpointError(f"{what}: {error}{again}") from error
    except TokenEndpointError as error:
        when = "" if error.retry_after_s is None else f" in {error.retry_after_s:.0f} s"
        raise TokenEndpointError(f"{what}: {error}{again}{when}", error.retry_after_s) from error


# Questions to the store.


def _check_free(store: Store, name: str) -> None:
    if any(account.name == name for account in store.accounts()):
        raise Conflict(f"there is already an account named {name!r}")


def _account(store: Store, account_id: str) -> Account:
    for account in store.accounts():
        if account.id == account_id:
            return account
    raise NotFound(f"there is no account with the id {account_id}")


def _taken(store: Store, state_hash: str, now_ms: int) -> Flow:
    flow = store.flows.take(state_hash, now_ms)
    if flow is None:
        raise NotFound(
            "no sign-in waits for this code: it was used before, or is older than 10 minutes. Begin the sign-in again"
        )
    if flow.account_id is not None:
        _account(store, flow.account_id)
    else:
        _check_free(store, flow.name)
    return flow


def _add(store: Store, account: Account, credentials: Credentials) -> Account:
    try:
        store.add_account(account, credentials)
    except Conflict as error:
        raise Conflict(f"{error}: it was taken during the sign-in. Begin again with another name") from None
    return account


def _renew(store: Store, account: Account, credentials: Credentials) -> Account:
    try:
        store.set_credentials(credentials, account.expires_at_ms)
    except NotFound:
        raise NotFound(f"account {account.name} was removed during the sign-in") from None
    return _account(store, account.id)
