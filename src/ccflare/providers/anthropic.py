"""The Claude API: its paths, credential headers, error wordings and rate-limit answer."""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from ccflare.limits import AccountError, Outcome, Verdict, judge
from ccflare.providers import anthropic_objects as objects
from ccflare.records import CLIENT_KEY_PREFIX, SESSION_COOKIE, Kind, Secret
from ccflare.sse import read_error
from ccflare.wire import HOP_BY_HOP, Headers

_NEVER_FORWARDED = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""The transport writes its own `Host` and framing, and has already answered an `Expect`."""

_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"cookie", b"proxy-authorization"})
_BETA = b"anthropic-beta"
_DROPPED = _NEVER_FORWARDED | _CREDENTIALS
_passing: set[bytes] = set()
"""Names, by their spelling, that go upstream: clients send the same few dozen again and again."""
_MOST_PASSING = 1000
_LONGEST_PASSING = 64

_ODD = re.compile(rb"[\x00-\x1f\x7f%\\]|/\.")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_OURS = re.compile(rf"\b(?:{CLIENT_KEY_PREFIX}|{SESSION_COOKIE})".encode())
"""A field with one of our client keys, or with the dashboard's cookie."""
_SEPARATOR = re.compile(rb"[/\\]")
_MOST_ENCODINGS = 8

_CLIENT_STATUSES = frozenset({400, 402, 403, 429})
_FORBIDDEN = frozenset({400, 401, 403})

ACCOUNT_ERRORS = (
    AccountError(
        _CLIENT_STATUSES,
        "money",
        "credit balance too low",
        words=("credit balance is too low", "credit balance too low", "out of credits"),
    ),
    AccountError(
        _CLIENT_STATUSES,
        "money",
        "spend limit reached",
        words=(
            "specified api usage limits",
            "spend limit",
            "spending limit",
            "usage limits set for your workspace",
        ),
        codes=frozenset(
            {
                "ramp_limit_exceeded",
                "enforced_spend_limit_reached",
                "contract_spend_limit_reached",
                "org_spend_cap_reached",
                "out_of_credits",
            }
        ),
    ),
    AccountError(
        _CLIENT_STATUSES,
        "shape",
        "served only as extra usage",
        words=("extra usage",),
    ),
    AccountError(frozenset({402}), "money", "payment required"),
    AccountError(_CLIENT_STATUSES, "money", "payment required", types=frozenset({"billing_error"})),
    AccountError(
        _FORBIDDEN,
        "credential",
        "credential revoked or not allowed",
        words=(
            "token has been revoked",
            "token does not meet scope requirement",
            "oauth authentication is currently not allowed",
            "organization has been disabled",
            "organization is disabled",
            "api key has been disabled",
            "account has been disabled",
            "account is suspended",
            "access to the anthropic api has been disabled",
        ),
        codes=frozenset({"token_revoked", "organization_disabled", "account_disabled", "api_key_disabled"}),
    ),
)
"""Errors that are about the account (documentation, and wordings users reported, November 2026).

What a request of the right shape would not have met ("extra usage") sets aside one model for seconds: Claude
Code's own requests go on over the same account. Every other 4xx is the client's and is delivered as it is.
"""


