"""The simulated upstream's budgets and windows run out, say so, and heal."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.budgets import Limits, Subscription, Window
from ccflare.demo.upstream import SimulatedUpstream
from simulated_kit import FakeTime, ask, by_key, by_token, eventually

UNIFIED = "anthropic-ratelimit-unified-"


@pytest.fixture
def clock() -> FakeTime:
    """The server's time."""
    return FakeTime()


@pytest.fixture
async def upstream(clock: FakeTime) -> AsyncIterator[SimulatedUpstream]:
    """A server with a small key account and a subscription."""
    accounts = [
        SimulatedAccount("a", limits=Limits(rpm=2, count_rpm=1)),
        SimulatedAccount("sub", kind="oauth"),
    ]
    async with SimulatedUpstream(accounts, now=clock) as server:
        yield server


async def post(server: SimulatedUpstream, body: dict[str, Any] | None = None, path: str = "") -> httpx.Response:
    """Post a message as account `a`."""
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as client:
        headers = by_key(server.accounts["a"].api_key)
        return await client.post(f"/v1/messages{path}", json=body or ask(), headers=headers)


async def post_sub(server: SimulatedUpstream, **more: Any) -> httpx.Response:
    """Post a message as the subscription."""
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as client:
        headers = by_token(server.oauth.tokens("sub")[0])
        return await client.post("/v1/messages", json=ask(**more), headers=headers)


async def test_requests_run_out_and_come_back(upstream: SimulatedUpstream, clock: FakeTime) -> None:
    """The budget of requests counts down, refuses with the seconds to wait, and refills continuously."""
    remaining = [(await post(upstream)).headers["anthropic-ratelimit-requests-remaining"] for _ in range(2)]
    refused = await post(upstream)
    assert remaining == ["1", "0"]
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "30"
    assert refused.headers["x-should-retry"] == "true"
    assert refused.headers["anthropic-ratelimit-requests-reset"] == "2027-01-15T08:01:00Z"
    assert "rate limit of 2 requests per minute" in refused.json()["error"]["message"]
    clock.now += 30
    assert (await post(upstream)).status_code == 200


async def test_a_period_can_be_short(clock: FakeTime) -> None:
    """`period_s` makes a budget that is whole again within seconds."""
    async with SimulatedUpstream([SimulatedAccount("a", limits=Limits(rpm=4, period_s=2.0))], now=clock) as server:
        assert [(await post(server)).status_code for _ in range(5)] == [200, 200, 200, 200, 429]
        clock.now += 2
        assert [(await post(server)).status_code for _ in range(4)] == [200] * 4


@pytest.mark.parametrize(("limits", "unit"), [({"itpm": 50}, "input tokens"), ({"otpm": 30}, "output tokens")])
async def test_tokens_run_out(clock: FakeTime, limits: dict[str, Any], unit: str) -> None:
    """Input and output tokens have budgets of their own, named in the refusal, healed after a minute."""
    account = SimulatedAccount("a", limits=Limits(**limits))
    async with SimulatedUpstream([account], now=clock) as server:
        first = await post(server, ask("x" * 120))
        second = await post(server, ask("x" * 120))
        assert (first.status_code, second.status_code) == (200, 429)
        assert unit in second.json()["error"]["message"]
        clock.now += 120
        assert (await post(server, ask("x" * 120))).status_code == 200


