"""The accounts of the simulated upstream, and who a request comes from.

The rule: a request that carries a wrong credential next to a right one is refused. The real service's answer
to that is not known; refusing finds every credential that a proxy forgot to remove.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ccflare.demo.budgets import Limits, Subscription, Window
from ccflare.demo.prompt_cache import PromptCache
from ccflare.demo.reply import Refusal, line

OAUTH_BETA = "oauth-2025-04-20"
API_KEY_PREFIX = "sk-ant-api"
CREDENTIAL_FIELDS = frozenset({b"x-api-key", b"authorization"})
DEFAULT_SCOPES = ("org:create_api_key", "user:profile", "user:inference")
CREDIT_MESSAGE = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)
SPEND_MESSAGE = "You have reached your specified API usage limits. You will regain access at the start of next month."
TOKEN_EXPIRED = "OAuth token has expired. Please obtain a new token or refresh your existing token."  # noqa: S105  # a message
TOKEN_REVOKED = "OAuth token has been revoked. Please obtain a new token."  # noqa: S105  # a message
EXPIRED_DETAILS = {"error_visibility": "user_facing", "error_code": "token_expired"}


def derived(seed: int, *parts: str) -> str:
    """Return 48 hexadecimal digits that follow from the seed and the parts."""
    return hashlib.sha256("\n".join((str(seed), *parts)).encode()).hexdigest()[:48]


@dataclass(slots=True)
class SimulatedAccount:
    """An account and its switches. Every field may be changed while the server runs."""

    name: str
    kind: Literal["api_key", "oauth"] = "api_key"
    api_key: str = ""
    """Made from the name and the server's seed when empty; unused for OAuth accounts."""
    limits: Limits = field(default_factory=Limits)
    subscription: Subscription = field(default_factory=Subscription)
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    revoked: bool = False
    """The API key, or every access token, no longer counts."""
    no_credit: bool = False
    spend_limit: bool = False
    """The spend cap the operator set is reached."""
    forbids_oauth: bool = False
    fault: Any = None
    """An action (see `faults`) for every request of this account."""
    cache: PromptCache = field(default_factory=PromptCache)
    in_flight: int = 0
    organization: str = ""
    workspace: str = ""
    identity_lines: bytes = b""
    """The header lines that name the organisation, sent once a request is authenticated."""

    @property
    def windows(self) -> dict[str, Window]:
        """The usage windows of a subscription, by name (`5h`, `7d`, ...)."""
        return self.subscription.windows

    def settle(self, seed: int) -> None:
        """Fill in what follows from the name: keys and identifiers."""
        if self.kind == "api_key" and not self.api_key:
            self.api_key = f"{API_KEY_PREFIX}03-sim-{derived(seed, self.name, 'key')}"
        self.organization = self.organization or str(uuid.UUID(derived(seed, self.name, "organization")[:32]))
        self.workspace = self.workspace or f"wrkspc_01{derived(seed, self.name, 'workspace')[:22]}"
        self.identity_lines = line("anthropic-organization-id", self.organization) + line(
            "anthropic-workspace-id", self.workspace
        )

    def limit_lines(self, model: str | None, now: float) -> bytes:
        """Render the rate limit fields of this account's family."""
        if self.kind == "api_key":
            return self.limits.lines(now)
        return self.subscription.unified(model, now).lines()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from."""

    account: SimulatedAccount
    scopes: tuple[str, ...]
    oauth: bool


@dataclass(slots=True)
class AccessToken:
    """An OAuth access token that was given out."""

    caller: Caller
    expires_at: float
    revoked: bool = False


def bearer(fields: Mapping[bytes, bytes]) -> bytes | None:
    """Return the bearer credential of a request, without the scheme."""
    value = fields.get(b"authorization")
    if value is None:
        return None
    scheme, _, credential = value.partition(b" ")
    return credential.strip() if scheme.lower() == b"bearer" else b""


class Doorkeeper:
    """Knows every credential and applies the authentication table.

    `open_account` makes an account for a credential nobody knows; None (strict) refuses it.
    """

    def __init__(self, open_account: Callable[[bytes], SimulatedAccount] | None) -> None:
        self.keys: dict[bytes, Caller] = {}
        self.tokens: dict[bytes, AccessToken] = {}
        self._open_account = open_account

    def admit_key(self, key: str, account: SimulatedAccount) -> None:
        """Let an API key stand for an account."""
        self.keys[key.encode()] = Caller(account, DEFAULT_SCOPES, oauth=False)

    def forget(self, account: SimulatedAccount) -> None:
        """Drop every credential of an account."""
        self.keys = {key: caller for key, caller in self.keys.items() if caller.account is not account}
        self.tokens = {key: token for key, token in self.tokens.items() if token.caller.account is not account}

    def known(self, credential: bytes | None) -> Caller | None:
        """Return whose credential this is, whether it still counts or not."""
        if credential is None:
            return None
        if (caller := self.keys.get(credential)) is not None:
            return caller
        token = self.tokens.get(credential)
        return None if token is None else token.caller

    def identify(self, fields: Mapping[bytes, bytes], repeated: Iterable[bytes], now: float) -> Caller | Refusal:
        """Apply the table: return the caller, or how the request is refused."""
        if not CREDENTIAL_FIELDS.isdisjoint(repeated):
            return Refusal(400, "A credential header was sent more than once.")
        key, token = fields.get(b"x-api-key"), bearer(fields)
        if key is None and token is None:
            return Refusal(401, "x-api-key header is required")
        by_key = self._key(key) if key is not None else None
        if isinstance(by_key, Refusal):
            return by_key
        by_token = self._bearer(token, fields, now) if token is not None else None
        if isinstance(by_token, Refusal):
            return by_token
        if by_key is not None and by_token is not None and by_key.account is not by_token.account:
            return Refusal(401, "x-api-key and authorization name different accounts")
        caller = by_key or by_token
        assert caller is not None  # noqa: S101  # one of the two was there and was not refused
        return caller

    def _key(self, key: bytes) -> Caller | Refusal:
        caller = self.keys.get(key)
        if caller is None and self._open_account is not None and key:
            return self._opened(key)
        if caller is None or caller.account.revoked:
            return Refusal(401, "invalid x-api-key")
        return caller

    def _bearer(self, credential: bytes, fields: Mapping[bytes, bytes], now: float) -> Caller | Refusal:
        if credential in self.keys:
            return self._key(credential)
        token = self.tokens.get(credential)
        if token is None:
            if self._open_account is not None and credential:
                return self._opened(credential)
            is_key = credential.startswith(API_KEY_PREFIX.encode())
            return Refusal(401, "invalid x-api-key" if is_key else "Invalid bearer token")
        return self._token(token, fields, now)

    def _token(self, token: AccessToken, fields: Mapping[bytes, bytes], now: float) -> Caller | Refusal:
        account = token.caller.account
        betas = fields.get(b"anthropic-beta", b"").decode("latin-1")
        if OAUTH_BETA not in {value.strip() for value in betas.split(",")}:
            return Refusal(401, "OAuth authentication is currently not supported.")
        if token.revoked or account.revoked:
            return Refusal(403, TOKEN_REVOKED)
        if token.expires_at <= now:
            return Refusal(401, TOKEN_EXPIRED, details=EXPIRED_DETAILS)
        if account.forbids_oauth:
            return Refusal(403, "OAuth authentication is currently not allowed for this organization.")
        return token.caller

    def _opened(self, credential: bytes) -> Caller:
        assert self._open_account is not None  # noqa: S101  # only called in open mode
        account = self._open_account(credential)
        caller = Caller(account, DEFAULT_SCOPES, oauth=False)
        self.keys[credential] = caller
        return caller


def funds(account: SimulatedAccount) -> Refusal | None:
    """Refuse what costs money when the account has none."""
    if account.no_credit:
        return Refusal(400, CREDIT_MESSAGE)
    if account.spend_limit:
        return Refusal(400, SPEND_MESSAGE)
    return None
