"""When tokens are refreshed: ahead of their end, when upstream refuses one, and whatever the clock does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ccflare.errors import TokenEndpointError
from ccflare.records import Account, Credentials, Secret
from ccflare.store import AccountChange
from flow.refreshing import HOUR_MS, World, chore, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "x.db")
    yield made
    for process in made.processes:
        await process.close()


# Ahead of the end.


async def test_tokens_are_refreshed_before_they_end(world: World) -> None:
    """Those that end within minutes are refreshed though nobody asks; those with hours to go, and paused ones, wait."""
    world.add("near", ends_in_ms=5 * 60_000)
    world.add("far", ends_in_ms=HOUR_MS)
    world.add("paused", ends_in_ms=60_000, paused=True)
    world.add("bare", access=False)
    world.add("endless", ends_in_ms=None)
    process = world.process()
    with chore(process):
        await until(lambda: len(world.endpoint.used) >= 2, "refreshed")
        await asyncio.sleep(0.1)
        assert sorted(world.endpoint.used) == ["rt-bare-0", "rt-near-0"]
        assert await process.fresh("near") == "at-near-1"
        process.look()
        world.clock.ahead += 3600
        await until(lambda: "rt-far-0" in world.endpoint.used, "refreshed in time")
        assert len(world.endpoint.used) == 3


async def test_short_lived_tokens_are_not_refreshed_all_the_time(world: World) -> None:
    """A token that lives for a minute is refreshed in the last quarter of it, not at once again."""
    world.endpoint.life_ms = 60_000
    world.add()
    process = world.process()
    with chore(process):
        await until(lambda: world.stored_refresh_token() == "rt-a-1", "refreshed")
        await asyncio.sleep(0.2)
        process.look()
        await asyncio.sleep(0.1)
        assert world.endpoint.used == ["rt-a-0"]
        world.clock.ahead += 55
        await until(lambda: world.stored_refresh_token() == "rt-a-2", "refreshed again")


async def test_two_processes_refresh_ahead_once(world: World) -> None:
    """Both watch the same account; one refreshes."""
    world.add(ends_in_ms=60_000)
    first, second = world.process(), world.process()
    with chore(first), chore(second):
        await until(lambda: world.stored_refresh_token() == "rt-a-1", "refreshed")
        await asyncio.sleep(0.2)
    assert world.endpoint.used == ["rt-a-0"]
    assert await first.fresh() == await second.fresh() == "at-a-1"


# What upstream says.


async def test_a_refused_token_is_replaced_once(world: World) -> None:
    """A 401 on a token that should be good: one refresh for all who had it, none for who comes with the old one."""
    world.add(ends_in_ms=HOUR_MS)
    process = world.process()
    assert await process.fresh() == "at-a-0"
    found = await asyncio.gather(*(process.fresh(refused="at-a-0") for _ in range(50)))
    assert set(found) == {"at-a-1"}
    assert await process.fresh(refused="at-a-0") == "at-a-1"
    assert world.endpoint.used == ["rt-a-0"]


async def test_a_refused_token_is_not_used_again(world: World) -> None:
    """When it cannot be replaced for now, it does not go upstream a second time either."""
    world.add(ends_in_ms=HOUR_MS)
    process = world.process()
    world.endpoint.trouble = [TokenEndpointError("down")]
    assert await process.fresh(refused="at-a-0") is None
    assert await process.fresh() is None


async def test_an_endpoint_that_names_no_refresh_token_means_the_old_one(world: World) -> None:
    """The refresh token that was used goes on being good, again and again."""
    world.endpoint.omits = True
    world.add()
    process = world.process()
    assert await process.fresh() == "at-a-1"
    assert world.stored_refresh_token() == "rt-a-0"
    assert await process.fresh(refused="at-a-1") == "at-a-2"
    assert world.endpoint.used == ["rt-a-0", "rt-a-0"]


async def test_an_end_that_nobody_knows_is_not_guessed(world: World) -> None:
    """Without `expires_in` a token is used until upstream refuses it."""
    world.endpoint.life_ms = None
    world.add()
    process = world.process()
    assert await process.fresh() == "at-a-1"
    world.clock.ahead += 10**6
    process.look()
    with chore(process):
        await asyncio.sleep(0.05)
        assert await process.fresh() == "at-a-1"
        assert await process.fresh(refused="at-a-1") == "at-a-2"


async def test_a_token_that_ends_at_once_is_still_the_one_to_use(world: World) -> None:
    """An endpoint that gives tokens without a life does not keep requests from being tried."""
    world.endpoint.life_ms = 0
    world.add()
    assert await world.process().fresh() == "at-a-1"


# Time.


async def test_a_clock_set_forward_costs_one_refresh(world: World) -> None:
    """After a jump of a day every token seems to have ended: each is refreshed once, not again and again."""
    world.add(ends_in_ms=HOUR_MS)
    process = world.process()
    world.clock.jumped = 86_400
    with chore(process):
        assert await process.fresh() == "at-a-1"
        process.look()
        await asyncio.sleep(0.2)
        assert await process.fresh() == "at-a-1"
    assert world.endpoint.used == ["rt-a-0"]


async def test_a_clock_set_back_is_noticed_by_a_refusal(world: World) -> None:
    """Tokens then seem good for longer than they are: the refusal of one leads to the next."""
    world.add()
    process = world.process()
    world.clock.jumped = -86_400
    assert await process.fresh() == "at-a-0"
    assert await process.fresh(refused="at-a-0") == "at-a-1"
    world.clock.jumped = 0
    assert await process.fresh() is not None
    assert len(world.endpoint.used) <= 2


# The keyring.


async def test_a_late_look_at_the_store_does_not_bring_old_tokens_back(world: World) -> None:
    """What was read before a refresh and arrives after it is recognised; later news count."""
    world.add()
    process = world.process()
    with world.store() as store:
        read_before = store.accounts(), store.credentials()
    assert await process.fresh() == "at-a-1"
    process.load(*read_before)
    assert await process.fresh() == "at-a-1"
    with world.store() as store:
        store.set_credentials(Credentials("a", access_token=Secret("at-a-9"), refresh_token=Secret("rt-a-9")), None)
        store.update_account("a", AccountChange(priority=3))
    process.look()
    assert await process.fresh() == "at-a-9"
    assert world.endpoint.used == ["rt-a-0"]


async def test_key_accounts_are_left_alone(world: World) -> None:
    """They have nothing to refresh, and what upstream thinks of a key is none of the refresher's business."""
    with world.store() as store:
        store.add_account(Account(id="k", name="k", created_at_ms=1), Credentials("k", api_key=Secret("key")))
    process = world.process()
    account = Account(id="k", name="k", created_at_ms=1)
    with chore(process):
        await asyncio.sleep(0.05)
        assert await process.refresher.fresh(account) == Secret("key")
    assert world.endpoint.used == []
