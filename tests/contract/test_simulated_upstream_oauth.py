"""The simulated upstream's sign-in: PKCE, rotation, reuse, expiry, profile, usage, keys."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.budgets import Window
from ccflare.demo.oauth import challenge_of
from ccflare.demo.upstream import SimulatedUpstream
from simulated_kit import FakeTime, ask, by_key, by_token

VERIFIER = "v" * 43
REDIRECT = "https://console.example.invalid/oauth/code/callback"
CLIENT = "simulated-client"


@pytest.fixture
def clock() -> FakeTime:
    """The server's time."""
    return FakeTime()


@pytest.fixture
async def upstream(clock: FakeTime) -> AsyncIterator[SimulatedUpstream]:
    """A server with two subscriptions."""
    accounts = [SimulatedAccount("one", kind="oauth"), SimulatedAccount("two", kind="oauth")]
    async with SimulatedUpstream(accounts, now=clock) as server:
        yield server


@pytest.fixture
async def client(upstream: SimulatedUpstream) -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials."""
    async with httpx.AsyncClient(base_url=upstream.url, timeout=10) as session:
        yield session


async def refresh(client: httpx.AsyncClient, token: str, **more: Any) -> httpx.Response:
    """Exchange a refresh token."""
    body = {"grant_type": "refresh_token", "refresh_token": token, "client_id": CLIENT, **more}
    return await client.post("/v1/oauth/token", json=body)


async def spoken(client: httpx.AsyncClient, token: str) -> int:
    """Return the status of a message with a token."""
    return (await client.post("/v1/messages", json=ask(), headers=by_token(token))).status_code


async def authorize(client: httpx.AsyncClient, **more: str) -> httpx.Response:
    """Ask for a code."""
    query = {
        "code": "true",
        "client_id": CLIENT,
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": "org:create_api_key user:profile user:inference",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
        "state": "st#te",
        **more,
    }
    return await client.get("/oauth/authorize", params=query)


async def exchange(client: httpx.AsyncClient, code: str, **more: str) -> httpx.Response:
    """Exchange a code."""
    body = {
        "grant_type": "authorization_code",
        "code": code,
        "state": "st#te",
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        **more,
    }
    return await client.post("/v1/oauth/token", json=body)


def shown_code(page: httpx.Response) -> str:
    """Return the code a page shows, without the state."""
    return page.text.partition("<code>")[2].partition("#")[0]


async def test_a_refresh_rotates(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """A refresh gives new tokens that work; the old refresh token is dead at once; it is counted once."""
    access, old = upstream.oauth.tokens("one")
    answer = await refresh(client, old)
    body = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 28_800)
    assert body["access_token"].startswith("sk-ant-oat01-")
    assert body["refresh_token"].startswith("sk-ant-ort01-")
    assert body["refresh_token"] != old
    assert await spoken(client, body["access_token"]) == 200
    assert await spoken(client, access) == 200
    again = await refresh(client, old)
    assert again.status_code == 400
    assert again.json() == {
        "error": "invalid_grant",
        "error_description": "Refresh token not found or invalid",
    }
    assert upstream.oauth.counts.refreshes == {"one": 1}
    assert upstream.oauth.counts.reused == 1
    assert (await refresh(client, body["refresh_token"])).status_code == 200


async def test_form_bodies_are_read(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """The token endpoint takes forms as well as JSON."""
    form = {
        "grant_type": "refresh_token",
        "refresh_token": upstream.oauth.tokens("one")[1],
        "client_id": CLIENT,
    }
    assert (await client.post("/v1/oauth/token", data=form)).status_code == 200


@pytest.mark.parametrize(("rotation", "same"), [("keep", True), ("omit", None)])
async def test_other_rotations(
    upstream: SimulatedUpstream, client: httpx.AsyncClient, rotation: Any, same: bool | None
) -> None:
    """`keep` returns the same refresh token, `omit` none; in both the old one goes on working."""
    upstream.oauth.settings.rotation = rotation
    token = upstream.oauth.tokens("one")[1]
    for _ in range(2):
        body = (await refresh(client, token)).json()
        assert (body.get("refresh_token") == token if same else "refresh_token" not in body) is True


async def test_reuse_can_revoke_the_family(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """With `revoke_family` a second use ends every token of that sign-in, and no other account's."""
    upstream.oauth.settings.reuse = "revoke_family"
    old = upstream.oauth.tokens("one")[1]
    body = (await refresh(client, old)).json()
    assert (await refresh(client, old)).status_code == 400
    assert await spoken(client, body["access_token"]) == 403
    assert (await refresh(client, body["refresh_token"])).status_code == 400
    assert await spoken(client, upstream.oauth.tokens("two")[0]) == 200


