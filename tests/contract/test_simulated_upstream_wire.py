"""The simulated upstream as an HTTP/1.1 server: framing, limits, pipelining, clients that leave or lag."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator

import httpx
import pytest
import trustme

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.upstream import SimulatedUpstream
from simulated_kit import arrive, ask, by_key, dechunked, eventually, fake, raw_request


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    """A server with one key account."""
    async with SimulatedUpstream([SimulatedAccount("a")], keep_bodies=True) as server:
        yield server


@pytest.fixture
def headers(upstream: SimulatedUpstream) -> dict[str, str]:
    """The fields of an authenticated request."""
    return by_key(upstream.accounts["a"].api_key)


def chunked_request(headers: dict[str, str], *chunks: bytes) -> bytes:
    """Return a request whose body comes in chunks."""
    lines = ["POST /v1/messages HTTP/1.1", "host: x", "connection: close", "transfer-encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return "\r\n".join([*lines, "", ""]).encode() + framed + b"0\r\n\r\n"


async def test_chunked_bodies(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A chunked request body is joined to exactly what was sent."""
    body = json.dumps(ask("in pieces")).encode()
    got = await arrive(upstream.url, chunked_request(headers, body[:7], body[7:8], body[8:]))
    assert got.status == 200
    assert upstream.log[-1].body == body


