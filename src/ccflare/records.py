"""The things ccflare keeps: accounts, their secrets, session bindings, exchanges and attempts.

Each is one frozen struct that is a row of the store and an object of the API. Instants are integer milliseconds since
the epoch (`_at_ms`, `_until_ms`), as in the tables users already query. Secrets live in a record of their own.
"""

import random
import re
from typing import Any, Literal, NoReturn

import msgspec

from ccflare.choice import Choice
from ccflare.usage import NOT_SAID, Usage

Kind = Literal["api_key", "oauth"]
State = Literal["active", "paused", "rate_limited", "expired", "auth_failed"]
Role = Literal["proxy", "admin"]
"""What a client key lets its holder do: use the accounts, or that and everything else."""
Outcome = Literal[
    "success", "disconnected", "rate_limited", "overloaded", "client_error", "server_error", "interrupted", "other"
]
"""How an exchange ended for its client; `interrupted` began well and did not end well."""

CLIENT_KEY_PREFIX = "ccf_"
"""What every client key begins with, so that people and redaction recognise one."""
CLIENT_KEY_BYTES = 47
CLIENT_KEY = re.compile(rb"ccf_[A-Za-z0-9_-]{43}")
"""A whole client key, wherever it stands."""
SESSION_COOKIE = "ccflare_session"
"""What the dashboard's cookies begin with."""

UNREADABLE = "the server cannot read its credential: start it with the ccflare_SECRET_KEY that it is stored under"
"""The reason of `auth_failed` for an account that came while the server had another key, or none."""

ACCOUNT_NAME = re.compile(r"[A-Za-z0-9_@.+-]([A-Za-z0-9 _@.+-]{0,98}[A-Za-z0-9_@.+-])?", re.ASCII)


def check_account_name(name: str) -> str:
    """Return the name unchanged. Raises ValueError, in words for a person, when it cannot be one."""
    if not ACCOUNT_NAME.fullmatch(name):
        raise ValueError("an account name has 1 to 100 letters, digits, spaces or -_@.+ and no space at its ends")
    return name


def check_key_name(name: str) -> str:
    """Return the name unchanged. Raises ValueError when no client key can have it; the rule is that of accounts."""
    if not ACCOUNT_NAME.fullmatch(name):
        raise ValueError("a key's name has 1 to 100 letters, digits, spaces or -_@.+ and no space at its ends")
    return name


class Secret:
    """A credential. It shows itself only to who calls `reveal`; it has no JSON form and cannot be pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("a credential is printable ASCII without spaces")
        self._value = value

    def reveal(self) -> str:
        """Return the credential itself: for the wire and the store, nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not serialised")


class Credentials(msgspec.Struct, frozen=True):
    """What an account proves itself with. `api_key` for key accounts, the tokens for OAuth accounts."""

    account_id: str
    api_key: Secret | None = None
    access_token: Secret | None = None
    refresh_token: Secret | None = None


class Grant(msgspec.Struct, frozen=True):
    """An account's credentials and what is known of their end."""

    credentials: Credentials
    expires_at_ms: int | None = None
    """When the access token ends; None when nobody knows before it is refused, and for key accounts."""
    expired_reason: str | None = None
    """Set when the account needs a new sign-in."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream account that the operator owns, without its secrets."""

    id: str
    name: str
    provider: str = "anthropic"
    kind: Kind = "api_key"
    base_url: str | None = None
    """None: the provider's own address."""
    priority: int = 0
    """Lower is used first."""
    tier: int = 1
    created_at_ms: int
    paused: bool = False
    paused_by: str | None = None
    paused_reason: str | None = None
    paused_at_ms: int | None = None
    resumed_at_ms: int | None = None
    """When a person last wanted it to be tried again."""
    expires_at_ms: int | None = None
    """When the access token ends; None for key accounts."""
    expired_reason: str | None = None
    """Set when the account needs a new sign-in."""
    last_refresh_at_ms: int | None = None
    """When its tokens were refreshed last."""
    refresh_failed_at_ms: int | None = None
    """When that failed last, and why; forgotten by a new sign-in."""
    refresh_error: str | None = None
    auth_failed_reason: str | None = None
    """Set when upstream refused the credential, or it cannot be read (`UNREADABLE`); cleared by the next success or a
    changed credential."""
    limited_until_ms: int | None = None
    limited_reason: str | None = None
    rate_limit_status: str | None = None
    """Upstream's own word, for example `allowed_warning`."""
    rate_limit_reset_ms: int | None = None
    rate_limit_remaining: int | None = None
    last_used_ms: int | None = None
    request_count: int = 0
    total_requests: int = 0
    session_started_ms: int | None = None
    session_request_count: int = 0


def state_of(account: Account, now_ms: int) -> State:
    """Say what an account is at this moment. Routing, `--list`, `/health` and the dashboard all ask here."""
    if account.paused:
        return "paused"
    if account.expired_reason is not None:
        return "expired"
    if account.auth_failed_reason is not None:
        return "auth_failed"
    if account.limited_until_ms is not None and account.limited_until_ms > now_ms:
        return "rate_limited"
    return "active"


