"""The Claude API's paths, credentials, error wordings and rate-limit answer."""

import json

import pytest

from ccflare.limits import CoolAccount, LimitAccount, Outcome, RefuseCredential, SetAside, read_limits
from ccflare.providers import PROVIDERS, outgoing_of
from ccflare.records import Account, Kind, Secret
from ccflare.wire import Headers, header
from flow.scripted import Client

NOW = 1_800_000_000_000
CLAUDE = PROVIDERS["anthropic"]
KEY = Secret("sk-ant-api03-account")
TOKEN = Secret("sk-ant-oat01-account")


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/messages",
        b"/v1/messages/count_tokens",
        b"/v1/files/file_1/content",
        b"/v1/files/a%2Fb",
        b"/v1/files/a%20b%zz%",
        b"/v1/a..b/...",
        b"/v1/.well",
        b"/v1/%C3%A9",
        b"/v1/",
        b"/v1//x",
    ],
)
def test_api_paths_are_served(path: bytes) -> None:
    """Every plain path below /v1/ passes, encoded slashes inside a segment included."""
    assert CLAUDE.can_serve(path)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"/v1",
        b"/v2/messages",
        b"/api/hello",
        b"v1/messages",
        b"/V1/messages",
        b"/v1/..",
        b"/v1/../api/oauth",
        b"/v1/./messages",
        b"/v1/a/..",
        b"/v1/%2e%2e/api",
        b"/v1/%2E./api",
        b"/v1/.%2e",
        b"/v1/%252e%252e/api",
        b"/v1/%25252e%25252e%25252fapi",
        b"/v1/..%2fapi",
        b"/v1/a%2f..%2f..%2fapi",
        b"/v1/a%5c..%5capi",
        b"/v1/..\\api",
        b"/v1/..;x/api",
        b"/v1/%00",
        b"/v1/a\x00b",
        b"/v1/a%0d%0aHost: x",
        b"/v1/a%250ab",
        b"/v1/\x7f",
        b"/v1/%" + b"25" * 50_000 + b"2e",
    ],
)
def test_paths_that_leave_the_api_are_not_served(path: bytes) -> None:
    """No dot segment or control character gets through, however often it is encoded."""
    assert not CLAUDE.can_serve(path)


def test_paths_that_feed_usage() -> None:
    """Only messages and completions report usage; counting tokens does not."""
    assert CLAUDE.feeds_usage(b"/v1/messages")
    assert CLAUDE.feeds_usage(b"/v1/complete")
    assert not CLAUDE.feeds_usage(b"/v1/messages/count_tokens")


