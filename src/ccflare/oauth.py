"""OAuth 2.0 sign-in as values (RFC 6749 §4.1, with PKCE of RFC 7636): what is sent and what comes back.

The rule: nothing here does I/O, and no error's text contains a code, a verifier, a state or a token.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from ccflare.errors import InvalidCode, InvalidSetting, TokenEndpointError, TokenRefused
from ccflare.records import Account, Secret

Mode = Literal["max", "console"]
"""What a sign-in is for: the tokens of a subscription, or an API key that is made with them."""

RANDOM_BYTES = 32
"""What a state and a verifier are made of; both are 43 characters then."""
LONGEST_LIFE_S = 10 * 365 * 86_400
"""No token is believed to live longer."""

NO_CLIENT = "refreshing tokens needs your OAuth client: set CLIENT_ID for the server"
"""Not only for the command that signs in."""

_STATE_LENGTH = 43
_LONGEST_PASTE = 4096
_LONGEST_DETAIL = 200
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_TOKEN_LIKE = re.compile(r"sk-ant-[A-Za-z0-9_-]+")
_REASON = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_TRUNCATED = "the code is not complete: paste all of it, in the form code#state"


class _Settings(Protocol):
    """The rows of the settings' table that sign-ins go by; importing the table would bring files along."""

    @property
    def client_id(self) -> str: ...
    @property
    def oauth_authorize_url(self) -> str: ...
    @property
    def oauth_console_url(self) -> str: ...
    @property
    def oauth_token_url(self) -> str: ...
    @property
    def oauth_api_key_url(self) -> str: ...
    @property
    def oauth_redirect_uri(self) -> str: ...
    @property
    def oauth_scopes(self) -> str: ...


class OAuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's OAuth client and where its provider's endpoints are."""

    client_id: str
    authorize_url: str
    """For a subscription (`max`)."""
    console_url: str
    """The same for `console`."""
    token_url: str
    api_key_url: str
    redirect_uri: str
    scopes: str
    """Separated by blanks."""

    @classmethod
    def of(cls, settings: _Settings) -> "OAuthSettings":
        """Return what the settings say. Raises InvalidSetting when there is no OAuth client."""
        if not settings.client_id:
            raise InvalidSetting(
                "signing in with OAuth needs an OAuth client of yours (CLIENT_ID). Set it, or add the account by "
                "an API key: ccflare --add-account NAME --api-key"
            )
        return cls(
            client_id=settings.client_id,
            authorize_url=settings.oauth_authorize_url,
            console_url=settings.oauth_console_url,
            token_url=settings.oauth_token_url,
            api_key_url=settings.oauth_api_key_url,
            redirect_uri=settings.oauth_redirect_uri,
            scopes=" ".join(settings.oauth_scopes.split()),
        )


def without_client(client_id: str, accounts: Iterable[Account]) -> str | None:
    """Say that there are accounts whose tokens cannot be refreshed for want of an OAuth client."""
    count = sum(account.kind == "oauth" for account in accounts)
    if client_id or not count:
        return None
    return f"CLIENT_ID is not set: the tokens of {count} OAuth account{'s' * (count > 1)} cannot be refreshed"


class Tokens(msgspec.Struct, frozen=True):
    """What the token endpoint granted."""

    access_token: Secret
    refresh_token: Secret | None = None
    """None: the one that was used, if any, goes on being good."""
    expires_at_ms: int | None = None
    """When the access token ends; None when the endpoint did not say: then nobody knows before it is refused."""
    scopes: tuple[str, ...] = ()


class PastedCode(msgspec.Struct, frozen=True):
    """An authorization code and the state that came back with it."""

    code: Secret
    state: Secret


# Going there.


def random_text(random: bytes) -> Secret:
    """Return random bytes as a state or a PKCE verifier (RFC 7636 §4.1)."""
    return Secret(_base64url(random))


def challenge_of(verifier: Secret) -> str:
    """Return a verifier's S256 challenge (RFC 7636 §4.2). Raises TokenRefused when it cannot be a verifier."""
    if not _VERIFIER.fullmatch(verifier.reveal()):
        raise TokenRefused("invalid_request", "Invalid code_verifier")
    return _base64url(hashlib.sha256(verifier.reveal().encode("ascii")).digest())


def hash_of(state: Secret) -> str:
    """Return what is kept of a state, in hexadecimal: enough to recognise it."""
    return hashlib.sha256(state.reveal().encode("ascii")).hexdigest()


def authorize_url(settings: OAuthSettings, mode: Mode, *, state: Secret, verifier: Secret) -> str:
    """Return the address at which a person allows the sign-in."""
    query = {
        "code": "true",  # have the code shown, so that it can be copied
        "client_id": settings.client_id,
        "response_type": "code",
        "redirect_uri": settings.redirect_uri,
        "scope": settings.scopes,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        "state": state.reveal(),
    }
    where = settings.authorize_url if mode == "max" else settings.console_url
    return f"{where}?{urlencode(query)}"


# Coming back.


