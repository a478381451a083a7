"""`/metrics` and `/ready` in process: formats, refusals, and what makes a server ready."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from api_kit import OAUTH, SECRETS, Api, add_oauth, exchange, running
from ccflare.api import Readiness
from ccflare.api.health import Health
from ccflare.api.readiness import ready
from ccflare.journal import WriterState
from ccflare.limits import LimitAccount, read_limits
from ccflare.pool import Ask


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with running(tmp_path, monkeypatch) as made:
        yield made


async def test_openmetrics_is_served_to_who_asks_for_it(api: Api) -> None:
    """Prometheus' usual `Accept` gets OpenMetrics, with its own content type and its end; it is kept by nobody."""
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = await api.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.endswith("# EOF\n")
    assert [family.name for family in read_openmetrics(answer.text)]  # type: ignore[no-untyped-call]  # not typed there


async def test_an_exchange_is_counted_when_its_record_is_taken(api: Api) -> None:
    """What is handed to the journal is counted by its thread, under the name of its account, and holds no secret."""
    await add_oauth(api)
    api.app.journal.put(exchange(1))
    wanted = f'ccflare_exchanges_total{{account="{OAUTH.name}",model="claude-sonnet-5-5",outcome="success"}} 1'
    async with asyncio.timeout(5):
        while wanted not in (text := (await api.get("/metrics")).text):  # noqa: ASYNC110  # the thread has no event
            await asyncio.sleep(0.01)
    assert not [secret for secret in SECRETS if secret in text]


async def test_limits_are_told_by_account(api: Api) -> None:
    """State, end of the limit, windows and budgets of an account are what routing knows of it."""
    await add_oauth(api)
    now_ms = int(api.app.vitals.clock.now() * 1000)
    pool = api.app.pool
    pool.load([OAUTH], now_ms)
    told = [
        (b"anthropic-ratelimit-unified-status", b"allowed"),
        (b"anthropic-ratelimit-unified-5h-utilization", b"0.25"),
        (b"anthropic-ratelimit-unified-5h-reset", b"%d" % (now_ms // 1000 + 3600)),
        (b"anthropic-ratelimit-requests-limit", b"50"),
        (b"anthropic-ratelimit-requests-remaining", b"49"),
    ]
    pool.note(OAUTH.id, read_limits(told, now_ms), now_ms)
    pool.apply(OAUTH.id, LimitAccount(now_ms + 60_000, "a test"), Ask(), now_ms)
    lines = set((await api.get("/metrics")).text.splitlines())
    whose = f'account="{OAUTH.name}"'
    assert {
        f'ccflare_account_state{{{whose},state="rate_limited"}} 1',
        f'ccflare_account_state{{{whose},state="active"}} 0',
        f"ccflare_account_limited_until_timestamp_seconds{{{whose}}} {(now_ms + 60_000) / 1000!r}",
        f'ccflare_account_window_utilization_ratio{{{whose},window="5h"}} 0.25',
        f'ccflare_account_window_reset_timestamp_seconds{{{whose},window="5h"}} {float(now_ms // 1000 + 3600)!r}',
        f'ccflare_account_budget_limit{{{whose},budget="requests"}} 50',
        f'ccflare_account_budget_remaining{{{whose},budget="requests"}} 49',
    } <= lines


async def test_readiness_follows_the_life_of_a_server(api: Api) -> None:
    """It is 503 with every reason until the server listens, and again from the moment in which it is to stop."""
    async with asyncio.timeout(5):
        while (await api.get("/ready")).status_code != 200:  # noqa: ASYNC110  # the thread has no event
            await asyncio.sleep(0.01)
    api.app.readiness.draining = True
    answer = await api.get("/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["draining"])
    api.app.readiness.draining = api.app.readiness.listening = False
    answer = await api.get("/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["not listening yet"])


async def test_a_server_without_a_usable_account_is_ready_and_says_so(api: Api) -> None:
    """A paused pool makes no server unready: its answers say what is the matter."""
    account_id = await api.add("one")
    await api.send("POST", f"/api/accounts/{account_id}/pause")
    async with asyncio.timeout(5):
        while not (answer := await api.get("/ready")).is_success:  # noqa: ASYNC110  # the thread has no event
            await asyncio.sleep(0.01)
    assert answer.json() == {"ready": True, "reasons": [], "warnings": ["no usable account: unavailable"]}


def test_a_server_that_begins_is_not_ready() -> None:
    """Before it listens, has its database open and knows its accounts, all three are told as reasons."""
    health = Health([], 0, "session", 0, WriterState(0, 0, 0, 0, 0.0, None))
    assert len(ready(Readiness(), health).reasons) == 3


def test_trouble_with_the_history_is_a_warning() -> None:
    """A database that cannot be written delays no answer: the server is ready, and says what ails it."""
    health = Health(["active"], 0, "session", 0, WriterState(9, 9, 0, 0, 7.0, "x", "disk full", opened=True))
    view = ready(Readiness(listening=True, accounts_loaded=True), health)
    assert (view.ready, view.warnings) == (True, ["the history cannot be written: disk full"])
