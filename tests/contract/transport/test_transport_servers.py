"""The transport against servers that others wrote: uvicorn and nginx."""

import asyncio
import contextlib
import gzip
import os
import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from ccflare.errors import TransportError
from ccflare.transport import Transport
from ccflare.wire import Origin
from transport_peers import CHUNKED, Collected, Conversation, ask, body_of, closing, eventually, peer

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
MIB = 1024 * 1024


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo, stream, or say nothing, by path."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["path"] == "/empty":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Method", scope["method"].encode())]})
    if scope["path"] == "/stream":
        for number in range(20):
            await send({"type": "http.response.body", "body": b"event %d\n\n" % number, "more_body": True})
            await asyncio.sleep(0)
        body = b"end"
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def running_uvicorn() -> AsyncIterator[Origin]:
    """Serve `app` in this loop."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", timeout_keep_alive=1)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # older releases; signals are pytest's
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.ensure_future(server._serve([listener]))
    await eventually(lambda: server.started)
    try:
        yield Origin("http", "127.0.0.1", listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def test_uvicorn() -> None:
    """Bodies of all sizes, chunked answers, HEAD, 204 and pieces work with uvicorn on one connection."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 10_000

    async with running_uvicorn() as origin, closing(Transport()) as transport:
        for size in (0, 1, 100_000, 2 * MIB):
            assert len(await body_of(await ask(transport, origin, b"x" * size))) == size
        assert await body_of(await ask(transport, origin, pieces())) == b"x" * 100_000
        assert await body_of(await ask(transport, origin, pieces(), length=100_000)) == b"x" * 100_000
        sink = Collected()
        await (await ask(transport, origin, target=b"/stream")).relay(sink)
        assert sink.data == b"".join(b"event %d\n\n" % number for number in range(20)) + b"end"
        assert await body_of(await ask(transport, origin, method=b"HEAD", target=b"/stream")) == b""
        assert (await ask(transport, origin, target=b"/empty")).status == 204
        assert (transport.connections_open, transport.connections_idle) == (1, 1)


async def test_uvicorn_closes_idle_connections_unseen() -> None:
    """The server's keep-alive timeout never surfaces."""
    async with running_uvicorn() as origin, closing(Transport()) as transport:
        assert await body_of(await ask(transport, origin, b"one")) == b"one"
        await eventually(lambda: transport.connections_open == 0)
        assert await body_of(await ask(transport, origin, b"two")) == b"two"


CONFIG = """
worker_processes 1; daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; default_type text/plain; keepalive_requests 1000;
  server {{
    listen 127.0.0.1:{port}; root {root}/www; client_max_body_size 1m; client_body_buffer_size 2m;
    location /packed {{ gzip on; gzip_min_length 1; gzip_types text/plain; try_files /large.txt =404; }}
    location /short-lived {{ keepalive_timeout 0; try_files /small.txt =404; }}
    location /back {{ proxy_pass http://127.0.0.1:{back}; proxy_http_version 1.1; proxy_buffering off;
                      proxy_request_buffering off; }}
  }}
}}
"""


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a port: nobody else is given it, and who knows it can listen on it."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def back() -> Iterator[int]:
    """Reserve a port for a server behind nginx."""
    with reserved_port() as port:
        yield port


@pytest.fixture
def front() -> Iterator[int]:
    """Reserve a port for nginx."""
    with reserved_port() as port:
        yield port


