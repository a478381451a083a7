"""A session whose account fails goes on to one account, whichever workers its requests are at."""

import asyncio

import pytest

from ccflare.bus import Alone
from ccflare.records import Account
from ccflare.supervisor.claims import Claims
from flow.scripted import Answer, Client, World, error

LIMITED = error(429, "rate_limit_error", headers=[(b"retry-after", b"600")])
OVERLOADED = error(529, "overloaded_error")


class Worker(Alone):
    """One of several workers, without a supervisor's process."""

    def __init__(self, claims: Claims, number: int) -> None:
        self.number = number
        self.claims = claims

    async def claim(self, key: str, value: str, instead_of: str = "") -> str:
        await asyncio.sleep(0.01)
        return self.claims.claim(self.number, key, value, instead_of)

    def reclaim(self, key: str, value: str) -> None:
        self.claims.reclaim(key, value)

    def release(self, key: str) -> None:
        self.claims.release(self.number, key)


def two_workers(claims: Claims) -> list[World]:
    """Return two workers that would choose different accounts: each has another one busy."""
    worlds = []
    for number, busy in ((1, "b"), (2, "c")):
        world = World("abc", Worker(claims, number), retry_attempts=1)
        accounts = [Account(id=name, name=name, created_at_ms=0, priority=int(name != "a")) for name in "abc"]
        world.pool.load(accounts, world.now_ms)
        world.pool.begin(busy)
        worlds.append(world)
    return worlds


def asking(session: str) -> Client:
    return Client(b'{"model":"m"}', headers=[(b"x-claude-code-session-id", session.encode()), (b"x-api-key", b"k")])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("failure", [LIMITED, OVERLOADED, error(401, "authentication_error")])
async def test_requests_of_a_session_go_on_together(failure: Answer, known: bool) -> None:
    """Those that fail at its account at the same time, whether it was bound there or had just been agreed on."""
    claims = Claims()
    worlds = two_workers(claims)
    for world in worlds:
        world.script(a=[Answer(), failure] if known else [failure])
        if known:
            await world.ask(asking("s"))
    for world in worlds:
        world.transport.sent.clear()
    await asyncio.gather(*[world.ask(asking("s")) for world in worlds for _ in range(2)])
    went = [sent.key for world in worlds for sent in world.transport.sent if sent.key != "key-a"]
    assert len(went) == 4
    assert len(set(went)) == 1
    assert len(claims) == 0
    last = [row.attempts[-1].choice for world in worlds for row in world.rows if len(row.attempts) > 1]
    followed = [choice for choice in last if choice is not None]
    assert {choice.why for choice in followed} >= {"alongside"}
    if known and failure is LIMITED:
        assert {choice.instead_of for choice in followed} == {"a"}


async def test_what_the_others_went_on_to_may_have_failed_here() -> None:
    """Then each goes its own way, and all that was claimed is given back."""
    claims = Claims()
    one, other = two_workers(claims)
    one.script(a=[LIMITED], c=[LIMITED])
    other.script(a=[LIMITED], b=[LIMITED])
    clients = await asyncio.gather(one.ask(asking("s")), other.ask(asking("s")))
    assert [client.status for client in clients] == [200, 200]
    assert len(claims) == 0


async def test_nobody_is_tried_twice_because_others_go_there() -> None:
    """An account that has failed here stays behind, whatever the others have agreed on."""

    class Stubborn(Worker):
        async def claim(self, key: str, value: str, instead_of: str = "") -> str:
            return "a"

    world = World("ab", Stubborn(Claims(), 1), retry_attempts=1)
    world.script(a=[OVERLOADED])
    client = await world.ask(asking("s"))
    assert client.status == 200
    assert [sent.key for sent in world.transport.sent] == ["key-a", "key-b"]
