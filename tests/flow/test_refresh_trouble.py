"""Refreshing that fails: what is a passing trouble, what needs a person, and who is told."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from ccflare.errors import InvalidSetting, TokenEndpointError, TokenRefused, TransportError
from ccflare.records import Credentials, Grant, Secret
from ccflare.store.tokens import Lease
from flow.refreshing import GONE, HOUR_MS, World, chore, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "x.db")
    yield made
    for process in made.processes:
        await process.close()


# Failures.


async def test_a_dead_refresh_token_is_looked_for_in_the_store_first(world: World) -> None:
    """`invalid_grant` for a token that has been replaced in the store: the newer pair is used, nobody is bothered."""
    world.add()
    process = world.process()
    world.endpoint.open.clear()
    world.endpoint.trouble = [GONE]
    asking = asyncio.create_task(process.fresh())
    await world.endpoint.asked.wait()
    with world.store() as store:
        newer = Grant(
            Credentials("a", access_token=Secret("at-a-5"), refresh_token=Secret("rt-a-5")), world.now_ms() + HOUR_MS
        )
        store.tokens.rotate(Lease("a", "other", 0), Secret("rt-a-0"), newer, world.now_ms())
    world.endpoint.open.set()
    assert await asking == "at-a-5"
    assert world.stored_account().expired_reason is None


async def test_a_dead_refresh_token_needs_a_person(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The account is expired, once and told once; nothing is asked again until somebody has signed in."""
    caplog.set_level(logging.INFO)
    world.add()
    process = world.process()
    world.endpoint.trouble = [GONE]
    asking = asyncio.create_task(process.fresh())
    assert await world.clock.pass_until(asking) is None
    account = world.stored_account()
    assert account.expired_reason is not None
    assert "invalid_grant" in account.expired_reason
    assert account.refresh_error == account.expired_reason
    assert "Failed to refresh access token: invalid_grant" in process.trouble()
    process.look()
    process.look()
    world.clock.ahead += 10_000
    assert await process.fresh() is None
    assert len(world.endpoint.used) == 1
    with world.store() as store:
        credentials = Credentials("a", access_token=Secret("at-a-9"), refresh_token=Secret("rt-a-9"))
        store.set_credentials(credentials, world.now_ms() + HOUR_MS)
    process.look()
    process.look()
    assert await process.fresh() == "at-a-9"
    lines = [record.getMessage() for record in caplog.records]
    assert sum("is expired and needs a new sign-in" in line for line in lines) == 1
    assert sum("is signed in again" in line for line in lines) == 1
    assert sum("Token refresh failed: invalid_grant" in line for line in lines) == 1
    assert "rt-a" not in caplog.text


async def test_an_account_without_a_refresh_token_needs_a_person_too(world: World) -> None:
    """When its only token has ended nothing is asked, and the account says what it needs."""
    world.add()
    with closing(sqlite3.connect(world.path)) as db:
        db.execute("UPDATE accounts SET refresh_token = ''")
        db.commit()
    process = world.process()
    assert await process.fresh() is None
    assert world.endpoint.used == []
    assert "no refresh token" in (world.stored_account().expired_reason or "")


