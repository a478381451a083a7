"""Connections: kept, found dead, given up, counted; and memory that stays bounded."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ccflare.errors import TransportError
from ccflare.transport import Transport
from ccflare.transport.connection import Connection
from ccflare.wire import Origin
from transport_peers import (
    CHUNKED,
    HELLO,
    OK,
    Collected,
    Conversation,
    answering,
    ask,
    body_of,
    closing,
    eventually,
    peer,
    silence,
)

MIB = 1024 * 1024


@pytest.mark.parametrize("reset", [False, True])
async def test_a_kept_connection_that_the_server_closed_is_not_noticed(reset: bool) -> None:
    """Connections closed while idle drop out of the pool at once and never surface as an error."""
    talks: list[Conversation] = []

    async def script(talk: Conversation) -> None:
        talks.append(talk)
        await answering(HELLO)(talk)

    async with peer(script) as server, closing(Transport()) as transport:
        for turn in range(3):
            assert await body_of(await ask(transport, server.origin)) == b"hello"
            talks[turn].reset() if reset else talks[turn].writer.close()
            await eventually(lambda: transport.connections_open == 0)
            assert (transport.connections_idle, transport.connections_in_use) == (0, 0)
        assert server.accepted == 3


async def test_bytes_on_an_idle_connection_end_it() -> None:
    """A 408 or anything else that nobody asked for is not taken for the next answer."""

    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(HELLO)
        await asyncio.sleep(0.02)
        await talk.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        await eventually(lambda: transport.connections_open == 0)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_request_that_met_a_dead_connection_is_repeated_once(reset: bool) -> None:
    """When a kept connection ends after the request and before any byte, a new one serves it, unseen."""
    asked = 0

    async def script(talk: Conversation) -> None:
        nonlocal asked
        await talk.request()
        asked += 1
        await talk.send(HELLO)
        await talk.request()
        asked += 1
        if reset:
            talk.reset()

    async with peer(script) as server, closing(Transport()) as transport:
        for body in (b"x" * 100, bytearray(b"y" * MIB)):
            assert await body_of(await ask(transport, server.origin, body)) == b"hello"
        assert (server.accepted, asked) == (2, 3)


@pytest.mark.parametrize("first", [b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"garbage\r\n\r\n"])
async def test_nothing_else_is_ever_repeated(first: bytes) -> None:
    """A new connection that dies, or a kept one that has sent a byte, is an error."""
    asked = 0

    async def script(talk: Conversation) -> None:
        nonlocal asked
        if first:
            await talk.request()
            await talk.send(HELLO)
        await talk.request()
        asked += 1
        await talk.send(first)

    async with peer(script) as server, closing(Transport()) as transport:
        if first:
            assert await body_of(await ask(transport, server.origin)) == b"hello"
        with pytest.raises(TransportError):
            await ask(transport, server.origin)
        assert (server.accepted, asked) == (1, 1)


async def test_what_may_be_sent_once_only_meets_no_kept_connection() -> None:
    """It goes over a new connection, although one is kept; when that ends without an answer it is an error."""
    asked = 0

    async def script(talk: Conversation) -> None:
        nonlocal asked
        await talk.request()
        asked += 1
        if server.accepted == 1:
            await talk.send(HELLO)
            await talk.request()
            asked += 1

    async with peer(script) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin, b"x")) == b"hello"
        assert transport.connections_idle == 1
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin, b"x", once=True)
        assert (caught.value.kind, server.accepted, asked) == ("broken", 2, 2)


async def test_a_body_in_pieces_is_never_repeated() -> None:
    """Pieces can be sent only once: a dead kept connection is an error then."""

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(HELLO)
        await talk.request()

    async with peer(script) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin, body())
        assert (caught.value.kind, server.accepted) == ("broken", 1)


async def test_a_connection_that_is_closing_is_not_chosen() -> None:
    """A kept connection whose loss is known to the loop but not told yet is passed over."""

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        (kept,) = transport._connections
        kept._transport.abort()
        assert await body_of(await ask(transport, server.origin, body())) == b"hello"
        assert server.accepted == 2


async def test_a_new_connection_that_dies_at_once_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is lost before the request is written ends the exchange instead of hanging it."""

    async def lost(talk: Conversation) -> None:
        talk.reset()

    async with peer(lost) as server, closing(Transport()) as transport:
        connected = transport._connected

        async def slowly(*args: Any) -> Connection:
            connection = await connected(*args)
            await eventually(lambda: connection.closed)  # the loss comes exactly in between
            return connection

        monkeypatch.setattr(transport, "_connected", slowly)
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin, first_byte_s=1.0)
        assert caught.value.kind == "broken"


