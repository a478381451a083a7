"""Upstreams for transport tests: a server that follows a script to the byte, and short ways to ask it
something."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from ccflare.transport import Response, Transport
from ccflare.wire import Body, Headers, Origin, OutgoingRequest, Sink

DEADLINE_S = 10.0
OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(slots=True)
class Asked:
    """A request as it arrived."""

    line: bytes
    fields: list[bytes]
    body: bytes


class Conversation:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> Asked:
        """Read a whole request; asyncio.IncompleteReadError when the client has gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *fields = head[:-4].split(b"\r\n")
        named = {name.lower(): value for name, _, value in (entry.partition(b": ") for entry in fields)}
        body = b""
        if named.get(b"transfer-encoding") == b"chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        elif length := int(named.get(b"content-length", b"0")):
            body = await self.reader.readexactly(length)
        return Asked(line, fields, body)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection with a reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed its side; what it still sends is dropped."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Conversation], Awaitable[None]]


@dataclass(slots=True)
class Peer:
    """A running server."""

    origin: Origin
    accepted: int = 0
    asked: list[Asked] = field(default_factory=list)


@contextlib.asynccontextmanager
async def peer(
    script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, name: str | None = None
) -> AsyncIterator[Peer]:
    """Serve `script` for each connection, which is closed when the script returns."""
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.accepted += 1
        task = asyncio.current_task()
        assert task
        talks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await script(Conversation(reader, writer))
        with contextlib.suppress(RuntimeError):  # uvloop: closed already
            writer.close()
        talks.discard(task)

    server = await asyncio.start_server(talk, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    served = Peer(Origin("https" if tls else "http", name or host, port))
    try:
        yield served
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await server.wait_closed()
        if talks:
            await asyncio.wait(talks, timeout=DEADLINE_S)


def answering(*answers: bytes) -> Script:
    """Answer the requests of each connection with these bytes in turn (the last one again and again)."""

    async def script(talk: Conversation) -> None:
        turn = 0
        while True:
            await talk.request()
            await talk.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script


def once(data: bytes, *, reset: bool = False) -> Script:
    """Answer one request with these bytes and end the connection."""

    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(data)
        if reset:
            await asyncio.sleep(0.05)  # the reset must not overtake the bytes
            talk.reset()

    return script


async def silence(talk: Conversation) -> None:
    """Never answer."""
    await talk.request()
    await talk.gone()


async def ask(
    transport: Transport,
    origin: Origin,
    body: Body = b"",
    *,
    method: bytes = b"POST",
    target: bytes = b"/v1/messages",
    headers: Headers | None = None,
    length: int | None = None,
    first_byte_s: float = DEADLINE_S,
    exchange_s: float = DEADLINE_S,
    once: bool = False,
) -> Response:
    """Open an exchange."""
    if isinstance(body, bytes | bytearray):
        length = len(body)
    request = OutgoingRequest(method, target, headers or [], body, length)
    return await transport.open(origin, request, first_byte_s=first_byte_s, exchange_s=exchange_s, once=once)


async def body_of(response: Response) -> bytes:
    """Read an answer to its end."""
    pieces = []
    while piece := await response.read():
        pieces.append(piece)
    return b"".join(pieces)


async def collect(response: Response, sink: Sink, *, relayed: bool) -> None:
    """Pass an answer to a sink, by `relay` or by `read`."""
    if relayed:
        await response.relay(sink)
        return
    while piece := await response.read():
        sink.write(piece)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is true; fail after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # conditions of every kind: none of them sets an event
            await asyncio.sleep(0.005)


class Collected:
    """A sink that keeps everything and never asks for a pause."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    @property
    def data(self) -> bytes:
        """Everything so far."""
        return b"".join(self.pieces)

    def write(self, data: bytes) -> bool:
        """Keep it."""
        self.pieces.append(data)
        return True


@contextlib.asynccontextmanager
async def closing(transport: Transport) -> AsyncIterator[Transport]:
    """Close a transport at the end and see that nothing of it is left."""
    try:
        yield transport
    finally:
        await transport.aclose()
        assert transport.connections_open == 0
        codes = [getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()]
        assert not [code for code in codes if code and "/ccflare/transport/" in code.co_filename]
