"""What upstream says of an error is what the row says, however the answer ends and whosever account it was."""

import asyncio
import gzip

import pytest

from ccflare.errors import TransportError
from ccflare.records import Exchange
from flow.scripted import Answer, Client, World, error, stream

START = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9}}}\n\n'
ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
TOLD = "overloaded_error: Overloaded"


async def _left(answer: Answer, *, stopped: bool = False) -> Exchange:
    """Return the row of a client that leaves once it has read what there is of an answer, or of a server's stop."""
    world, client = World("a"), Client(b'{"model":"m"}')
    world.script(a=[answer])
    task = asyncio.create_task(world.proxy.serve(client))
    async with asyncio.timeout(5):
        while not bytes(client.answer).endswith(answer.body):  # noqa: ASYNC110  # nothing tells of bytes
            await asyncio.sleep(0)
    client.gone = not stopped
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.assert_quiet()
    [row] = world.rows
    return row


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_client_that_leaves_at_an_error_got_it(stopped: bool) -> None:
    """SDKs close at an `error` event: the row is that of the same stream with a clean end."""
    world = World("a")
    world.script(a=[stream(START, ERROR)])
    await world.ask()
    [ended] = world.rows
    assert (ended.status_code, ended.success, ended.error_message) == (200, False, TOLD)
    left = await _left(stream(START, ERROR, forever=True), stopped=stopped)
    assert (left.status_code, left.success, left.error_message) == (200, False, TOLD)
    assert [attempt.verdict for attempt in left.attempts] == [attempt.verdict for attempt in ended.attempts]
    assert left.usage.input_tokens == 9


@pytest.mark.parametrize("events", [(START,), (START, ERROR[:-30]), (START, STOP)])
async def test_a_client_that_leaves_without_an_error_has_left(events: tuple[bytes, ...]) -> None:
    """Without a whole `error` event it is the client that ended the stream."""
    row = await _left(stream(*events, forever=True))
    assert (row.status_code, row.success, row.error_message) == (499, False, "client disconnected")
    assert row.attempts[-1].verdict == "cancelled"


async def test_an_error_comes_before_the_cut_behind_it() -> None:
    """An `error` event and then a broken connection: the row says which error, the attempt how it ended."""
    world = World("a")
    world.script(a=[stream(START, ERROR, cut=TransportError("broken", "gone"))])
    client = await world.ask()
    [row] = world.rows
    assert (client.ended, row.status_code, row.success, row.error_message) == ("cut", 200, False, TOLD)
    assert [(attempt.verdict, attempt.reason) for attempt in row.attempts] == [("broken", "gone")]


async def test_a_cut_without_an_error_is_a_cut() -> None:
    """A stream that breaks off tells of nothing but that."""
    world = World("a")
    world.script(a=[stream(START, cut=TransportError("broken", "gone"))])
    await world.ask()
    assert world.rows[0].error_message == "truncated stream"


# Without an account.


@pytest.mark.parametrize("coding", [None, b"gzip"])
async def test_the_refusal_of_a_forward_is_told(coding: bytes | None) -> None:
    """A request that goes on without an account and is refused has the same row as one with an account."""
    refused, headers = error(400, "invalid_request_error", "x-api-key header is required"), []
    if coding is not None:
        refused.body, headers = gzip.compress(refused.body), [(b"content-encoding", coding)]
    refused.headers = headers
    messages = []
    for world in (World("a"), World("")):
        world.script(a=[refused], nobody=[refused])
        client = await world.ask()
        assert (client.status, bytes(client.answer)) == (400, refused.body)
        [row] = world.rows
        assert (row.status_code, row.success, row.cost_microusd) == (400, False, None)
        messages.append(row.error_message)
    assert messages == ["invalid_request_error: x-api-key header is required"] * 2


async def test_a_refusal_without_words_is_its_status(caplog: pytest.LogCaptureFixture) -> None:
    """A page of somebody else's has no error to tell of, and is nothing that should have been readable."""
    world = World("")
    world.script(nobody=[Answer(502, b"<html>bad gateway</html>", content_type=b"text/html")])
    await world.ask()
    assert world.rows[0].error_message == "status 502"
    assert "could not be read" not in caplog.text


async def test_a_refusal_that_is_cut_is_cut() -> None:
    """What had come of it reaches the client, and the row says that it was not all."""
    world = World("")
    world.script(nobody=[Answer(401, b'{"type":"error","err', cut=TransportError("broken", "gone"))])
    client = await world.ask()
    assert (client.status, client.ended, world.rows[0].error_message) == (401, "cut", "truncated answer: gone")