async def test_the_repetition_is_not_repeated() -> None:
    """When the new connection dies as well the request fails: it was sent twice and no more."""
    asked = 0

    async def script(talk: Conversation) -> None:
        nonlocal asked
        await talk.request()
        asked += 1
        if asked == 1:
            await talk.send(HELLO)
            await talk.request()
            asked += 1

    async with peer(script) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        with pytest.raises(TransportError):
            await ask(transport, server.origin)
        assert asked == 3


async def test_idle_connections_are_closed_in_time() -> None:
    """A connection that waits too long is closed by us, without a request having to come."""
    async with peer(answering(HELLO)) as server, closing(Transport(keep_idle_s=0.1)) as transport:
        await asyncio.gather(*[ask(transport, server.origin) for _ in range(3)])
        assert transport.connections_idle == 3
        await eventually(lambda: transport.connections_open == 0)
        assert await body_of(await ask(transport, server.origin)) == b"hello"


@pytest.mark.parametrize("stage", ["head", "body", "relay"])
async def test_cancelling_closes_the_connection_at_once(stage: str) -> None:
    """Whoever stops waiting for a head, for bytes or for a relay ends the upstream's work within a second."""
    gone = asyncio.Event()

    async def script(talk: Conversation) -> None:
        await talk.request()
        if stage != "head":
            await talk.send(CHUNKED + b"2\r\nhi\r\n")
        await talk.gone()
        gone.set()

    async def work(transport: Transport, origin: Origin) -> None:
        response = await ask(transport, origin)
        if stage == "relay":
            await response.relay(Collected())
        await body_of(response)

    async with peer(script) as server, closing(Transport()) as transport:
        working = asyncio.ensure_future(work(transport, server.origin))
        await eventually(lambda: transport.connections_in_use == 1)
        await asyncio.sleep(0.05)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert transport.connections_open == 0
        await asyncio.wait_for(gone.wait(), 1.0)