CLIENT: Headers = [
    (b"Host", b"localhost:8080"),
    (b"User-Agent", b"claude-cli/2.1.330 (external, cli)"),
    (b"X-API-Key", b"dummy"),
    (b"Authorization", b"Bearer dummy"),
    (b"Proxy-Authorization", b"Basic x"),
    (b"Cookie", b"a=b"),
    (b"anthropic-version", b"2026-10-21"),
    (b"anthropic-beta", b"interleaved-thinking-2025-05-14, x"),
    (b"X-Stainless-Lang", b"js"),
    (b"x-twice", b"1"),
    (b"X-Twice", b"2"),
    (b"Connection", b"Keep-Alive, X-Hop"),
    (b"x-hop", b"gone"),
    (b"Keep-Alive", b"timeout=5"),
    (b"TE", b"trailers"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Content-Length", b"5"),
    (b"Expect", b"100-continue"),
    (b"Accept-Encoding", b"gzip, br"),
]
END_TO_END: Headers = [CLIENT[index] for index in (1, 6, 7, 8, 9, 10, 18)]


def test_key_account_headers() -> None:
    """End-to-end fields pass in order and spelling; the account's key is the only credential."""
    headers, changed = CLAUDE.outgoing_headers(CLIENT, "api_key", KEY)
    assert headers == [*END_TO_END, (b"x-api-key", b"sk-ant-api03-account")]
    assert not changed


def test_oauth_account_headers() -> None:
    """OAuth adds its beta behind the client's own values and says that something was changed."""
    headers, changed = CLAUDE.outgoing_headers(CLIENT, "oauth", TOKEN)
    assert changed
    assert header(headers, b"anthropic-beta") == b"interleaved-thinking-2025-05-14, x,oauth-2025-04-20"
    assert header(headers, b"authorization") == b"Bearer sk-ant-oat01-account"
    assert header(headers, b"x-api-key") is None
    assert len(headers) == len(END_TO_END) + 1


@pytest.mark.parametrize(
    ("given", "expected", "changed"),
    [
        ([], [b"oauth-2025-04-20"], True),
        ([b"a , oauth-2025-04-20"], [b"a , oauth-2025-04-20"], False),
        ([b"oauth-2025-04-20", b"b"], [b"oauth-2025-04-20", b"b"], False),
        ([b"a", b"b"], [b"a", b"b,oauth-2025-04-20"], True),
        ([b"oauth-2025-04-201"], [b"oauth-2025-04-201,oauth-2025-04-20"], True),
        ([b" "], [b"oauth-2025-04-20"], True),
    ],
)
def test_oauth_beta(given: list[bytes], expected: list[bytes], changed: bool) -> None:
    """The beta value is there exactly once, over any number of lines, and the others stay as they were."""
    headers, said = CLAUDE.outgoing_headers([(b"Anthropic-Beta", value) for value in given], "oauth", TOKEN)
    assert [value for name, value in headers if name.lower() == b"anthropic-beta"] == expected
    assert said is changed


def test_connection_cannot_remove_the_account_credential() -> None:
    """A client that names the credential or the beta in Connection removes only its own."""
    client = [(b"Connection", b"authorization, anthropic-beta"), (b"anthropic-beta", b"a")]
    headers, _ = CLAUDE.outgoing_headers(client, "oauth", TOKEN)
    assert headers == [
        (b"anthropic-beta", b"oauth-2025-04-20"),
        (b"authorization", b"Bearer sk-ant-oat01-account"),
    ]


def test_the_clients_list_is_not_changed() -> None:
    """The same request can be sent again with another account."""
    before = list(CLIENT)
    CLAUDE.outgoing_headers(CLIENT, "oauth", TOKEN)
    CLAUDE.outgoing_headers(CLIENT, "api_key", KEY)
    assert before == CLIENT


def test_anonymous_headers_keep_the_clients_credentials() -> None:
    """Without an account only what belongs to the connection is taken away."""
    kept = [CLIENT[index] for index in (1, 2, 3, 5, 6, 7, 8, 9, 10, 18)]
    assert CLAUDE.anonymous_headers(CLIENT) == kept


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"X-Api-Key", b"sk-ant-api03-x")], True),
        ([(b"Authorization", b"bearer  sk-ant-oat01-x")], True),
        ([(b"x-api-key", b"dummy"), (b"authorization", b"Bearer sk-ant-x")], True),
        ([(b"x-api-key", b"dummy")], False),
        ([(b"authorization", b"Bearer dummy")], False),
        ([(b"authorization", b"Basic sk-ant-x")], False),
        ([(b"authorization", b"sk-ant-x")], False),
        ([], False),
    ],
)
def test_own_credentials(headers: Headers, expected: bool) -> None:
    """Only what looks like upstream's own key or token may be one."""
    assert CLAUDE.has_own_credential(headers) is expected


def outcome(status: int, message: str, **fields: object) -> Outcome:
    values = {"error_message": message, "model": "claude-opus-4-1", **fields}
    return Outcome(status, NOW, **values)  # type: ignore[arg-type]  # test literals


CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
LIMITS = "You have reached your specified API usage limits. You will regain access on 2027-02-01 at 00:00 UTC."
EXTRA = "Third-party apps now draw from your extra usage, not your plan limits."
REVOKED = "OAuth token has been revoked. Please obtain a new token."
NOT_ALLOWED = "OAuth authentication is currently not allowed for this organization."


@pytest.mark.parametrize(
    ("broken", "effect"),
    [
        (outcome(400, CREDIT, error_type="invalid_request_error"), CoolAccount),
        (outcome(403, CREDIT.upper()), CoolAccount),
        (outcome(400, LIMITS), CoolAccount),
        (outcome(429, "no", error_code="enforced_spend_limit_reached"), CoolAccount),
        (outcome(400, "no", error_code="ramp_limit_exceeded"), CoolAccount),
        (outcome(403, "no", error_code="contract_spend_limit_reached"), CoolAccount),
        (outcome(402, "pay", error_type="billing_error"), CoolAccount),
        (outcome(402, "anything"), CoolAccount),
        (outcome(400, EXTRA), SetAside),
        (outcome(403, REVOKED), RefuseCredential),
        (outcome(403, NOT_ALLOWED, kind="oauth", refreshed=True), RefuseCredential),
        (outcome(400, "This organization has been disabled."), RefuseCredential),
        (outcome(401, "invalid x-api-key"), RefuseCredential),
    ],
)
def test_errors_about_the_account_go_on_to_the_next(broken: Outcome, effect: type) -> None:
    """What only this account is refused is tried on another one, with the right effect."""
    verdict = CLAUDE.verdict(broken)
    assert verdict.action == "next"
    assert isinstance(verdict.effect, effect)


