"""The simulated upstream's authentication table, row by row."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.upstream import SimulatedUpstream
from simulated_kit import ask, by_key, by_token

VERSION = {"anthropic-version": "2023-06-01"}
BETA = {"anthropic-beta": "oauth-2025-04-20"}


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    """A server with two key accounts and a subscription."""
    accounts = [SimulatedAccount("a"), SimulatedAccount("b"), SimulatedAccount("sub", kind="oauth")]
    async with SimulatedUpstream(accounts) as server:
        yield server


async def post(upstream: SimulatedUpstream, headers: Any) -> tuple[int, str]:
    """Post a message with exactly these credentials; return status and error message."""
    async with httpx.AsyncClient(base_url=upstream.url, timeout=10) as client:
        answer = await client.post("/v1/messages", json=ask(), headers=headers)
    return answer.status_code, answer.json().get("error", {}).get("message", "")


def key(upstream: SimulatedUpstream, name: str = "a") -> str:
    """Return a key account's key."""
    return upstream.accounts[name].api_key


def token(upstream: SimulatedUpstream) -> str:
    """Return the subscription's access token."""
    return upstream.oauth.tokens("sub")[0]


async def test_good_credentials(upstream: SimulatedUpstream) -> None:
    """A key is accepted in either header or both, a token as Bearer; the log says whose it was."""
    good = key(upstream)
    rows: list[tuple[dict[str, str], str]] = [
        ({"x-api-key": good}, "a"),
        ({"authorization": f"Bearer {good}"}, "a"),
        ({"authorization": f"bearer {good}", "x-api-key": good}, "a"),
        (by_token(token(upstream)), "sub"),
        ({**by_token(token(upstream)), "anthropic-beta": "one, oauth-2025-04-20,two"}, "sub"),
    ]
    for headers, account in rows:
        assert (await post(upstream, {**VERSION, **headers}))[0] == 200
        assert upstream.log[-1].account == account


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({}, 401, "x-api-key header is required"),
        ({"x-api-key": "sk-ant-api03-unknown"}, 401, "invalid x-api-key"),
        ({"x-api-key": ""}, 401, "invalid x-api-key"),
        ({"authorization": "Bearer sk-ant-api03-unknown"}, 401, "invalid x-api-key"),
        ({"authorization": "Bearer something"}, 401, "Invalid bearer token"),
        ({"authorization": "Basic YTpi"}, 401, "Invalid bearer token"),
        ({"x-api-key": "{a}", "authorization": "Bearer dummy"}, 401, "Invalid bearer token"),
        ({"x-api-key": "dummy", "authorization": "Bearer {a}"}, 401, "invalid x-api-key"),
        ({"x-api-key": "{a}", "authorization": "Bearer {b}"}, 401, "different accounts"),
        ({"authorization": "Bearer {token}"}, 401, "OAuth authentication is currently not supported."),
        ({"authorization": "Bearer {token}", "anthropic-beta": "x-oauth-2025-04-20"}, 401, "not supported"),
        ({"x-api-key": "{token}", **BETA}, 401, "invalid x-api-key"),
    ],
)
async def test_bad_credentials(upstream: SimulatedUpstream, headers: dict[str, str], status: int, message: str) -> None:
    """Each bad combination is refused with its own status and words."""
    known = {"a": key(upstream), "b": key(upstream, "b"), "token": token(upstream)}
    filled = {name: value.format(**known) for name, value in headers.items()}
    got = await post(upstream, {**VERSION, **filled})
    assert got[0] == status
    assert message in got[1]


async def test_a_repeated_credential_is_refused(upstream: SimulatedUpstream) -> None:
    """A credential header that comes twice is a 400 even when both are the same."""
    headers = [("x-api-key", key(upstream)), ("X-Api-Key", key(upstream)), *VERSION.items()]
    assert (await post(upstream, headers))[0] == 400


async def test_the_version_is_required(upstream: SimulatedUpstream) -> None:
    """Without `anthropic-version` a request under /v1 is a 400; the OpenAI-compatible path needs none."""
    got = await post(upstream, {"x-api-key": key(upstream)})
    assert got == (400, "anthropic-version: header is required")