@pytest.mark.parametrize("size", [20 * MIB, None])
async def test_cancelling_an_upload_closes_the_connection_at_once(size: int | None) -> None:
    """A client that leaves while its body is sent does not keep the upstream waiting."""
    gone, begun = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.Event().wait()

    async def script(talk: Conversation) -> None:
        await talk.reader.readuntil(b"abc" if size is None else b"\r\n\r\n")
        begun.set()
        await talk.gone()
        gone.set()

    async with peer(script) as server, closing(Transport()) as transport:
        working = asyncio.ensure_future(ask(transport, server.origin, bytes(size) if size else body()))
        await asyncio.wait_for(begun.wait(), 1.0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        await asyncio.wait_for(gone.wait(), 1.0)


async def test_cancelling_when_the_connection_is_just_made_closes_it() -> None:
    """A connection that was made in the very turn in which its caller left is closed."""

    class Leaving(set[asyncio.Task[Connection]]):
        def discard(self, task: object, /) -> None:
            super().discard(task)
            opening.cancel()

    async with peer(silence) as server, closing(Transport()) as transport:
        transport._connecting = Leaving()
        opening = asyncio.ensure_future(ask(transport, server.origin))
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert transport.connections_open == 0


async def test_a_loss_in_the_turn_of_a_cancellation_is_seen() -> None:
    """When the caller leaves and the connection breaks at once, no error is left that nobody looks at."""
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    async with peer(silence) as server, closing(Transport()) as transport:
        opening = asyncio.ensure_future(ask(transport, server.origin))
        await eventually(lambda: transport.connections_in_use == 1)
        await asyncio.sleep(0.01)
        (connection,) = transport._connections
        connection.fail(TransportError("broken", "lost"))
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        del opening
        gc.collect()
    assert unseen == []


async def test_discarding_closes_unless_complete() -> None:
    """`discard` ends an answer that is still coming, and spares the connection of one that has come."""
    async with peer(answering(HELLO, CHUNKED)) as server, closing(Transport()) as transport:
        complete = await ask(transport, server.origin)
        complete.discard()
        complete.discard()
        assert transport.connections_idle == 1
        coming = await ask(transport, server.origin)
        coming.discard()
        coming.discard()
        assert transport.connections_open == 0
        with pytest.raises(TransportError):
            await coming.read()


async def test_closing_ends_everything() -> None:
    """`aclose` breaks exchanges that wait for a head or a body, and refuses new ones."""
    async with peer(answering(HELLO, CHUNKED)) as server, peer(silence) as quiet:
        transport = Transport()
        await body_of(await ask(transport, server.origin))
        response = await ask(transport, server.origin)
        reading = asyncio.ensure_future(response.read())
        waiting = asyncio.ensure_future(ask(transport, quiet.origin))
        tls = Origin("https", "127.0.0.1", quiet.origin.port)
        connecting = asyncio.ensure_future(ask(transport, tls))
        await eventually(lambda: quiet.accepted == 2)
        await transport.aclose()
        for task in (reading, waiting, connecting):
            with pytest.raises(TransportError) as caught:
                await task
            assert caught.value.kind == "broken"
        with pytest.raises(TransportError):
            await ask(transport, server.origin)
        assert transport.connections_open == 0


class Sink(Collected):
    """Takes a few pieces, then asks for a pause until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True

    def write(self, data: bytes) -> bool:
        super().write(data)
        return not self.full


async def test_a_slow_sink_slows_the_upstream() -> None:
    """While a sink is full hardly anything more is read, and after `resume` all of it comes."""
    sent = 0

    async def script(talk: Conversation) -> None:
        nonlocal sent
        await talk.request()
        await talk.send(OK + b"Content-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await talk.send(bytes(MIB))
            sent += MIB
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin)
        sink = Sink()
        relaying = asyncio.ensure_future(response.relay(sink))
        await eventually(lambda: len(sink.pieces) > 0)
        await asyncio.sleep(0.2)
        assert len(sink.data) <= 512 * 1024
        assert sent < 32 * MIB
        sink.full = False
        response.resume()
        await relaying
        assert sum(map(len, sink.pieces)) == 64 * MIB
        assert transport.connections_idle == 1


async def test_an_answer_nobody_reads_is_held_within_bounds() -> None:
    """Between `open` and the first `read` no more than a buffer is taken from the socket."""
    sent = 0

    async def script(talk: Conversation) -> None:
        nonlocal sent
        await talk.request()
        await talk.send(OK + b"Content-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await talk.send(bytes(MIB))
            sent += MIB

    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin)
        await asyncio.sleep(0.2)
        assert sent < 32 * MIB
        first = await response.read()
        assert len(first) <= 512 * 1024
        total = len(first)
        while piece := await response.read():
            total += len(piece)
        assert total == 64 * MIB


async def test_what_a_sink_raises_passes_through() -> None:
    """A sink that fails ends the relay with its own error and the connection with it, early or late."""

    class Broken:
        def __init__(self, good: int) -> None:
            self.good = good

        def write(self, data: bytes) -> bool:
            self.good -= 1
            if self.good < 0:
                raise LookupError("no client")
            return True

    async def script(talk: Conversation) -> None:
        await talk.request()
        for piece in (CHUNKED + b"2\r\nhi\r\n", b"2\r\nho\r\n", b"0\r\n\r\n"):
            await talk.send(piece)
            await asyncio.sleep(0.05)

    async with peer(script) as server, closing(Transport()) as transport:
        for good in (0, 1):
            response = await ask(transport, server.origin)
            with pytest.raises(LookupError):
                await response.relay(Broken(good))
            assert transport.connections_open == 0


async def test_one_reader_at_a_time() -> None:
    """A second `read` or `relay` during the first is a mistake of the caller and says so."""
    async with peer(answering(CHUNKED)) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin)
        reading = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await response.read()
        with pytest.raises(RuntimeError):
            await response.relay(Collected())
        response.discard()
        with pytest.raises(TransportError):
            await reading