@pytest.mark.parametrize(
    "error",
    [
        TokenEndpointError("the token endpoint answered with status 500"),
        TokenRefused("invalid_client", "invalid_client: Unknown client_id (status 401)"),
        TransportError("connect_error", "connection refused"),
        InvalidSetting("signing in with OAuth needs an OAuth client of yours (CLIENT_ID)"),
    ],
)
async def test_passing_trouble_changes_nothing_but_the_next_try(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The account stays what it is, why it failed is kept and logged, and the next try comes after a pause."""
    world.add()
    process = world.process()
    world.endpoint.trouble = [error]
    assert await process.fresh() is None
    account = world.stored_account()
    assert (account.expired_reason, account.refresh_error) == (None, str(error))
    assert f"Token refresh failed: {error}" in caplog.text
    assert process.trouble() == f"Failed to refresh access token: {error}"
    assert await process.fresh() is None
    assert len(world.endpoint.used) == 1
    world.clock.ahead += 1
    world.endpoint.used.clear()
    assert await process.fresh() == "at-a-1"


async def test_pauses_grow_and_are_as_long_as_the_endpoint_asks(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The pause doubles with every failure up to five minutes; a `retry-after` is waited for, an absurd one not.

    An exchange does not wait longer than 30 seconds unless that was asked for.
    """
    world.add()
    process = world.process()
    for number, asked in enumerate([None] * 12 + [900.0, 1e9]):
        world.endpoint.trouble = [TokenEndpointError("down", asked)]
        assert await process.fresh() is None
        assert len(world.endpoint.used) == number + 1
        pause = float(caplog.records[-1].getMessage().rpartition("next try in ")[2].removesuffix(" s)"))
        expected = min(300.0, 2.0**number)
        assert pause == {900.0: 900.0, 1e9: 3600.0}.get(asked or 0) or 0.4 * expected <= pause <= expected
        wait = pause if asked else min(pause, 30.0)
        world.clock.ahead += wait - 0.3
        assert await process.fresh() is None
        assert len(world.endpoint.used) == number + 1
        world.clock.ahead += 0.4


async def test_exchanges_need_not_wait_minutes_after_an_outage(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody who needs a token now has it tried again after 30 seconds at most, refreshes ahead of need later."""
    world.add()
    process = world.process()
    for number in range(1, 11):
        world.endpoint.trouble = [TokenEndpointError("down")]
        assert await process.fresh() is None
        assert len(world.endpoint.used) == number
        assert process.refresher.is_hopeless(process.account())
        world.clock.ahead += 30.1
        assert not process.refresher.is_hopeless(process.account())
    assert float(caplog.records[-1].getMessage().rpartition("next try in ")[2].removesuffix(" s)")) > 100
    with chore(process):
        await asyncio.sleep(0.1)
        assert len(world.endpoint.used) == 10
    world.endpoint.used.clear()
    assert await process.fresh() == "at-a-1"


async def test_a_refused_pair_that_was_never_saved_needs_a_person(world: World) -> None:
    """Then the store's older pair is no newer one: it is spent, and not used again."""
    world.add(ends_in_ms=24 * HOUR_MS)
    world.endpoint.life_ms = HOUR_MS
    process = world.process()
    world.endpoint.open.clear()
    asking = asyncio.create_task(process.fresh(refused="at-a-0"))
    await world.endpoint.asked.wait()
    with world.locked():
        world.endpoint.open.set()
        assert await world.clock.pass_until(asking) == "at-a-1"
    world.endpoint.trouble = [GONE]
    asking = asyncio.create_task(process.fresh(refused="at-a-1"))
    assert await world.clock.pass_until(asking) is None
    assert world.endpoint.used == ["rt-a-0", "rt-a-1"]
    assert "invalid_grant" in (world.stored_account().expired_reason or "")


async def test_a_token_is_used_to_its_end_while_refreshing_fails(world: World) -> None:
    """Trouble ahead of the end takes nothing from the account."""
    world.add(ends_in_ms=60_000)
    process = world.process()
    world.endpoint.trouble = [TokenEndpointError("down")] * 3
    with chore(process):
        await until(lambda: len(world.endpoint.used) == 1, "tried ahead of the end")
        assert await process.fresh() == "at-a-0"
    assert world.stored_account().expired_reason is None


async def test_wrong_keys_keep_tokens_from_being_spent(tmp_path: Path) -> None:
    """A process that cannot read the store's credentials any more does not use up the tokens of those who can."""
    world = World(tmp_path / "x.db")
    world.add()
    process = world.process()
    with closing(sqlite3.connect(world.path)) as db:
        db.execute("INSERT INTO vault VALUES (1, x'00112233445566778899aabbccddeeff', 'enc:v1:AAAA')")
        db.commit()
    asking = asyncio.create_task(process.fresh())
    assert await world.clock.pass_until(asking) is None
    assert world.endpoint.used == []
    assert "ccflare_SECRET_KEY" in process.trouble()
    await process.close()