@pytest.fixture
def nginx(tmp_path: Path, front: int, back: int) -> Iterator[Origin]:
    """Run nginx as the current user in a directory of its own."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    port = front
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "small.txt").write_bytes(b"small\n")
    (tmp_path / "www" / "large.txt").write_bytes(b"0123456789abcdef" * 65536)
    (tmp_path / "nginx.conf").write_text(CONFIG.format(root=tmp_path, port=port, back=back))
    process = subprocess.Popen(
        [NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")],
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail("nginx does not start: " + (tmp_path / "error.log").read_text())
        yield Origin("http", "127.0.0.1", port)
    finally:
        process.kill()
        process.wait()


async def test_nginx_files(nginx: Origin) -> None:
    """Files, gzip, HEAD, conditional requests and errors of nginx work over one kept connection."""
    async with closing(Transport()) as transport:
        for _ in range(3):
            assert await body_of(await ask(transport, nginx, method=b"GET", target=b"/small.txt")) == b"small\n"
        large = await body_of(await ask(transport, nginx, method=b"GET", target=b"/large.txt"))
        accepts = [(b"Accept-Encoding", b"gzip")]
        packed = await ask(transport, nginx, method=b"GET", target=b"/packed", headers=accepts)
        assert (b"Content-Encoding", b"gzip") in packed.headers
        assert gzip.decompress(await body_of(packed)) == large
        plain = await ask(transport, nginx, method=b"GET", target=b"/packed")
        assert await body_of(plain) == large
        head = await ask(transport, nginx, method=b"HEAD", target=b"/large.txt")
        assert (head.content_length, await body_of(head)) == (MIB, b"")
        etag = dict(head.headers)[b"ETag"]
        unchanged = await ask(transport, nginx, method=b"GET", target=b"/large.txt", headers=[(b"If-None-Match", etag)])
        assert (unchanged.status, await body_of(unchanged)) == (304, b"")
        missing = await ask(transport, nginx, method=b"GET", target=b"/missing")
        assert (missing.status, b"404" in await body_of(missing)) == (404, True)
        assert transport.connections_open == 1


async def test_nginx_that_closes(nginx: Origin) -> None:
    """Connection: close of nginx is respected."""
    async with closing(Transport()) as transport:
        for _ in range(2):
            answer = await ask(transport, nginx, method=b"GET", target=b"/short-lived")
            assert await body_of(answer) == b"small\n"
            assert transport.connections_open == 0


@pytest.mark.parametrize("size", [2 * MIB, 34 * MIB])
async def test_nginx_refuses_a_large_body(nginx: Origin, size: int) -> None:
    """The 413 for a body over the limit arrives, however much of the body is still to be sent."""
    async with closing(Transport()) as transport:
        for _ in range(5):
            response = await ask(transport, nginx, bytes(size))
            assert response.status == 413
            assert b"413" in await body_of(response)


async def test_a_stream_through_nginx(nginx: Origin, back: int) -> None:
    """Events that nginx relays are delivered as they come, and a cut behind it is a cut here."""
    sink = Collected()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            writer.write(b"9\r\nevent %d\n\n\r\n" % number)
            await writer.drain()
            await eventually(lambda number=number: len(sink.data) == 9 * (number + 1))  # type: ignore[misc]  # bound now
        writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", back)
    async with closing(Transport()) as transport:
        response = await ask(transport, nginx, b"{}", target=b"/back")
        with pytest.raises(TransportError) as caught:
            await response.relay(sink)
        assert caught.value.kind == "broken"
        assert sink.data.endswith(b"event 4\n\n")
    server.close()
    await server.wait_closed()


async def test_a_compressed_stream_can_be_read_event_by_event() -> None:
    """A gzip stream flushed after each event is delivered at each flush."""
    sink = Collected()

    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(CHUNKED)
        packer = zlib.compressobj(wbits=31)
        sent = b""
        for number in range(5):
            piece = packer.compress(b"event %d\n\n" % number) + packer.flush(zlib.Z_SYNC_FLUSH)
            sent += piece
            await talk.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await eventually(lambda sent=sent: sink.data == sent)  # type: ignore[misc]  # bound now, not later
        await talk.send(b"0\r\n\r\n")

    async with peer(script) as server, closing(Transport()) as transport:
        await (await ask(transport, server.origin)).relay(sink)
        assert zlib.decompressobj(wbits=31).decompress(sink.data).endswith(b"event 4\n\n")