async def test_reuse_can_have_grace(upstream: SimulatedUpstream, client: httpx.AsyncClient, clock: FakeTime) -> None:
    """With `grace` a rotated token works a little longer, then not."""
    upstream.oauth.settings.reuse = "grace"
    old = upstream.oauth.tokens("one")[1]
    assert [(await refresh(client, old)).status_code for _ in range(2)] == [200, 200]
    clock.now += 61
    assert (await refresh(client, old)).status_code == 400


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_id": "other"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"refresh_token": ""}, 400, "invalid_request"),
        ({"refresh_token": "sk-ant-ort01-none"}, 400, "invalid_grant"),
    ],
)
async def test_token_requests_that_are_refused(
    upstream: SimulatedUpstream, client: httpx.AsyncClient, change: dict[str, str], status: int, error: str
) -> None:
    """Each mistake has its own OAuth error and rotates nothing."""
    token = upstream.oauth.tokens("one")[1]
    body = {"grant_type": "refresh_token", "refresh_token": token, "client_id": CLIENT, **change}
    answer = await client.post("/v1/oauth/token", json=body)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert (await refresh(client, token)).status_code == 200


async def test_access_tokens_expire(upstream: SimulatedUpstream, client: httpx.AsyncClient, clock: FakeTime) -> None:
    """A token lives `access_ttl` seconds, fractions included."""
    upstream.oauth.settings.access_ttl = 0.5
    body = (await refresh(client, upstream.oauth.tokens("one")[1])).json()
    assert body["expires_in"] == 0.5
    assert await spoken(client, body["access_token"]) == 200
    clock.now += 0.6
    assert await spoken(client, body["access_token"]) == 401


async def test_a_revoked_refresh_token(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """After `revoke(refresh)` the access token works and the refresh token does not."""
    upstream.oauth.revoke(upstream.accounts["one"], "refresh")
    access, token = upstream.oauth.tokens("one")
    assert (await refresh(client, token)).json()["error"] == "invalid_grant"
    assert await spoken(client, access) == 200
    with pytest.raises(ValueError, match="access, refresh, all"):
        upstream.oauth.revoke(upstream.accounts["one"], "everything")


async def test_signing_in_with_a_code(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """The page shows `code#state`; the code is exchanged once, for the account that was asked for."""
    page = await authorize(client, fake_account="two")
    code = shown_code(page)
    assert f"<code>{code}#st#te</code>" in page.text
    body = (await exchange(client, code)).json()
    assert await spoken(client, body["access_token"]) == 200
    assert upstream.log[-1].account == "two"
    assert (await exchange(client, code)).json()["error"] == "invalid_grant"
    assert upstream.oauth.counts.sign_ins == {"two": 1}


async def test_a_local_redirect_gets_the_code(client: httpx.AsyncClient) -> None:
    """A localhost redirect_uri receives code and state."""
    answer = await authorize(client, redirect_uri="http://localhost:1455/cb?x=1")
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert answer.status_code == 302
    assert query["state"] == ["st#te"]
    good = await exchange(client, query["code"][0], redirect_uri="http://localhost:1455/cb?x=1")
    assert good.status_code == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code_verifier": "w" * 43}, "Invalid code_verifier"),
        ({"state": "other"}, "state"),
        ({"redirect_uri": "https://example.invalid"}, "redirect_uri"),
        ({"code": "unknown"}, "authorization code"),
    ],
)
async def test_codes_that_are_refused(client: httpx.AsyncClient, change: dict[str, str], words: str) -> None:
    """Verifier, state, redirect_uri and code must all match."""
    code = shown_code(await authorize(client))
    answer = await exchange(client, **{"code": code, **change})
    assert answer.status_code == 400
    assert words in answer.json()["error_description"]


