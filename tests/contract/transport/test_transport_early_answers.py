"""Answers that begin before the request body is sent: the body goes on beside them, unless they are refusals."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from ccflare.errors import TransportError
from ccflare.transport import Deadlines, Response, Transport
from transport_peers import (
    CHUNKED,
    DEADLINE_S,
    Collected,
    Conversation,
    Script,
    ask,
    body_of,
    closing,
    eventually,
    peer,
)

MIB = 1024 * 1024
BODY = bytes(range(256)) * (8 * MIB // 256)
BEGIN = CHUNKED + b"3\r\none\r\n"
END = b"3\r\ntwo\r\n0\r\n\r\n"
SHORT = 0.15


class Pieces:
    """A body in pieces that notes how far it got; it waits for `go_on` in the middle."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.taken = self.closed = 0

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            for at in range(0, len(BODY), 65536):
                if at == len(BODY) // 2:
                    await self.go_on.wait()
                self.taken += 1
                yield BODY[at : at + 65536]
        finally:
            self.closed += 1


class Full(Collected):
    """A sink that is full after every write."""

    def write(self, data: bytes) -> bool:
        super().write(data)
        return False


async def begin(talk: Conversation) -> None:
    """Answer from the head alone, and do not end the answer."""
    await talk.reader.readuntil(b"\r\n\r\n")
    await talk.send(BEGIN)


async def never_read(talk: Conversation) -> None:
    """Begin an answer and take nothing of the body."""
    await begin(talk)
    await asyncio.sleep(DEADLINE_S)


async def sent_whole(transport: Transport, response: Response) -> bool:
    """Read an answer to its end; return whether its request body was sent whole and the connection kept."""
    assert await body_of(response) == b"onetwo"
    return (response.body_sent, transport.connections_idle) == (True, 1)


@pytest.mark.parametrize("framing", ["whole", "announced", "chunked"])
async def test_a_body_goes_on_beside_its_answer(framing: str) -> None:
    """After the first event of a 200 the rest of the body arrives byte for byte, and the connection is kept."""
    pieces, arrived = Pieces(), hashlib.sha256()

    async def script(talk: Conversation) -> None:
        await begin(talk)
        left = len(BODY)
        while framing != "chunked" and left:
            left -= len(data := await talk.reader.read(65536))
            arrived.update(data)
        while framing == "chunked" and (size := int(await talk.reader.readuntil(b"\r\n"), 16)):
            arrived.update((await talk.reader.readexactly(size + 2))[:-2])
        if framing == "chunked":
            await talk.reader.readexactly(2)
        await talk.send(END)
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        body = BODY if framing == "whole" else pieces()
        response = await ask(transport, server.origin, body, length=None if framing == "chunked" else len(BODY))
        assert (response.status, response.body_sent) == (200, False)
        assert await response.read() == b"one"
        pieces.go_on.set()
        assert await body_of(response) == b"two"
        assert (response.body_sent, transport.connections_idle) == (True, 1)
    assert arrived.digest() == hashlib.sha256(BODY).digest()
    assert pieces.closed == (framing != "whole")


async def test_a_body_goes_on_while_the_reader_is_behind() -> None:
    """The body of a client that reads nothing before it has sent everything arrives, though the answer waits."""
    arrived = asyncio.Event()

    async def script(talk: Conversation) -> None:
        await talk.reader.readuntil(b"\r\n\r\n")
        talk.writer.write(CHUNKED + b"600000\r\n" + bytes(6 * MIB) + b"\r\n")
        await talk.reader.readexactly(len(BODY))
        arrived.set()
        await talk.send(b"0\r\n\r\n")
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        response, sink = await ask(transport, server.origin, BODY), Full()
        relaying = asyncio.ensure_future(response.relay(sink))
        async with asyncio.timeout(DEADLINE_S):
            await arrived.wait()
        assert len(sink.data) <= MIB
        while not relaying.done():
            response.resume()
            await asyncio.sleep(0.001)
        await relaying
        assert (len(sink.data), response.body_sent) == (6 * MIB, True)


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_the_end_of_an_answer_ends_the_upload(in_pieces: bool) -> None:
    """What has not been sent by then is not wanted; such a connection carries nothing further."""
    pieces, end = Pieces(), asyncio.Event()

    async def script(talk: Conversation) -> None:
        await begin(talk)
        await end.wait()
        await talk.send(END)
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, pieces() if in_pieces else BODY, length=len(BODY))
        ended: list[bool] = []
        response.when_sent(lambda: ended.append(True))
        assert await response.read() == b"one"
        assert (ended, pieces.closed) == ([], 0)
        end.set()
        assert await body_of(response) == b"two"
        assert (response.body_sent, ended, transport.connections_open) == (False, [True], 0)
        await asyncio.sleep(0)
        assert pieces.closed == in_pieces


