"""A wall clock that jumps: waits end as long from now as they would have, and nothing else is moved."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from ccflare.upkeep import CLOCK_JUMP_S, watch_clock
from flow.refreshing import Time, until
from flow.scripted import Answer, World, error

HOUR_MS = 3_600_000


@pytest.fixture
async def watched() -> AsyncIterator[tuple[Time, list[int]]]:
    """A clock that is watched, and by how much it was found set back."""
    clock, told = Time(), list[int]()
    task = asyncio.create_task(watch_clock(told.append, clock))
    await asyncio.sleep(0.03)
    yield clock, told
    task.cancel()


async def test_a_clock_that_is_set_back_is_noticed(
    watched: tuple[Time, list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, by how much, and again when it happens again."""
    clock, told = watched
    with caplog.at_level(logging.INFO, "ccflare.Server"):
        clock.jumped -= 3600
        await until(lambda: len(told) == 1, "told")
        clock.jumped -= 3600
        await until(lambda: len(told) == 2, "told again")
    assert [round(each / 1000) for each in told] == [3600, 3600]
    assert caplog.text.count("The clock was set back by 3600 s") == 2


async def test_time_that_passes_and_small_corrections_are_no_jumps(watched: tuple[Time, list[int]]) -> None:
    """Neither hours that pass nor a second of correction nor a jump ahead moves anything."""
    clock, told = watched
    for change in ("ahead", "jumped"):
        setattr(clock, change, getattr(clock, change) + 3600)
        await asyncio.sleep(0.03)
    clock.jumped -= CLOCK_JUMP_S / 2
    await asyncio.sleep(0.03)
    assert told == []


async def test_waits_move_with_a_clock_that_is_set_back() -> None:
    """A limit of the account, a pause of seconds and one of a model end as long from now as before."""
    world = World("abc")
    world.script(
        a=[error(429, "rate_limit_error", "x", [(b"retry-after", b"600")])],
        b=[error(429, "rate_limit_error", "Error")],
        c=[Answer()],
    )
    await world.ask()
    before = {standing.account.name: standing for standing in world.pool.states(world.now_ms)}
    now_ms = world.now_ms - HOUR_MS
    world.pool.clock_set_back(HOUR_MS)
    after = {standing.account.name: standing for standing in world.pool.states(now_ms)}
    assert (after["a"].account.limited_until_ms or 0) == (before["a"].account.limited_until_ms or 0) - HOUR_MS
    assert after["a"].state == "rate_limited"
    assert (
        [aside.until_ms for aside in after["b"].asides]
        == [aside.until_ms - HOUR_MS for aside in before["b"].asides]
        != []
    )
    assert after["c"].account.limited_until_ms is None
    changed = {account.name: account.limited_until_ms for account in world.pool.take_changes().accounts}
    assert changed["a"] == after["a"].account.limited_until_ms
    assert [standing.state for standing in world.pool.states(now_ms + 601_000)] == ["active"] * 3