async def test_states_of_an_account(upstream: SimulatedUpstream) -> None:
    """A revoked key, an empty credit and a spend cap each refuse in their own way, and heal."""
    account, headers = upstream.accounts["a"], by_key(key(upstream))
    account.revoked = True
    assert await post(upstream, headers) == (401, "invalid x-api-key")
    account.revoked, account.no_credit = False, True
    status, message = await post(upstream, headers)
    assert (status, message[:34]) == (400, "Your credit balance is too low to ")
    account.no_credit, account.spend_limit = False, True
    status, message = await post(upstream, headers)
    assert (status, message[:45]) == (400, "You have reached your specified API usage lim")
    account.spend_limit = False
    assert (await post(upstream, headers))[0] == 200


async def test_states_of_a_token(upstream: SimulatedUpstream) -> None:
    """A revoked, a forbidden and an expired token are told apart by status, words and details."""
    account, headers = upstream.accounts["sub"], by_token(token(upstream))
    account.forbids_oauth = True
    assert (await post(upstream, headers))[1].startswith("OAuth authentication is currently not allowed for")
    account.forbids_oauth = False
    upstream.oauth.expire(account, upstream.world.now())
    async with httpx.AsyncClient(base_url=upstream.url) as client:
        expired = await client.post("/v1/messages", json=ask(), headers=headers)
    assert expired.status_code == 401
    assert expired.json()["error"]["details"]["error_code"] == "token_expired"
    upstream.oauth.revoke(account, "access")
    assert await post(upstream, headers) == (403, "OAuth token has been revoked. Please obtain a new token.")


@pytest.mark.parametrize(("shape", "status"), [("429", 429), ("400", 400)])
async def test_a_shape_that_is_not_claude_codes(upstream: SimulatedUpstream, shape: Any, status: int) -> None:
    """With `oauth_shape` an OAuth request of another program is refused, bare or about extra usage."""
    upstream.settings.oauth_shape = shape
    headers = by_token(token(upstream))
    async with httpx.AsyncClient(base_url=upstream.url) as client:
        refused = await client.post("/v1/messages", json=ask(), headers=headers)
        cli = {**headers, "user-agent": "claude-cli/2.1.330 (external, cli)"}
        served = await client.post("/v1/messages", json=ask(), headers=cli)
    assert (refused.status_code, served.status_code) == (status, 200)
    if shape == "429":
        assert refused.json()["error"]["message"] == "Error"
        assert "retry-after" not in refused.headers
        assert not [name for name in refused.headers if "ratelimit" in name]
    else:
        assert refused.json()["error"]["message"].startswith("Third-party apps now draw from your extra usage")


async def test_organisation_fields_only_when_authenticated(upstream: SimulatedUpstream) -> None:
    """A refused credential learns neither organisation nor limits."""
    async with httpx.AsyncClient(base_url=upstream.url) as client:
        refused = await client.post("/v1/messages", json=ask(), headers=by_key("sk-ant-api03-no"))
    assert "anthropic-organization-id" not in refused.headers
    assert not [name for name in refused.headers if "ratelimit" in name]


async def test_open_mode_makes_accounts() -> None:
    """When not strict, any credential is an account of its own, the same one again next time."""
    async with SimulatedUpstream(strict=False) as server:
        for credential in ("first-000001", "second-000002", "first-000001"):
            assert (await post(server, by_key(credential)))[0] == 200
        assert [entry.account for entry in server.log] == ["open-000001", "open-000002", "open-000001"]


async def test_keys_follow_from_seed_and_name() -> None:
    """The same seed and name give the same key; another seed another."""
    same = [SimulatedUpstream([SimulatedAccount("n")], seed=5).accounts["n"].api_key for _ in range(2)]
    other = SimulatedUpstream([SimulatedAccount("n")], seed=6).accounts["n"].api_key
    assert same[0] == same[1] != other
    assert other.startswith("sk-ant-api03-sim-")
