"""What can be told of an exchange while it runs, and that its attempts keep why they went where they went."""

import asyncio
from typing import Any

from ccflare.errors import TransportError
from ccflare.exchange import Running
from ccflare.limits import LimitAccount
from ccflare.pool import Ask
from ccflare.wire import ByteBudget
from flow.scripted import Answer, Client, World, error

SESSION = [(b"x-claude-code-session-id", b"s1")]


def running(world: World) -> Running:
    """Return the only exchange that runs."""
    [exchange] = world.proxy.open.values()
    return exchange.so_far(world.clock.monotonic())


async def test_an_exchange_that_waits_tells_for_whom_and_why() -> None:
    """Account, model, age and phase, from the registry alone; with its end it is not there any more."""
    world = World()
    async with world.busy():
        world.clock.passed += 1.5
        told = running(world)
        assert (told.phase, told.model, told.age_ms) == ("waiting", "claude-x", 1500)
        assert told.account is not None
        assert (told.account.name, told.choice and told.choice.why) == ("a", "priority")
        assert (told.method, told.path, told.attempts, told.response_bytes) == ("POST", "/v1/messages", (), 0)
        assert told.request_bytes > 0
    assert world.proxy.open == {}
    assert world.rows[0].id == told.id
    world.assert_quiet()


class SlowReader(Client):
    """A client whose body does not come yet."""

    async def read_body(self, limit: int, budget: ByteBudget | None = None) -> bytes | bytearray | None:
        await asyncio.Event().wait()
        return None


async def test_while_the_request_comes_in_nobody_is_chosen() -> None:
    """The phase is `reading`, without account and choice."""
    world = World()
    task = asyncio.create_task(world.ask(SlowReader()))
    await asyncio.sleep(0)
    told = running(world)
    assert (told.phase, told.account, told.model) == ("reading", None, None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_exchange_tells_of_the_attempts_it_has_made() -> None:
    """What failed is told with its reason while the next account is waited for."""
    world = World()
    world.script(a=[error(429, "rate_limit_error")])
    reached = asyncio.Event()
    opened = world.transport.open

    async def open_(origin: Any, request: Any, **deadlines: Any) -> Any:
        if len(world.transport.sent) == 1:
            reached.set()
            await asyncio.Event().wait()
        return await opened(origin, request, **deadlines)

    world.transport.open = open_  # type: ignore[method-assign]  # the second account never answers
    task = asyncio.create_task(world.ask())
    await asyncio.wait_for(reached.wait(), 5)
    told = running(world)
    assert (told.phase, told.account and told.account.name) == ("waiting", "b")
    assert [(attempt.account_id, attempt.verdict) for attempt in told.attempts] == [("a", "next")]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_pause_before_the_next_attempt_is_told() -> None:
    """And the choice says that it will be the same account."""
    world = World("a")
    world.script(a=[error(500), Answer()])
    told: list[Running] = []
    sleep = world.clock.sleep

    async def look(seconds: float) -> None:
        told.append(running(world))
        await sleep(seconds)

    world.clock.sleep = look  # type: ignore[method-assign]  # looks at the exchange while it pauses
    await world.ask()
    assert [(each.phase, each.choice and each.choice.why) for each in told] == [("pausing", "again")]
    assert [attempt.choice and attempt.choice.why for attempt in world.rows[0].attempts] == ["only", "again"]


class Watching(Client):
    """A client that looks at its exchange whenever it gets something."""

    def __init__(self, world: World) -> None:
        super().__init__(b"{}")
        self.world = world
        self.told: list[Running] = []

    def write(self, data: bytes) -> bool:
        self.told.append(running(self.world))
        return super().write(data)


async def test_an_answer_on_its_way_is_told_with_its_bytes() -> None:
    """The phase is `answering`, and what the client has got counts up."""
    world = World("a")
    client = Watching(world)
    await world.ask(client)
    assert {each.phase for each in client.told} == {"answering"}
    assert client.told[0].response_bytes < client.told[-1].response_bytes == len(client.answer)


async def test_a_credential_in_path_or_model_is_not_told() -> None:
    """As in the history."""
    world = World("a")
    key = "sk-ant-api03-0123456789abcdef0123456789"
    async with world.busy(Client(b'{"model":"' + key.encode() + b'"}', target=b"/v1/messages/" + key.encode())):
        assert key not in repr(running(world).path) + repr(running(world).model)


async def test_a_request_without_accounts_tells_that_nobody_serves_it() -> None:
    """It waits for upstream with the client's own credential."""
    world = World("")
    async with world.busy(Client(b"{}", headers=[(b"x-api-key", b"nobody")])):
        told = running(world)
        assert (told.phase, told.account, told.choice and told.choice.why) == ("waiting", None, "own_credential")
    assert [each.choice and each.choice.why for each in world.rows[0].attempts] == ["own_credential"]


async def test_the_history_keeps_why_an_account_was_chosen() -> None:
    """For the first attempt too: a new session's, and then its own account."""
    world = World()
    for _ in range(2):
        await world.ask(Client(b'{"model":"m"}', headers=SESSION))
    assert [row.attempts[0].choice and row.attempts[0].choice.why for row in world.rows] == ["priority", "session"]


async def test_a_client_is_told_when_another_account_stands_in_for_its_sessions() -> None:
    """By a header, on each such answer, also after a retry; not when the account is its own, or was never bound."""
    world = World()
    own = await world.ask(Client(b'{"model":"m"}', headers=SESSION))
    world.pool.apply("a", LimitAccount(world.now_ms + 60_000, "429"), Ask(), world.now_ms)
    world.script(b=[error(500), Answer()])
    moved = await world.ask(Client(b'{"model":"m"}', headers=SESSION))
    again = await world.ask(Client(b'{"model":"m"}', headers=SESSION))
    other = await world.ask(Client(b'{"model":"m"}', headers=[(b"x-claude-code-session-id", b"s2")]))
    world.clock.passed += 61
    back = await world.ask(Client(b'{"model":"m"}', headers=SESSION))
    said = [each.header(b"x-ccflare-session") for each in (own, moved, again, other, back)]
    assert said == [None, b"stand-in", b"stand-in", None, None]


async def test_an_exchange_that_fails_is_not_left_in_the_registry() -> None:
    """Whatever ends it."""
    world = World("a", retry_attempts=1)
    world.script(a=[TransportError("connect_error", "refused")])
    await world.ask()
    world.assert_quiet()