async def test_a_request_in_single_bytes(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A request that arrives byte by byte is the same request."""
    data = raw_request(headers, ask("slowly"))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(upstream.url.rpartition(":")[2]))
    for at in range(len(data)):
        writer.write(data[at : at + 1])
        await asyncio.sleep(0)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    assert upstream.log[-1].header("X-API-Key") == headers["x-api-key"]
    assert upstream.log[-1].body_bytes == len(json.dumps(ask("slowly")))


async def test_expect_is_honoured(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A client that asks first is told to go on before it has sent a byte of the body."""
    head, _, body = raw_request({**headers, "expect": "100-continue"}, ask()).partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(upstream.url.rpartition(":")[2]))
    writer.write(head + b"\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_a_long_body_is_refused_from_the_head(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A length above the limit is a 413 before any of the body came, and the connection ends."""
    upstream.settings.messages_limit = 1000
    head = raw_request(headers, b"x" * 1001, keep=True).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    got = await arrive(upstream.url, head)
    assert got.status == 413
    assert b"connection: close" in got.head
    assert json.loads(got.rest)["error"]["type"] == "request_too_large"
    assert (upstream.log[-1].status, upstream.log[-1].account) == (413, "a")


async def test_the_client_reads_the_413_while_it_uploads(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A client that sends all of a 40 MB body still gets the whole 413, not a broken connection."""
    async with httpx.AsyncClient(base_url=upstream.url, timeout=20) as client:
        answer = await client.post("/v1/messages", content=b"x" * 40_000_000, headers=headers)
    assert answer.status_code == 413


async def test_chunks_that_grow_too_long(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A chunked body is refused as soon as it is longer than the limit."""
    upstream.settings.messages_limit = 1000
    got = await arrive(upstream.url, chunked_request(headers, b"x" * 800, b"x" * 800))
    assert got.status == 413


@pytest.mark.parametrize(
    "data",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nno colon here\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_malformed_requests(upstream: SimulatedUpstream, data: bytes) -> None:
    """What is not HTTP, or could be read in two ways, is a 400 and the end of the connection."""
    got = await arrive(upstream.url, data)
    assert got.data.startswith(b"HTTP/1.1 400 ")
    assert got.end == "fin"
    await eventually(lambda: upstream.in_flight == 0, "nothing in flight")


async def test_heads_have_a_limit(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """30 KB of header fields are accepted; a head without end is a 431."""
    many = {**headers, **{f"x-{number}": "v" * 1000 for number in range(30)}}
    assert (await arrive(upstream.url, raw_request(many, ask()))).status == 200
    endless = b"GET /v1/models HTTP/1.1\r\n" + b"x-more: vvvvvvvvvvvvvvvvvvvvvvvv\r\n" * 12_000
    assert b" 431 " in (await arrive(upstream.url, endless)).data[:20]


async def test_pipelined_requests_are_answered_in_order(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """Requests sent before the earlier answers are answered one after the other on one connection."""
    requests = [raw_request(headers, ask(f"number {number}"), keep=True) for number in range(30)]
    requests.insert(0, raw_request(headers, fake({"delay_headers": 0.1}), keep=True))
    got = await arrive(upstream.url, b"".join([*requests, raw_request(headers, ask("the last"))]))
    assert got.data.count(b"HTTP/1.1 200 OK") == 32
    said = [got.data.index(f"You said: number {number} ".encode()) for number in range(30)]
    assert said == sorted(said)
    assert upstream.books.connections == 1


async def test_http_1_0_gets_no_chunks(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A client of HTTP/1.0 gets a stream that ends with the connection."""
    data = raw_request(headers, ask(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0")
    got = await arrive(upstream.url, data)
    assert b"transfer-encoding" not in got.head
    assert got.rest.endswith(b'data: {"type":"message_stop"}\n\n') or got.rest.rstrip().endswith(b"}")
    assert got.end == "fin"


async def test_a_client_that_leaves_is_noticed(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A client that leaves before the head or in a stream is logged with what it was told so far."""
    started = raw_request(headers, fake({"pace": 0.05}, stream=True))
    for data, told in ((raw_request(headers, fake("hang")), False), (started, True)):
        _, writer = await asyncio.open_connection("127.0.0.1", int(upstream.url.rpartition(":")[2]))
        writer.write(data)
        await eventually(lambda: upstream.in_flight == 1, "the request has arrived")
        await asyncio.sleep(0.12 if told else 0)  # let the stream begin: its start is what is asked about
        writer.transport.abort()
        await eventually(lambda: upstream.in_flight == 0, "the server has noticed")
        entry = upstream.log[-1]
        assert (entry.aborted, entry.complete) == ("client", False)
        assert (entry.usage is not None and entry.usage.output == 1) is told
    assert upstream.books.accounts["a"].aborted == 2


async def test_a_body_cut_short_is_the_clients(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A client that leaves while it uploads is logged with what had arrived and no status."""
    data = raw_request(headers, ask("x" * 1000))
    _, writer = await asyncio.open_connection("127.0.0.1", int(upstream.url.rpartition(":")[2]))
    writer.write(data[:-500])
    await eventually(lambda: upstream.in_flight == 1, "the head has arrived")
    await writer.drain()
    writer.close()
    await eventually(lambda: len(upstream.log) == 1, "the request is logged")
    entry = upstream.log[0]
    assert (entry.status, entry.aborted) == (None, "client")
    assert entry.body_bytes == len(json.dumps(ask("x" * 1000))) - 500


async def test_a_slow_reader_is_waited_for(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A client that does not read stops the server from writing; nothing is lost when it reads again."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", int(upstream.url.rpartition(":")[2])))
    await loop.sock_sendall(sock, raw_request(headers, fake({"size": 8_000_000}, stream=True)))
    first = await loop.sock_recv(sock, 65_536)
    (connection,) = upstream._connections
    current = connection._current
    assert current is not None
    assert current.entry is not None
    await eventually(lambda: connection._write_paused, "the server waits")
    assert current.entry.response_bytes < 7_000_000
    got = bytearray(first)
    while data := await loop.sock_recv(sock, 1 << 20):
        got += data
    sock.close()
    chunks, ended = dechunked(bytes(got).partition(b"\r\n\r\n")[2])
    assert ended
    assert len(b"".join(chunks)) > 8_000_000


async def test_a_reset_by_the_client(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """A client that resets its connection leaves no exchange behind."""
    sock = socket.create_connection(("127.0.0.1", int(upstream.url.rpartition(":")[2])))
    sock.sendall(raw_request(headers, fake("stall", stream=True)))
    await eventually(lambda: upstream.in_flight == 1, "the request has arrived")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    await eventually(lambda: upstream.in_flight == 0, "the server has noticed")
    assert upstream.log[-1].aborted == "client"


async def test_stopping_breaks_what_is_open(headers: dict[str, str]) -> None:
    """`stop` ends with exchanges open, within its bound, logged as the server's doing."""
    server = SimulatedUpstream([SimulatedAccount("a")])
    await server.start()
    waiting = asyncio.create_task(arrive(server.url, raw_request(headers, fake("hang"))))
    await eventually(lambda: server.in_flight == 1, "the request has arrived")
    async with asyncio.timeout(3):
        await server.stop()
        await waiting
    assert server.log[-1].aborted == "server"
    assert server.open_connections == 0


async def test_it_serves_tls() -> None:
    """With a certificate the same server speaks TLS and says so in its address."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = SimulatedUpstream([SimulatedAccount("a")])
    url = await server.start(ssl_context=context)
    try:
        async with httpx.AsyncClient(base_url=url, verify=trusting) as client:
            fields = by_key(server.accounts["a"].api_key)
            answer = await client.post("/v1/messages", json=ask(), headers=fields)
            broken = client.post("/v1/messages", json=fake("reset-mid", stream=True), headers=fields)
            with pytest.raises(httpx.TransportError):
                await broken
    finally:
        await server.stop()
    assert url.startswith("https://127.0.0.1:")
    assert answer.status_code == 200


async def test_many_streams_at_once(upstream: SimulatedUpstream, headers: dict[str, str]) -> None:
    """Three hundred paced streams run side by side and each gets its own answer."""

    async def one(number: int) -> bool:
        request = raw_request(headers, fake({"pace": 0.01, "text": f"stream {number} only"}, stream=True))
        got = await arrive(upstream.url, request)
        return f"{number} only".encode() in got.data and dechunked(got.rest)[1]

    assert all(await asyncio.gather(*(one(number) for number in range(300))))
    assert upstream.books.peak_in_flight > 100
    assert upstream.in_flight == 0
