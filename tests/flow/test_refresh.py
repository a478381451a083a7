"""Refreshing tokens: once for everybody, and on the disk before anybody uses them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ccflare.records import Credentials, Secret
from ccflare.refresh.flight import LEASE_S
from ccflare.store.tokens import Lease
from flow.refreshing import HOUR_MS, World, chore, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "x.db")
    yield made
    for process in made.processes:
        await process.close()


# Once.


async def test_many_callers_one_refresh(world: World) -> None:
    """A hundred callers of each of three expired accounts cause three refreshes, and all get the new tokens."""
    for name in "abc":
        world.add(name)
    process = world.process()
    found = await asyncio.gather(*(process.fresh(name) for name in "abc" * 100))
    assert found == ["at-a-1", "at-b-1", "at-c-1"] * 100
    assert sorted(world.endpoint.used) == ["rt-a-0", "rt-b-0", "rt-c-0"]


async def test_a_caller_that_leaves_does_not_end_the_refresh(world: World) -> None:
    """Even when nobody waits any more, what was begun comes to the disk."""
    world.add()
    process = world.process()
    world.endpoint.open.clear()
    caller = asyncio.create_task(process.fresh())
    await world.endpoint.asked.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    world.endpoint.open.set()
    await until(lambda: world.stored_refresh_token() == "rt-a-1", "stored")
    assert await process.fresh() == "at-a-1"
    assert world.endpoint.used == ["rt-a-0"]


async def test_processes_share_one_refresh(world: World) -> None:
    """Five processes that need the same token at the same time: one of them gets it, all have it."""
    world.add()
    processes = [world.process() for _ in range(5)]
    found = await asyncio.gather(*(process.fresh() for process in processes * 20))
    assert set(found) == {"at-a-1"}
    assert world.endpoint.used == ["rt-a-0"]


async def test_a_process_takes_what_another_has_refreshed(world: World) -> None:
    """A process that has not seen the store's news yet finds them when it asks, instead of spending a dead token."""
    world.add()
    early, late = world.process(), world.process()
    await early.fresh()
    assert await late.fresh() == "at-a-1"
    assert world.endpoint.used == ["rt-a-0"]


async def test_a_process_that_dies_holds_up_the_others_for_seconds(world: World) -> None:
    """A lease that nobody prolongs is taken over when it ends, and not before."""
    world.add()
    with world.store() as store:
        store.tokens.take_lease(Lease("a", "dead", world.now_ms() + 6_000), world.now_ms())
    process = world.process()
    asking = asyncio.create_task(process.fresh())
    await asyncio.sleep(0.1)
    assert world.endpoint.used == []
    world.clock.ahead += 6.1
    assert await asking == "at-a-1"


async def test_a_slow_endpoint_keeps_its_lease(world: World) -> None:
    """While the endpoint takes longer than a lease lasts, its holder prolongs it, and nobody asks a second time."""
    world.add()
    first, second = world.process(), world.process()
    world.endpoint.open.clear()
    asking = [asyncio.create_task(process.fresh()) for process in (first, second)]
    await world.endpoint.asked.wait()
    for _ in range(10):
        world.clock.ahead += 1.0
        await until(lambda: world.lease_ends_ms() == world.now_ms() + LEASE_S * 1000, "prolonged")
    assert len(world.endpoint.used) == 1
    world.endpoint.open.set()
    assert await asyncio.gather(*asking) == ["at-a-1", "at-a-1"]
    assert len(world.endpoint.used) == 1


# Durable before it is used.


async def test_nobody_gets_a_token_before_the_disk_has_it(world: World) -> None:
    """With the database locked at the moment of the answer, callers wait; when it is free it is stored, then used."""
    world.add()
    process = world.process()
    world.endpoint.open.clear()
    asking = asyncio.create_task(process.fresh())
    await world.endpoint.asked.wait()
    with world.locked():
        world.endpoint.open.set()
        await asyncio.sleep(0.2)
        assert not asking.done()
    assert await asking == "at-a-1"
    assert world.stored_refresh_token() == "rt-a-1"


