"""The sign-in side of the simulated upstream: authorisation codes with PKCE, token rotation, profile, usage.

The rule: a refresh token that was exchanged is dead at once, unless `rotation` or `reuse` says otherwise.
"""

import base64
import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from ccflare.demo.accounts import DEFAULT_SCOPES, AccessToken, Caller, Doorkeeper, SimulatedAccount, derived
from ccflare.demo.reply import Ids, Reply, encode, line

CODE_LIFE_S = 600.0
NO_STORE = b"cache-control: no-store\r\n"
REFRESH_INVALID = "Refresh token not found or invalid"


@dataclass(slots=True)
class OAuthSettings:
    """How tokens are made and what happens to old ones. May be changed while the server runs."""

    client_id: str = "simulated-client"
    rotation: Literal["rotate", "keep", "omit"] = "rotate"
    """A refresh gives a new refresh token; the same again; or names none."""
    reuse: Literal["reject", "revoke_family", "grace"] = "reject"
    """What a second use of a rotated token does. `revoke_family` also ends every token that came from it."""
    access_ttl: float = 28_800.0
    """Seconds an access token lives."""
    grace_s: float = 60.0
    usage_min_interval: float = 0.0
    """Polling the usage endpoint faster than this (seconds) is refused."""


@dataclass(slots=True)
class RefreshToken:
    """A refresh token that was given out."""

    account: SimulatedAccount
    scopes: tuple[str, ...]
    family: str
    """All tokens that descend from one sign-in."""
    rotated_at: float | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """An authorisation code that waits for its exchange."""

    account: SimulatedAccount
    scopes: tuple[str, ...]
    redirect_uri: str
    challenge: str
    state: str
    made_at: float


@dataclass(slots=True)
class OAuthCounts:
    """What the token endpoint has done."""

    refreshes: dict[str, int] = field(default_factory=dict)
    """Successful refreshes by account."""
    sign_ins: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    reused: int = 0
    """How often a rotated refresh token came back."""
    keys_created: int = 0


