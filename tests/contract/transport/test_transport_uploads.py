"""Request bodies: small, large, in pieces, refused while they are on their way."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from ccflare.errors import TransportError
from ccflare.transport import Response, Transport
from ccflare.transport.connection import Connection
from ccflare.transport.egress import Route
from ccflare.transport.upload import SLICE_BYTES
from ccflare.wire import Origin, OutgoingRequest
from transport_peers import (
    DEADLINE_S,
    HELLO,
    OK,
    Asked,
    Conversation,
    answering,
    ask,
    body_of,
    closing,
    eventually,
    peer,
)

MIB = 1024 * 1024
TOO_LARGE = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 8\r\n\r\ntoo big\n"


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


@pytest.mark.parametrize("size", [1, 16 * 1024, 16 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 3 * MIB + 7])
@pytest.mark.parametrize("kind", [bytes, bytearray])
async def test_a_body_of_any_size_arrives_whole(size: int, kind: type) -> None:
    """Bodies around each way of sending arrive byte for byte, and the connection is kept."""
    body = kind((b"0123456789abcdef" * (size // 16 + 1))[:size])
    asked: list[Asked] = []

    async def script(talk: Conversation) -> None:
        while True:
            asked.append(await talk.request())
            await talk.send(HELLO)

    async with peer(script) as server, closing(Transport()) as transport:
        for _ in range(2):
            response = await ask(transport, server.origin, body)
            assert (await body_of(response), response.body_sent) == (b"hello", True)
        assert server.accepted == 1
    assert [entry.body == body for entry in asked] == [True, True]


@pytest.mark.parametrize("announced", [True, False])
async def test_pieces_are_sent_as_they_come(announced: bool) -> None:
    """A body in pieces goes with its length or chunked; each piece leaves before the next one is made."""
    received: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"one", b"", b"three", b"7" * 100):
            if piece.startswith(b"7"):
                await eventually(lambda: b"three" in b"".join(received))
            yield piece

    async def script(talk: Conversation) -> None:
        while not b"".join(received).endswith(b"0\r\n\r\n" if not announced else b"7" * 100):
            received.append(await talk.reader.read(65536))
        await talk.send(HELLO)
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, body(), length=108 if announced else None)
        assert (await body_of(response), response.body_sent) == (b"hello", True)
        assert transport.connections_idle == 1
    head, _, sent = b"".join(received).partition(b"\r\n\r\n")
    whole = b"onethree" + b"7" * 100
    assert (b"Content-Length: 108" in head) is announced
    assert (b"Transfer-Encoding: chunked" in head) is not announced
    assert sent == (whole if announced else b"3\r\none\r\n5\r\nthree\r\n64\r\n" + b"7" * 100 + b"\r\n0\r\n\r\n")


@pytest.mark.parametrize(("pieces", "length"), [((b"abc", b"def"), 5), ((b"abc",), 5), ((), 1), ((b"a",), 0)])
async def test_a_length_that_lies_is_never_sent(pieces: tuple[bytes, ...], length: int) -> None:
    """A body in pieces that is not as long as announced is an error, and the server sees a broken request."""
    ended = asyncio.Event()
    received = b""

    async def script(talk: Conversation) -> None:
        nonlocal received
        with contextlib.suppress(ConnectionError):
            while data := await talk.reader.read(65536):
                received += data
        ended.set()

    async with peer(script) as server, closing(Transport()) as transport:
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin, pieces_of(*pieces), length=length)
        assert caught.value.kind == "protocol_error"
        assert transport.connections_open == 0
        await asyncio.wait_for(ended.wait(), DEADLINE_S)
        assert len(received.partition(b"\r\n\r\n")[2]) <= length


async def test_what_the_iterator_raises_passes_through() -> None:
    """A body that breaks ends the exchange with its own error and closes the connection."""

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        raise LookupError("the client is gone")

    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        with pytest.raises(LookupError):
            await ask(transport, server.origin, body())
        assert transport.connections_open == 0


async def test_a_whole_body_with_a_wrong_length_is_refused() -> None:
    """Bytes that are not as many as announced never reach the wire."""
    request = OutgoingRequest(b"POST", b"/", [], b"abc", 4)
    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        with pytest.raises(TransportError) as caught:
            await transport.open(server.origin, request, first_byte_s=1, exchange_s=1)
        assert (caught.value.kind, server.accepted) == ("protocol_error", 0)


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("abrupt", [False, True])
async def test_an_early_answer_ends_the_upload(in_pieces: bool, abrupt: bool) -> None:
    """A 413 from the head alone is delivered during a 50 MB upload, even when the server resets at once."""
    body = bytes(50 * MIB)
    received = closed = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            for at in range(0, len(body), 65536):
                yield body[at : at + 65536]
        finally:
            closed += 1

    async def script(talk: Conversation) -> None:
        nonlocal received
        received = len(await talk.reader.readuntil(b"\r\n\r\n"))
        await talk.send(TOO_LARGE)
        if abrupt:
            return
        while data := await talk.reader.read(65536):
            received += len(data)

    async with peer(script) as server, closing(Transport()) as transport:
        for _ in range(5 if abrupt else 1):
            response = await ask(transport, server.origin, pieces() if in_pieces else body, length=len(body))
            assert (response.status, response.body_sent) == (413, False)
            assert await body_of(response) == b"too big\n"
            closed -= in_pieces
            assert transport.connections_open == 0
        assert received < len(body)
        assert closed == 0, "each generator was closed before its answer was returned"


async def test_an_early_answer_while_the_next_piece_is_awaited() -> None:
    """The answer does not wait for a client's next piece; the body is not used afterwards."""
    finished = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"abc"
            await asyncio.Event().wait()
        finally:
            finished.set()

    async def script(talk: Conversation) -> None:
        await talk.reader.readuntil(b"abc")
        await talk.send(HELLO)
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, body())
        assert finished.is_set()
        assert (await body_of(response), response.body_sent) == (b"hello", False)
        assert transport.connections_open == 0