async def test_a_broken_disk_does_not_take_the_account_away(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """When the new pair cannot be saved for seconds it is used from memory, which is said, and saved later."""
    world.add()
    process = world.process()
    world.endpoint.open.clear()
    asking = asyncio.create_task(process.fresh())
    await world.endpoint.asked.wait()
    with world.locked():
        world.endpoint.open.set()
        assert await world.clock.pass_until(asking) == "at-a-1"
        process.look()  # the store still has the old pair: it does not come back
        assert await process.fresh() == "at-a-1"
        assert "cannot be saved yet" in caplog.text
    with chore(process):
        await until(lambda: world.stored_refresh_token() == "rt-a-1", "saved")
    assert world.endpoint.used == ["rt-a-0"]


async def test_what_is_not_saved_yet_is_saved_at_the_end(world: World) -> None:
    """A server that stops writes what it has only in memory."""
    world.add()
    process = world.process()
    world.endpoint.open.clear()
    asking = asyncio.create_task(process.fresh())
    await world.endpoint.asked.wait()
    with world.locked():
        world.endpoint.open.set()
        await world.clock.pass_until(asking)
    await process.refresher.close(5)
    assert world.stored_refresh_token() == "rt-a-1"


async def test_stopping_waits_for_a_refresh_that_is_under_way(world: World) -> None:
    """The answer that comes during a stop is stored."""
    world.add()
    process = world.process()
    world.endpoint.open.clear()
    asking = asyncio.create_task(process.fresh())
    await world.endpoint.asked.wait()
    stopping = asyncio.create_task(process.refresher.close(5))
    await asyncio.sleep(0.05)
    world.endpoint.open.set()
    await stopping
    await asking
    assert world.stored_refresh_token() == "rt-a-1"


async def test_a_store_that_cannot_be_written_stops_only_what_can_wait(world: World) -> None:
    """A token that has ended, and that somebody waits for, is refreshed after seconds of a locked database.

    One that is still good, and one that nobody asks for, are not spent while they could not be saved.
    """
    world.add()
    world.add("b", ends_in_ms=60_000)
    world.add("c")
    process = world.process()
    with world.locked(), chore(process):
        asking = asyncio.create_task(process.fresh("a"))
        await asyncio.sleep(0.2)
        assert world.endpoint.used == []
        assert await world.clock.pass_until(asking) == "at-a-1"
        assert await process.fresh("b") == "at-b-0"
        await asyncio.sleep(0.1)
        assert world.endpoint.used == ["rt-a-0"]


async def test_a_new_sign_in_beats_a_refresh_under_way(world: World) -> None:
    """The pair that a person brought meanwhile is kept and used; the refreshed one is dropped."""
    world.add()
    process = world.process()
    world.endpoint.open.clear()
    asking = asyncio.create_task(process.fresh())
    await world.endpoint.asked.wait()
    with world.store() as store:
        store.set_credentials(
            Credentials("a", access_token=Secret("at-a-77"), refresh_token=Secret("rt-a-77")), world.now_ms() + HOUR_MS
        )
    world.endpoint.open.set()
    assert await asking == "at-a-77"
    assert world.stored_refresh_token() == "rt-a-77"


async def test_an_account_removed_meanwhile_stays_removed(world: World) -> None:
    """Its refresh ends without a token, without a row and without a defect."""
    world.add()
    process = world.process()
    world.endpoint.open.clear()
    asking = asyncio.create_task(process.fresh())
    await world.endpoint.asked.wait()
    with world.store() as store:
        store.remove_account("a")
    process.look()
    world.endpoint.open.set()
    await world.clock.pass_until(asking)
    with world.store() as store:
        assert store.accounts() == []
    assert await process.fresh() is None