def read_code(pasted: str) -> PastedCode:
    """Read `code#state`, or the address that the browser ended up at. Raises InvalidCode for anything less."""
    text = pasted.strip()
    if not text:
        raise InvalidCode("no code was given: paste all of it, in the form code#state")
    if len(text) > _LONGEST_PASTE:
        raise InvalidCode("this is too long to be a code")
    code, state = _from_address(text) if text.startswith(("http://", "https://")) else _from_fragment(text)
    if not code or len(state) < _STATE_LENGTH:
        raise InvalidCode(_TRUNCATED)
    try:
        return PastedCode(Secret(code), Secret(state))
    except ValueError:
        raise InvalidCode("this is not a code: it has blanks or characters that a code cannot have") from None


def _from_fragment(text: str) -> tuple[str, str]:
    code, _, state = text.rpartition("#")
    return code, state


def _from_address(text: str) -> tuple[str, str]:
    try:
        asked = dict(parse_qsl(urlsplit(text).query, max_num_fields=32))
    except ValueError:
        raise InvalidCode(_TRUNCATED) from None
    return asked.get("code", ""), asked.get("state", "")


# The token endpoint.


def exchange_body(settings: OAuthSettings, *, code: Secret, state: Secret, verifier: Secret) -> bytes:
    """Return the request that turns a code into tokens. Raises TokenRefused for what cannot be a verifier."""
    challenge_of(verifier)
    return msgspec.json.encode(
        {
            "grant_type": "authorization_code",
            "code": code.reveal(),
            "state": state.reveal(),
            "client_id": settings.client_id,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": verifier.reveal(),
        }
    )


def refresh_body(settings: OAuthSettings, refresh_token: Secret) -> bytes:
    """Return the request that turns a refresh token into new tokens."""
    return msgspec.json.encode(
        {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token.reveal(),
            "client_id": settings.client_id,
        }
    )


def read_tokens(body: bytes, now_ms: int) -> Tokens:
    """Read what was granted. Raises TokenEndpointError when there is no usable access token in it.

    A lifetime that is missing or no number counts as not said: the tokens are good all the same, and a refresh
    token that was rotated must not be lost over it.
    """
    said = _object(body)
    kind = said.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenEndpointError("the answer has tokens of a type that is not known here")
    access = _token(said, "access_token")
    if access is None:
        raise TokenEndpointError("the answer has no access token")
    scope = said.get("scope")
    return Tokens(
        access_token=access,
        refresh_token=_token(said, "refresh_token"),
        expires_at_ms=_expiry(said.get("expires_in"), now_ms),
        scopes=tuple(scope.split()) if isinstance(scope, str) else (),
    )


def read_api_key(body: bytes) -> Secret:
    """Read the API key that was made. Raises TokenEndpointError when there is none."""
    key = _token(_object(body), "raw_key")
    if key is None:
        raise TokenEndpointError("the answer has no API key")
    return key


def refusal(status: int, body: bytes, secrets: Iterable[Secret], retry_after_s: float | None) -> Exception:
    """Return what an answer other than 200 means: TokenRefused when it is final, else TokenEndpointError.

    Final is a 4xx that names an error, in OAuth's form or in the API's; 408 and 429 are not. What the endpoint
    says is repeated without any of the `secrets` that were sent to it.
    """
    try:
        said = _error_of(_object(body))
    except TokenEndpointError:
        said = ("", "")
    reason, detail = (_shown(each, secrets) for each in said)
    text = ": ".join(filter(None, (reason, detail)))
    words = f"{text} (status {status})" if text else f"the token endpoint answered with status {status}"
    if reason and 400 <= status < 500 and status not in {408, 429}:
        return TokenRefused(reason if _REASON.fullmatch(reason) else "refused", words)
    return TokenEndpointError(words, retry_after_s)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise TokenEndpointError("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise TokenEndpointError("the answer is not a JSON object")
    return value


def _token(said: Mapping[str, Any], name: str) -> Secret | None:
    value = said.get(name)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            return Secret(value)
    except ValueError:
        pass
    raise TokenEndpointError(f"the answer has a {name} that cannot be one")


def _expiry(expires_in: object, now_ms: int) -> int | None:
    """Return when a lifetime in seconds ends; digits in a string are what some servers write."""
    if isinstance(expires_in, str) and expires_in.isascii() and expires_in.isdigit() and len(expires_in) < 20:
        expires_in = int(expires_in)
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not isfinite(expires_in):
        return None
    return now_ms + int(min(max(expires_in, 0), LONGEST_LIFE_S) * 1000)


def _error_of(said: Mapping[str, Any]) -> tuple[str, str]:
    """Return an error's code and description: OAuth's `{"error", "error_description"}`, or the API's object."""
    error = said.get("error")
    pair = (
        (error.get("type"), error.get("message")) if isinstance(error, dict) else (error, said.get("error_description"))
    )
    reason, detail = (each if isinstance(each, str) else "" for each in pair)
    return reason, detail


def _shown(text: str, secrets: Iterable[Secret]) -> str:
    """Return a foreign text fit for a log: without secrets, printable, short."""
    for secret in secrets:
        text = text.replace(secret.reveal(), "***")
    text = _TOKEN_LIKE.sub("sk-ant-***", text)
    text = "".join(each if each.isprintable() else " " for each in text)
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}..."


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
