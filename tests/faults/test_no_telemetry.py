"""Whom a server talks to: its upstreams, where prices come from unless that is switched off, and nobody else."""

import asyncio
import io
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ccflare import logs
from ccflare.serve.life import Given, serve
from ccflare.settings import load
from ccflare.vault import Keys
from harness import Home, Upstream, ask, messages, running

Address = tuple[str, int]
MakeHome = Callable[[Mapping[str, str]], Home]


class Watch:
    """Notes whom this process looks up, connects to and starts. An audit hook cannot be removed: it is switched off."""

    def __init__(self) -> None:
        self.on = False
        self.connected: set[Address] = set()
        self.looked_up: set[str] = set()
        self.started: list[str] = []

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an audit event (PEP 578)."""
        if not self.on:
            return
        if event in {"socket.connect", "socket.sendto"}:
            address = arguments[1]
            self.connected.add(address[:2] if isinstance(address, tuple) else (str(address), 0))
        elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
            self.looked_up.add(str(arguments[0]))
        elif event in {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}:
            self.started.append(event)


WATCH = Watch()
sys.addaudithook(WATCH.note)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Watch this process for the time of a test."""
    WATCH.__init__()  # type: ignore[misc]  # begin anew: hooks stay for ever
    WATCH.on = True
    yield WATCH
    WATCH.on = False


async def life(home: Home, use: Callable[[int], None]) -> int:
    """Live a server's whole life in this process, chores included, on the loop that audit events know; use it."""
    loaded = load({"log_dir": home.path / "logs", "port": 0}, home.environment(), create=False)
    sock = socket.create_server(("127.0.0.1", 0))
    port: int = sock.getsockname()[1]
    log_writer = logs.start(loaded.settings.log_dir, console=io.StringIO())
    begun = asyncio.Event()
    given = Given(loaded, {}, [sock], log_writer, Keys(""), begun.set, lambda: None)
    server = asyncio.create_task(serve(given))
    try:
        await asyncio.wait_for(begun.wait(), 10)
        await asyncio.to_thread(use, port)
    finally:
        given.orders.end()
        await server
        log_writer.close()
        sock.close()
    return port


def traffic(upstream: Upstream) -> Callable[[int], None]:
    """Return what uses a server: requests that are served, that fail over and that fail, and its own pages."""

    def use(port: int) -> None:
        assert ask(port, messages()).status == 200
        assert ask(port, messages(stream=True)).status == 200
        upstream.rule({"status": 529}, times=2)
        ask(port, messages())
        for target in ("/health", "/ready", "/metrics", "/api/accounts", "/api/stats", "/", "/api/docs"):
            assert ask(port, method="GET", target=target, headers=[]).status == 200

    return use


def address_of(url: str) -> Address:
    return "127.0.0.1", int(url.rsplit(":", 1)[1].partition("/")[0])


async def test_nobody_but_the_upstream_is_talked_to(home: Home, upstream: Upstream, watch: Watch) -> None:
    """With prices switched off, a server's whole life connects to its accounts' address and to nothing else."""
    port = await life(home, traffic(upstream))
    assert watch.connected - {("127.0.0.1", port)} == {address_of(upstream.url)}
    assert watch.looked_up <= {"127.0.0.1"}
    assert watch.started == []


async def test_prices_are_the_one_thing_that_is_fetched(make_home: MakeHome, upstream: Upstream, watch: Watch) -> None:
    """Otherwise it asks for prices where the setting says, and that is all."""
    asked = threading.Event()

    def publish(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        asked.set()
        connection.sendall(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        where: Address = listener.getsockname()
        publisher = threading.Thread(target=publish, args=(listener,))
        publisher.start()
        home = make_home({"CF_PRICING_OFFLINE": "0", "CF_PRICING_URL": f"http://127.0.0.1:{where[1]}/api.json"})
        serve_some = traffic(upstream)

        def use(port: int) -> None:
            serve_some(port)
            assert asked.wait(10)

        port = await life(home, use)
        publisher.join(10)
    assert watch.connected - {("127.0.0.1", port)} == {address_of(upstream.url), where}
    assert watch.looked_up <= {"127.0.0.1"}


async def test_the_watch_sees_what_is_done(watch: Watch) -> None:
    """What the tests above rely on: a connection and a look-up of the transport's kind are noticed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        writer.close()
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        assert listener.getsockname() in watch.connected
        assert "localhost" in watch.looked_up


MARKER = "marker-of-what-was-said-4711"


def files_with(marker: str, directory: Path) -> list[str]:
    """Return the files below a directory that hold these words, as they are."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) > 3
    return [path.name for path in files if marker.encode() in path.read_bytes()]


def test_nothing_that_was_said_is_kept_when_it_is_switched_off(make_home: MakeHome, upstream: Upstream) -> None:
    """With `store_payloads` off and everything logged, no file holds a word of prompts or answers, served or not."""
    home = make_home({"CCFLARE_STORE_PAYLOADS": "false", "ccflare_DEBUG": "1"})
    with running(home) as server:
        assert MARKER.encode() in ask(server.port, messages(MARKER), target="/v1/echo").body
        assert ask(server.port, messages(MARKER, stream=True)).status == 200
        assert ask(server.port, messages(MARKER)[:-20]).status == 400
        upstream.rule({"status": 529}, match={"account": "alpha"})
        assert ask(server.port, messages(MARKER)).status == 200
        home.rows_when(4)
        assert files_with(MARKER, home.path) == []
    assert files_with(MARKER, home.path) == []
    with closing(sqlite3.connect(home.database)) as connection:
        assert connection.execute("SELECT count(*) FROM payloads").fetchone() == (0,)
