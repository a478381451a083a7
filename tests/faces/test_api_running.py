"""Requests that run: asked for, and told to who follows requests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api_kit import Api, Listener, listening, running
from ccflare.api import running_view
from ccflare.exchange import OpenExchange, Running
from ccflare.pool import Ask
from flow.scripted import Client

STREAM = "/api/requests/stream"
LIST = "/api/requests/running"


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(running_view, "LOOK_EVERY_S", 0.0)
    async with running(tmp_path, monkeypatch) as made:
        yield made


@contextlib.contextmanager
def arrived(api: Api, *ids: str, age_s: float = 1.0) -> Any:
    """Have exchanges run while the block runs."""
    now = api.app.proxy._monotonic() - age_s
    for each in ids:
        x = api.app.proxy.open[each] = OpenExchange(Client(b"{}"), each, 1_790_000_000_000, now)
        x.ask = Ask("session", "claude-sonnet-5-5")
    try:
        yield
    finally:
        for each in ids:
            del api.app.proxy.open[each]


def told(listener: Listener) -> list[dict[str, Any]]:
    """Return the states that a listener was told."""
    blocks = [block for block in listener.text.split("\n\n") if block.startswith("event: running")]
    return [json.loads(block.partition("data: ")[2]) for block in blocks]


async def until(listener: Listener, *ids: str) -> dict[str, Any]:
    """Wait until exactly these are told to run; return that state."""
    async with asyncio.timeout(5):
        while not told(listener) or [each["id"] for each in told(listener)[-1]["requests"]] != list(ids):  # noqa: ASYNC110  # what is polled has no event
            await asyncio.sleep(0.005)
    return told(listener)[-1]


async def test_what_runs_is_listed_the_longest_first(api: Api) -> None:
    """With how many there are; at most as many as asked for."""
    assert (await api.get(LIST)).json() == {"total": 0, "requests": []}
    with arrived(api, "x1", "x2", "x3"):
        shown = (await api.get(f"{LIST}?limit=2")).json()
    assert (shown["total"], [each["id"] for each in shown["requests"]]) == (3, ["x1", "x2"])
    one = shown["requests"][0]
    assert (one["phase"], one["model"], one["account"], one["timestamp"]) == (
        "choosing", "claude-sonnet-5-5", None, "2026-09-21T14:13:20.000Z",
    )  # fmt: skip


async def test_one_that_runs_is_asked_for_by_its_id(api: Api) -> None:
    """One that does not run is no error: an empty list."""
    with arrived(api, "x1", "x2"):
        assert [each["id"] for each in (await api.get(f"{LIST}?id=x1")).json()["requests"]] == ["x1"]
        assert (await api.get(f"{LIST}?id=gone")).json()["requests"] == []


async def test_who_joins_is_told_what_runs_and_then_what_changes(api: Api) -> None:
    """As events `running`, without an id: the place in the history's events stays where it was."""
    with arrived(api, "x1"):
        async with listening(api, STREAM) as (listener, _):
            await until(listener, "x1")
            with arrived(api, "x2"):
                await until(listener, "x1", "x2")
            state = await until(listener, "x1")
            assert state["total"] == 1
    assert listener.events() == []


async def test_nothing_new_is_not_told_again(api: Api) -> None:
    """Time that passes and bytes that flow are no news; a phase is."""
    with arrived(api, "x1"):
        async with listening(api, STREAM) as (listener, _):
            await until(listener, "x1")
            api.app.proxy.open["x1"].response_bytes = 10
            async with listening(api, STREAM) as (other, _):
                await until(other, "x1")  # who comes later is told at once, and the first one nothing
            assert len(told(listener)) == 1
            api.app.proxy.open["x1"].status = 200
            await listener.until('"phase":"answering"')
            assert len(told(listener)) == 2


async def test_of_thousands_the_longest_are_told_and_how_many_there_are(api: Api) -> None:
    """A page is shown a bounded number, and one state serves all who listen."""
    with arrived(api, *(f"x{number}" for number in range(3000))):
        async with listening(api, STREAM) as (one, _), listening(api, STREAM) as (other, _):
            state = await until(one, *(f"x{number}" for number in range(50)))
            await other.until("x49")
    assert state["total"] == 3000
    assert len(one.text) < 40_000


async def test_nobody_looks_while_nobody_listens(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs is looked at for listeners only, and for all of them at once."""
    looks: list[int] = []
    look = OpenExchange.so_far

    def counting(self: OpenExchange, now: float) -> Running:
        looks.append(1)
        return look(self, now)

    monkeypatch.setattr(OpenExchange, "so_far", counting)
    monkeypatch.setattr(running_view, "LOOK_EVERY_S", 3600.0)
    with arrived(api, "x1"):
        await asyncio.sleep(0.05)
        assert looks == []
        async with listening(api, STREAM) as (one, _), listening(api, STREAM) as (other, _):
            await until(one, "x1")
            await until(other, "x1")
    assert len(looks) == 1


async def test_what_is_young_is_not_told_yet(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short requests would only flicker: they are told when they have run for a while, and listed at once."""
    with arrived(api, "old", age_s=1.0), arrived(api, "young", age_s=0.0):
        assert (await api.get(LIST)).json()["total"] == 2
        async with listening(api, STREAM) as (listener, _):
            assert (await until(listener, "old"))["total"] == 1
            monkeypatch.setattr(running_view, "YOUNG_S", 0.0)
            assert (await until(listener, "old", "young"))["total"] == 2