async def test_who_holds_a_body_learns_when_it_is_sent() -> None:
    """Once: in the middle of the answer when the body is sent by then, at once when it was sent before."""
    end = asyncio.Event()

    async def script(talk: Conversation) -> None:
        await begin(talk)
        await talk.reader.readexactly(len(BODY))
        await end.wait()
        await talk.send(END)
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, BODY)
        ended: list[bool] = []
        response.when_sent(lambda: ended.append(True))
        await eventually(lambda: bool(ended))
        end.set()
        assert await sent_whole(transport, response)
        response.when_sent(lambda: ended.append(False))
        assert ended == [True, False]


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("behind", [False, True])
async def test_an_upload_that_stands_still_has_the_idle_deadline(in_pieces: bool, behind: bool) -> None:
    """When upstream neither takes the body nor goes on with its answer, the exchange ends, whoever reads."""
    pieces = Pieces()
    transport = Transport(deadlines=Deadlines(idle_s=SHORT))
    async with peer(never_read) as server, closing(transport):
        response = await ask(transport, server.origin, pieces() if in_pieces else BODY, length=len(BODY))
        with pytest.raises(TransportError) as caught:
            await response.relay(Full() if behind else Collected())
        assert (caught.value.kind, transport.connections_open) == ("idle_timeout", 0)
        await asyncio.sleep(0)
        assert pieces.closed == in_pieces


async def test_a_body_that_moves_puts_the_idle_deadline_off() -> None:
    """An answer may be silent while its body arrives slowly, and as long again as may be afterwards."""

    async def script(talk: Conversation) -> None:
        await begin(talk)
        for _ in range(8):
            await talk.reader.readexactly(MIB)
            await asyncio.sleep(SHORT / 2)
        await talk.send(END)
        await talk.gone()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), MIB // 4):
            yield BODY[at : at + MIB // 4]
            await asyncio.sleep(SHORT / 8)

    transport = Transport(deadlines=Deadlines(idle_s=2 * SHORT))
    async with peer(script) as server, closing(transport):
        assert await sent_whole(transport, await ask(transport, server.origin, pieces(), length=len(BODY)))


async def read_and_reset(talk: Conversation) -> None:
    """Begin an answer, take some of the body and break the connection."""
    await begin(talk)
    await talk.reader.readexactly(MIB)
    talk.reset()


async def read_on(talk: Conversation) -> None:
    """Begin an answer and take all that comes of the body."""
    await begin(talk)
    await talk.gone()


@pytest.mark.parametrize("script", [never_read, read_on])
async def test_giving_an_answer_up_ends_its_upload(script: Script) -> None:
    """When the client leaves, the pieces are closed, and neither a connection nor a task is left."""
    pieces = Pieces()
    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, pieces(), length=len(BODY))
        sink = Collected()
        relaying = asyncio.ensure_future(response.relay(sink))
        await eventually(lambda: sink.data == b"one")
        relaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await relaying
        assert transport.connections_open == 0
        await asyncio.sleep(0)
        assert pieces.closed == 1


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_reset_ends_answer_and_upload(in_pieces: bool) -> None:
    """The answer ends with the loss, after what had come of it."""
    pieces = Pieces()
    pieces.go_on.set()
    async with peer(read_and_reset) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, pieces() if in_pieces else BODY, length=len(BODY))
        with pytest.raises(TransportError) as caught:
            await response.relay(sink := Collected())
        assert (caught.value.kind, sink.data, transport.connections_open) == ("broken", b"one", 0)
        await asyncio.sleep(0)
        assert pieces.closed == in_pieces


async def test_a_body_that_breaks_ends_its_answer() -> None:
    """What the pieces raise while the answer is read is what its reader gets, and the connection is closed."""
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        await go_on.wait()
        raise LookupError("the client is gone")

    async with peer(read_on) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, body())
        assert await response.read() == b"one"
        go_on.set()
        with pytest.raises(LookupError):
            await response.read()
        assert transport.connections_open == 0


async def test_a_closed_transport_waits_for_its_uploads() -> None:
    """Closing ends them, and returns when their pieces are closed."""
    pieces = Pieces()
    async with peer(read_on) as server:
        transport = Transport()
        response = await ask(transport, server.origin, pieces(), length=len(BODY))
        await eventually(lambda: pieces.taken == len(BODY) // 65536 // 2)
        await transport.aclose()
        assert (pieces.closed, transport.connections_open) == (1, 0)
        with pytest.raises(TransportError):
            await body_of(response)