class Anthropic:
    """The provider `anthropic`."""

    name: Final = "anthropic"
    base_url: Final = "https://api.anthropic.com"
    oauth_beta: Final = b"oauth-2025-04-20"
    """Without it in `anthropic-beta` upstream refuses OAuth tokens."""

    def can_serve(self, path: bytes) -> bool:
        """Whether a raw path (no query) is one of the API's and stays below `/v1/` however it is decoded."""
        if path == b"/v1/messages":
            return True
        if not path.startswith(b"/v1/"):
            return False
        return _ODD.search(path) is None or _stays_below(path)

    def feeds_usage(self, path: bytes) -> bool:
        """Whether answers to a path report token usage."""
        return path in {b"/v1/messages", b"/v1/complete"}

    def outgoing_headers(self, headers: Headers, account_kind: Kind, credential: Secret) -> tuple[Headers, bool]:
        """Return the client's end-to-end fields and exactly one credential, the account's.

        Spelling, order and repetitions are the client's. True: `anthropic-beta` was changed, for an OAuth
        account whose client did not name the value that upstream requires.
        """
        dropped: set[bytes] = set()
        named = b""
        # One look into a set for each field; those that are dropped are some five of twenty.
        for name, value in [pair for pair in headers if pair[0] not in _passing]:
            lower = name.lower()
            if lower in _DROPPED:
                dropped.add(name)
                if lower == b"connection":
                    named += b"," + value
            elif len(name) <= _LONGEST_PASSING and len(_passing) < _MOST_PASSING:
                _passing.add(name)
        kept = [pair for pair in headers if pair[0] not in dropped]
        if named and named.lower() != b",keep-alive":
            kept = _without_named(kept, named)
        if account_kind == "api_key":
            kept.append((b"x-api-key", credential.reveal().encode("ascii")))
            return kept, False
        changed = self._name_beta(kept)
        kept.append((b"authorization", b"Bearer " + credential.reveal().encode("ascii")))
        return kept, changed

    def anonymous_headers(self, headers: Headers) -> Headers:
        """Return the client's end-to-end fields, credentials and cookies included; but nothing that is meant for us."""
        kept: Headers = []
        named = b""
        for pair in headers:
            name = pair[0].lower()
            if _OURS.search(pair[1]):
                continue
            if name not in _NEVER_FORWARDED:
                kept.append(pair)
            elif name == b"connection":
                named += b"," + pair[1]
        return _without_named(kept, named) if named else kept

    def has_own_credential(self, headers: Headers) -> bool:
        """Whether the client brought a key or token in upstream's own form."""
        for name, value in headers:
            lower = name.lower()
            if lower == b"x-api-key" and value.strip().startswith(b"sk-ant-"):
                return True
            if lower == b"authorization":
                scheme, _, token = value.strip().partition(b" ")
                if scheme.lower() == b"bearer" and token.strip().startswith(b"sk-ant-"):
                    return True
        return False

    def verdict(self, outcome: Outcome) -> Verdict:
        """Say what an outcome means, knowing which errors are about the account."""
        return judge(outcome, ACCOUNT_ERRORS)

    def read_error(self, body: bytes | bytearray) -> tuple[str | None, str | None, str | None]:
        """Return type, message and code of an error body; None for what it does not have. Never raises."""
        return read_error(body)

    def object_finder(self, method: bytes, path: bytes) -> objects.Finder | None:
        """Return how the ids of objects are found in the answers to a request; None: not at all."""
        return objects.finder(method, path)

    def objects_named(self, target: bytes, body: bytes | bytearray | None, kinds: Collection[str]) -> list[str]:
        """Return the ids of some kinds that a request names: in its path, then its query, then its body."""
        return objects.named(target, body, kinds)

    def object_deleted(self, method: bytes, path: bytes) -> str | None:
        """Return the id of the object that a request deletes when it succeeds."""
        return objects.deleted(method, path)

    def pool_limited_answer(
        self, retry_after_s: int, reset_ms: int | None, unified: bool, *, owned: bool = False
    ) -> tuple[int, Headers, bytes]:
        """Return a 429 in the API's shape; `owned`: only the owner of what the request names could serve it.

        A wait of more than a minute comes with `x-should-retry: false`: newer SDKs would otherwise sleep for
        all of it.
        """
        retry_after_s = max(1, retry_after_s)
        headers = [(b"retry-after", b"%d" % retry_after_s)]
        if retry_after_s > 60:
            headers.append((b"x-should-retry", b"false"))
        if unified:
            headers.append((b"anthropic-ratelimit-unified-status", b"rejected"))
            if reset_ms is not None:
                headers.append((b"anthropic-ratelimit-unified-reset", b"%d" % -(-reset_ms // 1000)))
        message = f"Every account of this proxy is rate limited. The first is available in {retry_after_s} s."
        if owned:
            message = f"The account that owns what this request names is rate limited for {retry_after_s} s more."
        error = {"type": "error", "error": {"type": "rate_limit_error", "message": message}}
        return 429, headers, msgspec.json.encode(error)

    def _name_beta(self, kept: Headers) -> bool:
        """Have the OAuth value in `anthropic-beta`; True when it had to be added."""
        last = -1
        for index, (name, value) in enumerate(kept):
            if name.lower() == _BETA:
                if self.oauth_beta in map(bytes.strip, value.split(b",")):
                    return False
                last = index
        if last < 0:
            kept.append((_BETA, self.oauth_beta))
        else:
            name, value = kept[last]
            kept[last] = name, value + b"," + self.oauth_beta if value.strip() else self.oauth_beta
        return True


def _without_named(headers: Headers, named: bytes) -> Headers:
    """Drop the fields that `Connection` names, joined by commas (RFC 9110 §7.6.1)."""
    names = {token.strip() for token in named.lower().split(b",")}
    if names <= {b"", b"keep-alive", b"close"}:
        return headers
    return [pair for pair in headers if pair[0].lower() not in names]


def _stays_below(path: bytes) -> bool:
    """Whether no segment becomes `.` or `..`, and nothing a control character, in any number of decodings."""
    for _ in range(_MOST_ENCODINGS):
        if _CONTROL.search(path):
            return False
        if any(part.partition(b";")[0] in {b".", b".."} for part in _SEPARATOR.split(path)):
            return False
        decoded = unquote_to_bytes(path)
        if decoded == path:
            return True
        path = decoded
    return False