async def test_cache_reads_cost_no_input_budget(clock: FakeTime) -> None:
    """What is read from the prompt cache is not taken from the input budget."""
    async with SimulatedUpstream([SimulatedAccount("a", limits=Limits(itpm=1200))], now=clock) as server:
        cached = [{"type": "text", "text": "p" * 4000, "cache_control": {"type": "ephemeral"}}]
        answers = [await post(server, ask(system=cached)) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5


async def test_token_families_are_told_in_thousands(clock: FakeTime) -> None:
    """Large token budgets are rounded to thousands and the combined family adds both up."""
    limits = Limits(itpm=50_000, otpm=20_000)
    async with SimulatedUpstream([SimulatedAccount("a", limits=limits)], now=clock) as server:
        headers = (await post(server, ask("x" * 2400))).headers
    assert headers["anthropic-ratelimit-input-tokens-limit"] == "50000"
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "49000"
    assert headers["anthropic-ratelimit-tokens-limit"] == "70000"
    assert headers["anthropic-ratelimit-tokens-remaining"] == "69000"


async def test_counting_has_its_own_budget(upstream: SimulatedUpstream) -> None:
    """count_tokens runs out by itself and takes nothing from messages."""
    statuses = [(await post(upstream, path="/count_tokens")).status_code for _ in range(2)]
    assert statuses == [200, 429]
    assert (await post(upstream)).status_code == 200


async def test_concurrency_is_limited(upstream: SimulatedUpstream) -> None:
    """More requests at once than allowed are refused with `retry-after: 1`; later there is room again."""
    upstream.accounts["a"].limits = Limits(max_concurrency=1)
    upstream.rule({"delay_headers": 30}, times=1)
    first = asyncio.create_task(post(upstream))
    await eventually(lambda: upstream.accounts["a"].in_flight == 1, "the first request is being served")
    second = await post(upstream)
    assert second.status_code == 429
    assert second.headers["retry-after"] == "1"
    assert "concurrent connections" in second.json()["error"]["message"]
    first.cancel()
    await eventually(lambda: upstream.accounts["a"].in_flight == 0, "the first request is gone")
    assert (await post(upstream)).status_code == 200


async def test_a_window_fills_warns_rejects_and_heals(clock: FakeTime) -> None:
    """Utilization grows through warning thresholds to a rejection with the reset, then starts at zero."""
    windows = {"5h": Window(0.7, capacity_tokens=200), "7d": Window(0.1, length_s=7 * 86_400.0)}
    account = SimulatedAccount("sub", kind="oauth", subscription=Subscription(windows))
    async with SimulatedUpstream([account], now=clock) as server:
        first = await post_sub(server)
        assert first.headers[UNIFIED + "status"] == "allowed_warning"
        assert first.headers[UNIFIED + "5h-surpassed-threshold"] == "0.75"
        assert first.headers[UNIFIED + "representative-claim"] == "five_hour"
        assert float(first.headers[UNIFIED + "5h-utilization"]) > 0.7
        for _ in range(3):
            await post_sub(server)
        refused = await post_sub(server)
        assert refused.status_code == 429
        assert refused.headers[UNIFIED + "status"] == "rejected"
        assert refused.headers[UNIFIED + "5h-status"] == "rejected"
        assert refused.headers[UNIFIED + "7d-status"] == "allowed"
        assert refused.headers["retry-after"] == "18000"
        assert refused.headers[UNIFIED + "reset"] == f"{clock.now + 18_000:.0f}"
        assert refused.headers[UNIFIED + "overage-disabled-reason"] == "overage_not_provisioned"
        clock.now += 18_000
        healed = await post_sub(server)
        assert healed.status_code == 200
        assert healed.headers[UNIFIED + "status"] == "allowed"


async def test_a_models_window_limits_only_that_model(upstream: SimulatedUpstream) -> None:
    """A used-up model window refuses its models, with both whole windows allowed, and serves the others."""
    upstream.accounts["sub"].windows["7d_opus"] = Window(1.0, length_s=7 * 86_400.0, models="*opus*")
    opus = await post_sub(upstream, model="claude-opus-5-5")
    other = await post_sub(upstream, model="claude-haiku-5-5")
    assert (opus.status_code, other.status_code) == (429, 200)
    assert opus.headers[UNIFIED + "representative-claim"] == "seven_day_opus"
    assert opus.headers[UNIFIED + "5h-status"] == opus.headers[UNIFIED + "7d-status"] == "allowed"
    assert other.headers[UNIFIED + "status"] == "allowed"


async def test_paid_overage_goes_on(upstream: SimulatedUpstream) -> None:
    """With overage allowed a used-up window is served with `rejected` and `overage-in-use`."""
    upstream.accounts["sub"].windows["5h"].utilization = 1.0
    upstream.accounts["sub"].subscription.overage = "allowed"
    answer = await post_sub(upstream)
    assert answer.status_code == 200
    assert answer.headers[UNIFIED + "status"] == "rejected"
    assert answer.headers[UNIFIED + "overage-in-use"] == "true"
    assert UNIFIED + "overage-disabled-reason" not in answer.headers
