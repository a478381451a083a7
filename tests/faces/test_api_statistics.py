"""Sums by HTTP: what they tell, and what is said when they cannot be had."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api_kit import OAUTH, Api, add_oauth, exchange, running
from ccflare import analytics
from ccflare.api.shared import Shared
from ccflare.errors import StoreBusy
from ccflare.records import Exchange
from ccflare.store import Batch, Store
from ccflare.store.sqlite import SqliteStore


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


async def test_equal_questions_at_the_same_moment_are_answered_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks the same shares one answer, also when the first to ask leaves; another question is its own."""
    release, asked, waiting = threading.Event(), [], []
    real, share = analytics.analyse, Shared.ask

    def slow(store: Store, question: analytics.Question, now_ms: int) -> object:
        asked.append(question.range)
        assert release.wait(10)
        return real(store, question, now_ms)

    async def counted(shared: Shared, question: Any, answer: Any) -> Any:
        waiting.append(question)
        return await share(shared, question, answer)

    monkeypatch.setattr(analytics, "analyse", slow)
    monkeypatch.setattr(Shared, "ask", counted)
    same = [asyncio.create_task(api.get("/api/analytics?range=7d")) for _ in range(6)]
    other = asyncio.create_task(api.get("/api/analytics?range=1h"))
    async with asyncio.timeout(5):
        while len(waiting) < 7:  # noqa: ASYNC110  # what is polled has no event
            await asyncio.sleep(0.005)
    same[0].cancel()
    await asyncio.gather(same[0], return_exceptions=True)
    release.set()
    answers = await asyncio.gather(*same[1:], other)
    assert [answer.status_code for answer in answers] == [200] * 6
    assert sorted(asked) == ["1h", "7d"]
    assert (await api.get("/api/analytics?range=7d")).status_code == 200
    assert len(asked) == 3, "nothing is kept of an answer"


async def test_an_answer_that_nobody_waits_for_any_more_is_given_up() -> None:
    """When all who asked have left, answering ends; who asks then begins anew."""
    ended, shared = [], Shared()

    async def answer() -> str:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)
        return "never"

    async def at_once() -> str:
        return "now"

    asking = [asyncio.create_task(shared.ask("q", answer)) for _ in range(2)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0.01)
    assert ended == []
    asking[1].cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert await shared.ask("q", at_once) == "now"
    assert ended == [True]


async def test_totals_do_not_wait_behind_analytics(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a long question is being answered, the sums of everything are."""
    release, begun = threading.Event(), threading.Event()

    def slow(*_asked: object) -> object:
        begun.set()
        assert release.wait(10)
        raise StoreBusy("enough")

    monkeypatch.setattr(analytics, "analyse", slow)
    long = asyncio.create_task(api.get("/api/analytics?range=30d"))
    assert await asyncio.to_thread(begun.wait, 5)
    assert (await asyncio.wait_for(api.get("/api/stats"), 5)).status_code == 200
    assert not long.done()
    release.set()
    await long


async def test_analytics_that_a_stop_ends_say_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's stop is no failure of the database: 503 at once, and no `Analytics error:`."""

    ended = threading.Event()

    def long(*_asked: object) -> None:
        ended.wait(10)

    monkeypatch.setattr(analytics, "analyse", long)
    asked = [asyncio.create_task(api.get(f"/api/analytics?range={name}")) for name in ("7d", "30d")]
    await asyncio.sleep(0.05)
    api.app.desks.slow.stop()
    answers = await asyncio.gather(*asked)
    ended.set()
    assert [(each.status_code, each.json()) for each in answers] == [(503, {"error": "the server is stopping"})] * 2


async def test_changes_that_wait_for_a_lock_hold_no_reader_up(api: Api) -> None:
    """While another process has the database locked, a change waits and the lists are answered."""
    other = sqlite3.connect(api.app.configuration.started.db_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    changes = [
        asyncio.create_task(api.send("POST", target))
        for target in (f"/api/accounts/{OAUTH.id}/pause", "/api/stats/reset")
    ]
    await asyncio.sleep(0.05)
    for target in ("/api/accounts", "/api/requests", "/api/stats"):
        assert (await asyncio.wait_for(api.get(target), 2)).status_code == 200
    assert not any(change.done() for change in changes)
    other.execute("ROLLBACK")
    other.close()
    assert [(await change).status_code for change in changes] == [200, 200]


async def test_counting_accounts_counts_nothing_else(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resetting the counters costs the same however long the history is."""

    def counted(_store: SqliteStore) -> None:
        raise AssertionError("the rows of all tables were counted")

    monkeypatch.setattr(SqliteStore, "counts", counted)
    assert (await api.send("POST", "/api/stats/reset")).json() == {"accounts": 1}


async def test_removed_accounts_are_told_from_those_that_have_their_names_now(api: Api) -> None:
    """A new account with the name of a removed one is an entry of its own, and the other says that it is removed."""
    await write_now(api, exchange(1), exchange(2, account_id=None))
    removed = await api.send("DELETE", f"/api/accounts/{OAUTH.id}", {"confirm": OAUTH.name})
    assert removed.status_code == 200
    await write_now(api, exchange(3, account_id=await api.add(OAUTH.name)))
    for found in (
        (await api.get("/api/analytics?range=1h")).json()["accounts"],
        (await api.get("/api/stats")).json()["by_account"],
    ):
        shown = {(each["name"], each["removed"]) for each in found}
        assert shown == {(OAUTH.name, True), (OAUTH.name, False), (None, False)}