async def test_a_slow_server_slows_the_body_down() -> None:
    """While the server does not read, only so many pieces are taken as sockets and one buffer hold."""
    taken = 0
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1024):
            taken += 1
            yield bytes(64 * 1024)

    async def script(talk: Conversation) -> None:
        await go_on.wait()
        asked = await talk.request()
        await talk.send(OK + b"Content-Length: 8\r\n\r\n%08d" % (len(asked.body) // MIB))

    async with peer(script) as server, closing(Transport()) as transport:
        opening = asyncio.ensure_future(ask(transport, server.origin, body(), length=64 * MIB))
        await eventually(lambda: taken > 4)
        seen = 0
        while seen != taken:
            seen = taken
            await asyncio.sleep(0.1)
        assert taken < 512
        go_on.set()
        assert await body_of(await opening) == b"00000064"


class Lost(asyncio.Transport):
    """A transport on a real socket that the loop does not read; full after every write."""

    def __init__(self, own: socket.socket, connection: Connection) -> None:
        super().__init__({"socket": own})
        self.own = own
        self.connection = connection
        self.written: list[int] = []
        connection.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(len(data))
        self.connection.pause_writing()

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.own.close()


class Nobody:
    def released(self, connection: Connection) -> None:
        raise AssertionError("a refused upload leaves no usable connection")

    def lost(self, connection: Connection) -> None:
        pass


def uploading(own: socket.socket) -> tuple[Connection, Lost, "asyncio.Future[Response]"]:
    own.setblocking(False)
    loop = asyncio.get_running_loop()
    connection = Connection(loop, Nobody(), Route(Origin("http", "a.example", 80), None))
    wire = Lost(own, connection)
    connection.idle_s = DEADLINE_S
    body = bytes(3 * SLICE_BYTES)
    at = loop.time() + DEADLINE_S
    return connection, wire, connection.send(b"POST", b"head", body, first_byte_at=at, exchange_at=at)


async def test_an_answer_that_a_reset_overtook_is_still_read() -> None:
    """When writing fails before the loop has read, what lies in the socket is the answer."""
    own, far = socket.socketpair()
    connection, _, answer = uploading(own)
    far.sendall(TOO_LARGE)
    far.close()
    connection.connection_lost(BrokenPipeError())
    response = await answer
    assert (response.status, response.body_sent, await body_of(response)) == (413, False, b"too big\n")
    assert connection.closed


async def test_a_loss_without_an_answer_is_an_error() -> None:
    """When nothing lies in the socket the reset is what is reported."""
    own, far = socket.socketpair()
    connection, _, answer = uploading(own)
    connection.connection_lost(ConnectionResetError())
    with pytest.raises(TransportError) as caught:
        await answer
    assert (caught.value.kind, caught.value.reset) == ("broken", True)
    far.close()


async def test_a_large_body_waits_for_the_transport() -> None:
    """Slices follow each other only when the transport has room, and nothing follows an answer."""
    own, far = socket.socketpair()
    connection, wire, answer = uploading(own)
    assert wire.written == [4]
    connection.resume_writing()
    assert wire.written == [4, SLICE_BYTES]
    connection.resume_writing()
    assert wire.written == [4, SLICE_BYTES, SLICE_BYTES]
    connection.data_received(TOO_LARGE)
    connection.resume_writing()
    assert wire.written == [4, SLICE_BYTES, SLICE_BYTES]
    assert (await answer).status == 413
    far.close()


async def test_nothing_is_written_while_an_answer_waits_to_be_read() -> None:
    """Slices hold back while the socket has something for us: a write could meet a reset and lose it."""
    own, far = socket.socketpair()
    connection, wire, answer = uploading(own)
    far.sendall(b"H")
    connection.resume_writing()
    await asyncio.sleep(0)
    assert wire.written == [4]
    assert own.recv(1) == b"H"
    await asyncio.sleep(0)
    assert wire.written == [4, SLICE_BYTES]
    connection.abort()
    with pytest.raises(TransportError):
        await answer
    far.close()