async def test_codes_end_after_ten_minutes(client: httpx.AsyncClient, clock: FakeTime) -> None:
    """A code that waited too long is refused."""
    code = shown_code(await authorize(client))
    clock.now += 601
    assert (await exchange(client, code)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"response_type": "token"},
        {"client_id": "x"},
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"state": ""},
        {"fake_account": "nobody"},
    ],
)
async def test_authorization_requests_that_are_refused(client: httpx.AsyncClient, change: dict[str, str]) -> None:
    """An authorization request without PKCE S256, state or a known client shows no code."""
    page = await authorize(client, **change)
    assert page.status_code == 400
    assert "<code>" not in page.text


async def test_usage_tells_the_windows(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """The usage page has flat windows and limits in percent, and null where there is no window."""
    account = upstream.accounts["one"]
    account.windows["5h"].utilization = 0.93
    account.windows["7d_opus"] = Window(0.2, length_s=7 * 86_400.0, models="*opus*")
    page = (await client.get("/api/oauth/usage", headers=by_token(upstream.oauth.tokens("one")[0]))).json()
    assert page["five_hour"]["utilization"] == 93
    assert page["seven_day_opus"]["utilization"] == 20
    assert page["seven_day_sonnet"] is None
    assert [(one["kind"], one["severity"]) for one in page["limits"]] == [
        ("session", "critical"),
        ("weekly_all", "normal"),
        ("weekly_scoped", "normal"),
    ]


async def test_usage_without_scope_or_too_fast(
    upstream: SimulatedUpstream, client: httpx.AsyncClient, clock: FakeTime
) -> None:
    """Without user:profile the usage is a bare 429 and the profile a 403; fast polling is a 429 of 60 s."""
    page = await authorize(client, scope="user:inference")
    narrow = by_token((await exchange(client, shown_code(page))).json()["access_token"])
    usage = await client.get("/api/oauth/usage", headers=narrow)
    profile = await client.get("/api/oauth/profile", headers=narrow)
    assert usage.status_code == 429
    assert not [name for name in usage.headers if "ratelimit" in name]
    assert profile.status_code == 403
    assert "any_of(user:profile, user:office)" in profile.json()["error"]["message"]
    assert (await client.post("/api/oauth/claude_cli/create_api_key", headers=narrow)).status_code == 403
    upstream.oauth.settings.usage_min_interval = 10
    wide = by_token(upstream.oauth.tokens("two")[0])
    polls = [await client.get("/api/oauth/usage", headers=wide) for _ in range(2)]
    assert [poll.status_code for poll in polls] == [200, 429]
    assert polls[1].headers["retry-after"] == "60"
    clock.now += 11
    assert (await client.get("/api/oauth/usage", headers=wide)).status_code == 200


async def test_a_created_key_works(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """create_api_key returns a key that speaks for the account; the profile names its organisation."""
    headers = by_token(upstream.oauth.tokens("one")[0])
    key = (await client.post("/api/oauth/claude_cli/create_api_key", headers=headers)).json()["raw_key"]
    profile = (await client.get("/api/oauth/profile", headers=headers)).json()
    assert (await client.post("/v1/messages", json=ask(), headers=by_key(key))).status_code == 200
    assert upstream.log[-1].account == "one"
    assert profile["organization"]["uuid"] == upstream.accounts["one"].organization


async def test_the_token_endpoint_can_fail(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """A rule on the token path gives its own error form and rotates nothing."""
    upstream.rule("429", match={"path": "oauth/token"}, times=1)
    token = upstream.oauth.tokens("one")[1]
    answer = await refresh(client, token)
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert (await refresh(client, token)).status_code == 200
