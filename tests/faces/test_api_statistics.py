"""Sums by HTTP: what they tell, and what is said when they cannot be had."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from api_kit import OAUTH, Api, add_oauth, exchange, running
from ccflare import analytics
from ccflare.errors import StoreBusy
from ccflare.records import Exchange
from ccflare.store import Batch


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with running(tmp_path, monkeypatch) as made:
        await add_oauth(made)
        yield made


async def write_now(api: Api, *exchanges: Exchange) -> None:
    """Write exchanges as if they had come a minute ago."""
    at_ms = int(time.time() * 1000) - 60_000
    rows = [msgspec.structs.replace(each, timestamp_ms=at_ms) for each in exchanges]
    await api.store(lambda store: store.write(Batch(exchanges=rows)))


async def test_analytics_has_the_parts_that_charts_are_made_of(api: Api) -> None:
    """Overview, series, tokens, models, accounts and costs add up to what was written."""
    await write_now(api, exchange(1), exchange(2, model="claude-opus-5", status_code=500, success=False))
    found = (await api.get("/api/analytics?range=1h")).json()
    assert found["overview"]["requests"] == 2
    assert found["overview"]["success_rate"] == 0.5
    assert sum(point["requests"] for point in found["time_series"]) == 2
    assert found["token_breakdown"]["input_tokens"] == 20
    assert {model["model"] for model in found["models"]} == {"claude-sonnet-5-5", "claude-opus-5"}
    assert [account["name"] for account in found["accounts"]] == [OAUTH.name]
    assert found["costs"]["by_account"][0]["cost_microusd"] == 2468


@pytest.mark.parametrize(
    ("query", "requests"),
    [
        ("model=claude-opus", 1),
        ("status=error", 1),
        ("status=success", 1),
        ("status=500", 1),
        ("account=subscription", 2),
        ("account=none", 0),
        ("range=30d&mode=per_model", 2),
        ("mode=cumulative&range=7d", 2),
    ],
)
async def test_analytics_can_be_narrowed(api: Api, query: str, requests: int) -> None:
    """Model family, status and account restrict what is summed; range and mode do not change the sum."""
    await write_now(api, exchange(1), exchange(2, model="claude-opus-5", status_code=500, success=False))
    assert (await api.get(f"/api/analytics?{query}")).json()["overview"]["requests"] == requests


@pytest.mark.parametrize("query", ["range=2h", "range=", "mode=odd", "status=odd", "range=null"])
async def test_unknown_ranges_and_modes_are_refused(api: Api, query: str) -> None:
    """What is not one of the words is a 400 that names the parameter."""
    answer = await api.get(f"/api/analytics?{query}")
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, query.partition("=")[0])


async def test_failed_analytics_say_so_in_the_words_that_people_search(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the store fails, the answer is a 500 with the known sentence and the log has `Analytics error:`."""

    async def busy(*_: object, **__: object) -> None:
        raise StoreBusy("the database is locked")

    monkeypatch.setattr(type(api.app.desks[0]), "ask", busy)
    with caplog.at_level(logging.ERROR, logger="ccflare.Server"):
        answer = await api.get("/api/analytics?range=1h")
    assert (answer.status_code, answer.json()) == (500, {"error": "Failed to fetch analytics data"})
    assert "Analytics error: the database is locked" in caplog.text


async def test_a_defect_in_analytics_is_told_alike(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also an unforeseen error ends in the known sentence, with its traceback in the log only."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(analytics, "analyse", broken)
    with caplog.at_level(logging.ERROR, logger="ccflare.Server"):
        answer = await api.get("/api/analytics")
    assert (answer.status_code, answer.json()) == (500, {"error": "Failed to fetch analytics data"})
    assert "Analytics error:" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_resetting_counters_keeps_the_history(api: Api) -> None:
    """The accounts' counters are zero afterwards, the sums and the requests stay."""
    await write_now(api, exchange(1), exchange(2))
    assert (await api.accounts())[OAUTH.name]["requests"] == 2
    assert (await api.send("POST", "/api/stats/reset")).json() == {"accounts": 1}
    assert (await api.accounts())[OAUTH.name]["requests"] == 0
    assert (await api.get("/api/stats")).json()["requests"] == 2
    assert len((await api.get("/api/requests")).json()["requests"]) == 2


async def test_a_long_question_holds_no_short_one_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """While analytics is being computed, a page of the history is answered."""
    begun, release = threading.Event(), threading.Event()
    real = analytics.analyse

    def slow(*asked: object) -> object:
        begun.set()
        assert release.wait(10)
        return real(*asked)  # type: ignore[arg-type]  # as it was asked

    monkeypatch.setattr(analytics, "analyse", slow)
    long = asyncio.create_task(api.get("/api/analytics?range=30d"))
    assert await asyncio.to_thread(begun.wait, 5)
    assert (await asyncio.wait_for(api.get("/api/requests"), 5)).status_code == 200
    assert not long.done()
    release.set()
    assert (await long).status_code == 200