def test_extra_usage_sets_one_model_aside() -> None:
    """A request of the wrong shape does not park the account."""
    effect = CLAUDE.verdict(outcome(400, EXTRA)).effect
    assert isinstance(effect, SetAside)
    assert effect.model == "claude-opus-4-1"


@pytest.mark.parametrize(
    "broken",
    [
        outcome(400, "messages: at least one message is required", error_type="invalid_request_error"),
        outcome(400, "prompt is too long: 250000 tokens > 200000 maximum"),
        outcome(400, "anthropic-version: header is required"),
        outcome(400, "web search is not allowed for this organization"),
        outcome(404, "model: claude-nonexistent"),
        outcome(409, "conflict"),
        outcome(413, "Request exceeds the maximum size", error_type="request_too_large"),
        outcome(422, CREDIT),
    ],
)
def test_the_clients_own_errors_are_delivered(broken: Outcome) -> None:
    """Every other 4xx goes to the client as it is."""
    verdict = CLAUDE.verdict(broken)
    assert (verdict.action, verdict.effect) == ("deliver", None)


def test_revoked_oauth_token_is_refreshed_once() -> None:
    """A refused OAuth token gets one refresh before the account is given up."""
    assert CLAUDE.verdict(outcome(403, REVOKED, kind="oauth")).action == "refresh"
    assert CLAUDE.verdict(outcome(401, "expired", kind="oauth")).action == "refresh"


def test_error_bodies_are_read() -> None:
    """Type, message and code come out of the API's error shape."""
    body = b'{"type":"error","error":{"type":"t","message":"m","details":{"error_code":"c"}},"request_id":"r"}'
    assert CLAUDE.read_error(body) == ("t", "m", "c")
    assert CLAUDE.read_error(b"<html>Bad gateway") == (None, None, None)


def test_answer_when_all_accounts_are_limited() -> None:
    """A long wait is a 429 in the API's shape that tells SDKs not to sleep through it."""
    status, headers, body = CLAUDE.pool_limited_answer(3600, NOW + 3_600_000, True)
    assert status == 429
    assert json.loads(body)["error"]["type"] == "rate_limit_error"
    assert header(headers, b"retry-after") == b"3600"
    assert header(headers, b"x-should-retry") == b"false"
    reading = read_limits(headers, NOW)
    assert (reading.status, reading.reset_ms) == ("rejected", NOW + 3_600_000)


def test_answer_for_a_short_wait() -> None:
    """A short wait may be slept through, is at least a second, and claims no unified limits of its own."""
    _, headers, _ = CLAUDE.pool_limited_answer(0, NOW + 10, False)
    assert header(headers, b"retry-after") == b"1"
    assert header(headers, b"x-should-retry") is None
    assert not read_limits(headers, NOW).unified


def test_own_answer_means_a_limited_account() -> None:
    """A second proxy in front of this one understands the answer."""
    status, headers, _ = CLAUDE.pool_limited_answer(100, NOW + 100_000, True)
    verdict = CLAUDE.verdict(Outcome(status, NOW, reading=read_limits(headers, NOW)))
    assert isinstance(verdict.effect, LimitAccount)
    assert verdict.effect.until_ms == NOW + 100_000


@pytest.mark.parametrize(
    "message",
    [
        "Your API key does not have permission to use the specified resource.",
        "Request not allowed",
        "Your organization does not have access to Claude. Please login again or contact your administrator.",
    ],
)
def test_a_refused_permission_is_another_accounts_chance(message: str) -> None:
    """A 403 of which nothing says that it is for ever goes to the next account and benches none."""
    verdict = CLAUDE.verdict(outcome(403, message, error_type="permission_error"))
    assert (verdict.action, verdict.effect) == ("next", None)


def test_what_is_sent_with_a_head_is_remembered_until_the_credential_is_another() -> None:
    """Requests that share a head share the fields for an account; a new key has fields of its own."""

    def fields(account_id: str, kind: Kind, credential: Secret) -> Headers:
        account = Account(id=account_id, name=account_id, provider="anthropic", kind=kind, created_at_ms=0)
        return outgoing_of(client, CLAUDE, account, credential).headers

    client = Client(headers=CLIENT)
    first = fields("a", "api_key", KEY)
    assert fields("a", "api_key", KEY) is first
    assert fields("b", "oauth", TOKEN) == CLAUDE.outgoing_headers(CLIENT, "oauth", TOKEN)[0]
    assert fields("a", "api_key", KEY) is first
    assert header(fields("a", "api_key", Secret("sk-ant-api03-new")), b"x-api-key") == b"sk-ant-api03-new"
    for number in range(100):
        fields(f"more-{number}", "api_key", KEY)
    assert len(client.memory.outgoing) <= 8