class OAuth:
    """The authorisation server. Access tokens go into the doorkeeper's book."""

    def __init__(self, settings: OAuthSettings, doors: Doorkeeper, ids: Ids, seed: int) -> None:
        self.settings = settings
        self.counts = OAuthCounts()
        self._doors = doors
        self._ids = ids
        self._seed = seed
        self._refresh: dict[str, RefreshToken] = {}
        self._codes: dict[str, Code] = {}
        self._families: dict[str, list[str]] = {}
        self._polled: dict[str, float] = {}
        self._current: dict[str, tuple[str, str]] = {}

    # Tokens of an account, for who sets the scene.

    def sign_in(self, account: SimulatedAccount, now: float) -> None:
        """Give an account its first pair of tokens; the same seed and name give the same pair."""
        access = f"sk-ant-oat01-sim-{derived(self._seed, account.name, 'access')}"
        refresh = f"sk-ant-ort01-sim-{derived(self._seed, account.name, 'refresh')}"
        self._give(account, account.scopes, access, refresh, refresh, now)

    def tokens(self, name: str) -> tuple[str, str]:
        """Return the newest access and refresh token of an account. Raises KeyError when it has none."""
        return self._current[name]

    def revoke(self, account: SimulatedAccount, kind: str) -> None:
        """End an account's `access` tokens, `refresh` tokens, or `all`. Raises ValueError otherwise."""
        if kind not in {"access", "refresh", "all"}:
            raise ValueError("kind is one of access, refresh, all")
        if kind != "refresh":
            for access in self._doors.tokens.values():
                access.revoked = access.revoked or access.caller.account is account
        if kind != "access":
            for refresh in self._refresh.values():
                refresh.revoked = refresh.revoked or refresh.account is account

    def expire(self, account: SimulatedAccount, now: float) -> None:
        """Let every access token of an account expire at `now`."""
        for access in self._doors.tokens.values():
            if access.caller.account is account:
                access.expires_at = min(access.expires_at, now)

    def forget_everything(self) -> None:
        """Drop every token, code and count."""
        self.counts = OAuthCounts()
        self._doors.tokens.clear()
        for book in (self._refresh, self._codes, self._families, self._polled, self._current):
            book.clear()

    def _give(
        self,
        account: SimulatedAccount,
        scopes: tuple[str, ...],
        access: str,
        refresh: str,
        family: str,
        now: float,
    ) -> None:
        caller = Caller(account, scopes, oauth=True)
        self._doors.tokens[access.encode()] = AccessToken(caller, now + self.settings.access_ttl)
        if refresh not in self._refresh:
            self._refresh[refresh] = RefreshToken(account, scopes, family)
        self._families.setdefault(family, []).append(access)
        self._current[account.name] = (access, refresh)

    # The token endpoint.

    def token(self, body: bytes, content_type: bytes, now: float) -> Reply:
        """Answer `POST /v1/oauth/token`, JSON or form."""
        fields = _fields(body, content_type)
        if fields is None:
            return self._refused("invalid_request", "The request body cannot be read")
        grant = fields.get("grant_type")
        if not grant:
            return self._refused("invalid_request", "grant_type is required")
        if grant not in {"refresh_token", "authorization_code"}:
            return self._refused("unsupported_grant_type", f"Unsupported grant_type: {grant}")
        if fields.get("client_id") != self.settings.client_id:
            return self._refused("invalid_client", "Unknown client_id", status=401)
        if grant == "refresh_token":
            return self._refreshed(fields, now)
        return self._exchanged(fields, now)

    def _refreshed(self, fields: Mapping[str, str], now: float) -> Reply:
        value = fields.get("refresh_token")
        if not value:
            return self._refused("invalid_request", "refresh_token is required")
        old = self._refresh.get(value)
        if old is None or old.revoked or not self._usable_again(old, now):
            return self._refused("invalid_grant", REFRESH_INVALID)
        rotated = self.settings.rotation == "rotate"
        refresh = self._new("ort", old.account) if rotated else value
        if rotated and old.rotated_at is None:
            old.rotated_at = now
        access = self._new("oat", old.account)
        self._give(old.account, old.scopes, access, refresh, old.family, now)
        counts = self.counts.refreshes
        counts[old.account.name] = counts.get(old.account.name, 0) + 1
        return self._granted(old.account, old.scopes, access, None if self.settings.rotation == "omit" else refresh)

    def _usable_again(self, token: RefreshToken, now: float) -> bool:
        """Say whether a token may be exchanged, applying the policy for ones that were exchanged before."""
        if token.rotated_at is None:
            return True
        self.counts.reused += 1
        if self.settings.reuse == "grace":
            return now - token.rotated_at <= self.settings.grace_s
        if self.settings.reuse == "revoke_family":
            self._revoke_family(token.family)
        return False

    def _revoke_family(self, family: str) -> None:
        for token in self._refresh.values():
            token.revoked = token.revoked or token.family == family
        for access in self._families.get(family, ()):
            self._doors.tokens[access.encode()].revoked = True

    def _exchanged(self, fields: Mapping[str, str], now: float) -> Reply:
        code = self._codes.pop(fields.get("code", ""), None)
        if code is None or now - code.made_at > CODE_LIFE_S:
            return self._refused("invalid_grant", "Invalid or expired authorization code")
        if fields.get("redirect_uri") != code.redirect_uri:
            return self._refused("invalid_grant", "redirect_uri does not match")
        if fields.get("state") != code.state:
            return self._refused("invalid_grant", "state does not match")
        if challenge_of(fields.get("code_verifier", "")) != code.challenge:
            return self._refused("invalid_grant", "Invalid code_verifier")
        access, refresh = self._new("oat", code.account), self._new("ort", code.account)
        self._give(code.account, code.scopes, access, refresh, refresh, now)
        counts = self.counts.sign_ins
        counts[code.account.name] = counts.get(code.account.name, 0) + 1
        return self._granted(code.account, code.scopes, access, refresh)

    def _granted(self, account: SimulatedAccount, scopes: tuple[str, ...], access: str, refresh: str | None) -> Reply:
        ttl = self.settings.access_ttl
        body: dict[str, Any] = {
            "token_type": "Bearer",
            "access_token": access,
            "expires_in": int(ttl) if ttl == int(ttl) else ttl,
            "scope": " ".join(scopes),
            "organization": {"uuid": account.organization, "name": f"{account.name} (simulated)"},
            "account": {"uuid": self._account_uuid(account), "email_address": _email(account)},
        }
        if refresh is not None:
            body["refresh_token"] = refresh
        return Reply(200, encode(body), lines=NO_STORE)

    def _refused(self, error: str, description: str, status: int = 400) -> Reply:
        self.counts.refused += 1
        return Reply(status, encode({"error": error, "error_description": description}), lines=NO_STORE)

    def _new(self, kind: str, account: SimulatedAccount) -> str:
        return f"sk-ant-{kind}01-sim-{derived(self._seed, account.name, self._ids.new('token'))}"

    def _account_uuid(self, account: SimulatedAccount) -> str:
        digits = derived(self._seed, account.name, "account")
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"

    # Authorisation, which is always granted.

    def authorize(self, query: str, accounts: Mapping[str, SimulatedAccount], now: float) -> Reply:
        """Answer `GET /oauth/authorize`: redirect to a local address, or show the code on a page."""
        asked = dict(parse_qsl(query, keep_blank_values=True))
        problem = self._objection(asked)
        account = _chosen(asked.get("fake_account"), accounts)
        if problem is None and account is None:
            problem = "no such account"
        if problem is not None or account is None:
            return _page(400, f"<p>Invalid authorization request: {html.escape(problem or '')}</p>")
        scopes = tuple(asked["scope"].split()) if asked.get("scope") else DEFAULT_SCOPES
        code = f"sim-code-{self._ids.new('')}"
        self._codes[code] = Code(account, scopes, asked["redirect_uri"], asked["code_challenge"], asked["state"], now)
        target = urlsplit(asked["redirect_uri"])
        if target.hostname in {"localhost", "127.0.0.1", "::1"}:
            joint = "&" if target.query else "?"
            where = f"{asked['redirect_uri']}{joint}{urlencode({'code': code, 'state': asked['state']})}"
            return Reply(302, b"", lines=line("location", where))
        return _page(
            200,
            f"<p>Paste this:</p><code>{html.escape(code)}#{html.escape(asked['state'])}</code>",
        )

    def _objection(self, asked: Mapping[str, str]) -> str | None:
        if asked.get("response_type") != "code":
            return "response_type must be code"
        if asked.get("client_id") != self.settings.client_id:
            return "unknown client_id"
        missing = [name for name in ("redirect_uri", "state", "code_challenge") if not asked.get(name)]
        if missing:
            return f"{missing[0]} is required"
        return None if asked.get("code_challenge_method") == "S256" else "code_challenge_method must be S256"

    # What a signed-in program may ask about its account.

    def create_api_key(self, caller: Caller) -> Reply | str:
        """Answer `create_api_key`; a string is the scope that is missing."""
        if "org:create_api_key" not in caller.scopes:
            return "org:create_api_key"
        key = f"sk-ant-api03-sim-{derived(self._seed, caller.account.name, self._ids.new('key'))}"
        self._doors.admit_key(key, caller.account)
        self.counts.keys_created += 1
        return Reply(200, encode({"raw_key": key}), lines=NO_STORE)

    def profile(self, caller: Caller) -> Reply | str:
        """Answer `/api/oauth/profile`; a string says which scopes are missing."""
        if "user:profile" not in caller.scopes:
            return "any_of(user:profile, user:office)"
        account = caller.account
        person = {"uuid": self._account_uuid(account), "email": _email(account), "has_claude_max": True}
        organization = {
            "uuid": account.organization,
            "name": f"{account.name} (simulated)",
            "organization_type": "claude_max",
            "rate_limit_tier": "default_claude_max_5x",
        }
        return Reply(200, encode({"account": person, "organization": organization}))

    def polled_too_fast(self, account: SimulatedAccount, now: float) -> bool:
        """Note one look at the usage and say whether it came too soon after the last."""
        before, self._polled[account.name] = self._polled.get(account.name), now
        return before is not None and now - before < self.settings.usage_min_interval


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _fields(body: bytes, content_type: bytes) -> dict[str, str] | None:
    if content_type.split(b";")[0].strip().lower() == b"application/x-www-form-urlencoded":
        return dict(parse_qsl(body.decode("utf-8", "replace")))
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    if not isinstance(value, dict):
        return None
    return {key: item for key, item in value.items() if isinstance(item, str)}


def _chosen(name: str | None, accounts: Mapping[str, SimulatedAccount]) -> SimulatedAccount | None:
    if name is not None:
        return accounts.get(name)
    return next((account for account in accounts.values() if account.kind == "oauth"), None) or next(
        iter(accounts.values()), None
    )


def _email(account: SimulatedAccount) -> str:
    local = "".join(char if char.isalnum() else "-" for char in account.name)
    return f"{local}@example.invalid"


def _page(status: int, content: str) -> Reply:
    text = f"<!doctype html><title>Simulated sign-in</title>{content}"
    return Reply(status, text.encode(), content_type=b"text/html; charset=utf-8")
