"""A head that upstream has sent does not wait for a body that has not come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from ccflare.errors import TransportError
from flow.scripted import Answer, Client, World, error, stream


@contextlib.asynccontextmanager
async def asking(world: World, client: Client) -> AsyncIterator[None]:
    """Have a client ask, and leave at the end of the block."""
    task = asyncio.create_task(world.ask(client))
    try:
        async with asyncio.timeout(5):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        world.assert_quiet()


async def test_a_head_leaves_before_a_late_body() -> None:
    """Where nothing of the body is needed for a judgement, as for a request without any account."""
    world, client = World(""), Client(b"{}")
    world.script(nobody=[Answer(body=b"", forever=True)])
    async with asking(world, client):
        await client.flushed.wait()
        assert (client.status, bytes(client.answer), client.ended) == (200, b"", None)


async def test_a_stream_of_events_opens_before_its_first_event() -> None:
    """Who follows a session sees that the stream is open, and only then sends what makes it speak."""
    world, client = World("a"), Client(target=b"/v1/sessions/sesn_01/events/stream")
    world.script(a=[stream(forever=True)])
    async with asking(world, client):
        await client.flushed.wait()
        assert (client.status, bytes(client.answer), client.ended) == (200, b"", None)


async def test_a_message_opens_with_its_first_event() -> None:
    """For that may be an error, which another account makes good."""
    world, client = World("a"), Client(b"{}")
    world.script(a=[stream(forever=True)])
    async with asking(world, client):
        await asyncio.sleep(0.05)
        assert client.status is None


async def test_a_comment_does_not_wait_for_the_first_event() -> None:
    """What a stream begins with is held for a moment only, in case that the rest of an event is on its way."""
    world, client = World("a"), Client(b"{}")
    world.script(a=[stream(b": still here\n\n", forever=True)])
    async with asking(world, client), asyncio.timeout(0.5):
        await client.started.wait()
        await asyncio.sleep(0)
        assert bytes(client.answer) == b": still here\n\n"


# Bodies that are too long to be kept.


@pytest.mark.parametrize("kind", ["connect_error", "connect_timeout"])
async def test_a_long_body_of_which_nothing_was_sent_goes_to_the_next_account(kind: str) -> None:
    """Nothing of it was asked for, so it is still there, as often as that is so."""
    world = World(retry_attempts=2, retry_delay_ms=1)
    world.script(a=[TransportError(kind, "refused")])
    client = await world.ask(Client(b"0123456789", too_long=True))
    assert client.status == 200
    assert [(sent.key, sent.body) for sent in world.transport.sent] == [
        ("key-a", b""), ("key-a", b""), ("key-b", b"0123456789"),
    ]  # fmt: skip
    [row] = world.rows
    assert [attempt.verdict for attempt in row.attempts] == ["retry", "retry", "deliver"]
    world.assert_quiet()


@pytest.mark.parametrize("length", [10, None])
async def test_a_long_bodys_bytes_are_counted(length: int | None) -> None:
    """By its announced length, or by what passed."""
    world, client = World(), Client(b"0123456789", too_long=True)
    client.length = length
    await world.ask(client)
    assert world.rows[0].request_bytes == 10


# Bodies that are sent while their answer comes.


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_body_counts_as_held_until_it_is_sent(leaves: bool) -> None:
    """It is given back once: when it is on its way no more, or with the client."""
    world, client = World("a"), Client(b"{}" + b" " * 100)
    answer = stream(b'event: message_start\ndata: {"type":"message_start"}\n\n', forever=True)
    answer.early = True
    world.script(a=[answer])
    task = asyncio.create_task(world.ask(client))
    await client.started.wait()
    budget = world.proxy._bodies
    assert budget.held == 102
    if not leaves:
        world.transport.responses[0].body_is_sent()
        assert budget.held == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    client.release_body()  # as the end of an answer does
    world.transport.responses[0].body_is_sent()
    assert budget.held == 0
    world.assert_quiet()


# Long errors.


@pytest.mark.parametrize(("size", "status"), [(200_000, 500), (1_100_000, 503)])
async def test_a_long_error_is_delivered_as_it_came(size: int, status: int) -> None:
    """Up to a bound; beyond it the client is told what was tried."""
    world = World("a", retry_attempts=1)
    last = error(500, message="x" * size)
    last.body, last.rest = last.body[:100_000], last.body[100_000:]
    world.script(a=[last])
    client = await world.ask()
    assert client.status == status
    assert (bytes(client.answer) == last.body + last.rest) == (status == 500)