def outcome_of(status: int, success: bool) -> Outcome:
    """Say how an exchange ended, by the status its client got."""
    if success:
        return "success"
    return _OUTCOMES_BY_STATUS.get(status) or _OUTCOMES_BY_CLASS.get(status // 100, "other")


_OUTCOMES_BY_STATUS: dict[int, Outcome] = {429: "rate_limited", 499: "disconnected", 529: "overloaded"}
_OUTCOMES_BY_CLASS: dict[int, Outcome] = {2: "interrupted", 4: "client_error", 5: "server_error"}


def token_trouble(account: Account, now_ms: int) -> str | None:
    """Say what keeps an OAuth account from serving although its state is `active`: no good token, no new one."""
    ended = account.kind == "oauth" and account.expires_at_ms is not None and account.expires_at_ms <= now_ms
    if not ended or (account.refresh_failed_at_ms or 0) <= (account.last_refresh_at_ms or 0):
        return None
    return f"its token has ended and cannot be refreshed: {account.refresh_error or 'no reason is known'}"


class ClientKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that clients of ours prove themselves with, without the key itself: only its hash is kept, elsewhere."""

    id: str
    name: str
    role: Role = "proxy"
    store_payloads: bool = True
    """Whether what is said with it is kept."""
    created_at_ms: int
    revoked_at_ms: int | None = None
    """Since when it lets nobody in; it stays in the history under its name."""
    last_used_ms: int | None = None


class DashboardSession(msgspec.Struct, frozen=True):
    """A browser that is signed in with a client key."""

    key_id: str
    expires_at_ms: int


class Admission(msgspec.Struct, frozen=True):
    """All that decides who is let in: every client key, revoked ones too, and the dashboard's sessions, by SHA-256."""

    keys: dict[bytes, ClientKey]
    sessions: dict[bytes, DashboardSession]


class Binding(msgspec.Struct, frozen=True):
    """A session's account. `key` is a hash: what a client sent as its id is not kept."""

    key: str
    account_id: str
    bound_at_ms: int
    used_at_ms: int


class Owned(msgspec.Struct, frozen=True, gc=False):
    """An upstream object (a file, a batch, a container, ...) and the account that it belongs to."""

    object_id: str
    account_id: str | None
    """None: it was deleted."""
    used_at_ms: int


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One upstream try inside an exchange."""

    account_id: str | None
    """None: forwarded with the client's own credential."""
    verdict: str
    """What the outcome meant: `deliver`, `retry`, `next`, `refresh`, `broken` or `cancelled`."""
    status: int | None = None
    """Upstream's status; None when no answer came."""
    duration_ms: int = 0
    wait_ms: int = 0
    """Pause before this attempt."""
    reason: str | None = None
    """Why the outcome was not delivered, in a few words."""
    choice: Choice | None = None
    """Why it went to this account; None in rows of older programs."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One client request from arrival to last byte: a row of `requests`."""

    id: str
    timestamp_ms: int
    """Arrival."""
    method: str
    path: str
    account_id: str | None = None
    status_code: int
    """What the client got; 499 when it left first."""
    success: bool
    error_message: str | None = None
    response_time_ms: int
    first_byte_ms: int | None = None
    """Arrival to the first byte of the answer."""
    own_ms: float | None = None
    """ccflare's own share of the time to the first byte."""
    model: str | None = None
    """The model that answered, else the one that was asked for."""
    usage: Usage = NOT_SAID
    cost_microusd: int | None = None
    """Micro-dollars; None when the usage or the price is not known."""
    output_tokens_per_second: float | None = None
    """Over the time from the first content to the last."""
    session: str | None = None
    """Hash of the session's key."""
    client: str | None = None
    client_key_id: str | None = None
    """The client key it came with; None when none was needed."""
    streamed: bool = False
    request_bytes: int = 0
    response_bytes: int = 0
    attempts: tuple[Attempt, ...] = ()

    @property
    def failover_attempts(self) -> int:
        """How many attempts came before the one that was answered with."""
        return len(self.attempts) - 1 if self.attempts else 0


def new_id(now_ms: int, rng: random.Random) -> str:
    """Return a time-ordered UUID (version 7, RFC 9562 §5.7): rows made later sort later."""
    value = (now_ms & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)
    text = value.to_bytes(16, "big").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def encode_attempts(attempts: tuple[Attempt, ...]) -> str:
    """Return attempts as the JSON kept in `requests.attempts`."""
    return msgspec.json.encode(attempts).decode()


def decode_attempts(text: str | None) -> tuple[Attempt, ...]:
    """Read `requests.attempts`; None (a row of an older program) has none."""
    return msgspec.json.decode(text, type=tuple[Attempt, ...]) if text else ()


def refuse_secrets(value: Any) -> NoReturn:
    """Be the JSON encoder's last resort: there is nothing here that may be encoded."""
    raise TypeError(f"{type(value).__name__} has no JSON form")
