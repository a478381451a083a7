"""ccflare whole in one process and one loop, between real sockets, and what an exchange makes it do, counted.

The upstream runs in a thread of its own and says what it is told to; the client is a protocol in ccflare's own loop,
whose work is not counted. Counts are taken exchange by exchange and their median is told: a timer of somebody else's
that falls into one of them changes nothing.
"""

import asyncio
import contextlib
import queue
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import uvloop
from bench import payload

import ccflare
from ccflare.app import App, build
from ccflare.clock import SystemClock
from ccflare.ingress import IngressSettings
from ccflare.records import Account, Binding, Credentials, Exchange, Secret
from ccflare.settings import Settings
from ccflare.store import Batch, open_store

WAIT_S = 120.0
BODY_BYTES = 4096
_SOURCES = str(Path(ccflare.__file__).parent)
_LENGTH = b"content-length:"


class Upstream:
    """One thread for each connection: it reads a request and writes the prepared answer, or what `say` is given."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._said: queue.Queue[bytes | None] = queue.Queue()
        self._answers = [payload.answer(used) for used in range(100)]
        threading.Thread(target=self._accept, daemon=True).start()

    def say(self, data: bytes | None) -> None:
        """Write something into the stream that is open; None when that was all."""
        self._said.put(data)

    def close(self) -> None:
        """Accept nothing more."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        number, received = 0, b""
        with connection, contextlib.suppress(OSError):
            while True:
                while (end := received.find(b"\r\n\r\n")) < 0:
                    if not (data := connection.recv(1 << 16)):
                        return
                    received += data
                begin = received.lower().index(_LENGTH) + len(_LENGTH)
                missing = int(received[begin : received.index(b"\r", begin)]) - (len(received) - end - 4)
                while missing > 0:
                    missing -= len(connection.recv(1 << 16))
                if b"beta=true" in received[:end]:
                    while (said := self._said.get(timeout=WAIT_S)) is not None:
                        connection.sendall(said)
                else:
                    connection.sendall(self._answers[number % len(self._answers)])
                number, received = number + 1, b""


class Client(asyncio.Protocol):
    """A kept-alive connection; one request at a time."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets only
        """Begin."""
        self.transport = transport
        self._received = bytearray()
        self._wanted: Callable[[bytearray], bool] = bool
        self._waiter: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer."""
        self._received += data
        if self._waiter is not None and not self._waiter.done() and self._wanted(self._received):
            self._waiter.set_result(None)

    async def until(self, wanted: Callable[[bytearray], bool], action: Callable[[], None]) -> bytes:
        """Do something and wait until what was received is what is wanted; return and forget it."""
        self._wanted, self._waiter = wanted, asyncio.get_running_loop().create_future()
        action()
        await self._waiter
        received = bytes(self._received)
        self._received.clear()
        return received

    async def ask(self, request: bytes) -> bytes:
        """Make a request and return its whole answer."""
        return await self.until(_whole, lambda: self.transport.write(request))


def _whole(received: bytearray) -> bool:
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    begin = received.lower().index(_LENGTH) + len(_LENGTH)
    return len(received) - end - 4 >= int(received[begin : received.index(b"\r", begin)])


class CountingLoop(uvloop.Loop):
    """uvloop that counts the tasks and timers it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = self.timers = self.calls = 0

    def create_task(self, *args: Any, **more: Any) -> Any:
        """Count a task."""
        self.tasks += 1
        return super().create_task(*args, **more)

    def call_at(self, *args: Any, **more: Any) -> Any:  # type: ignore[override]  # passed on as they are
        """Count a timer."""
        self.timers += 1
        return super().call_at(*args, **more)

    def call_later(self, *args: Any, **more: Any) -> Any:  # type: ignore[override]  # passed on as they are
        """Count a timer."""
        self.timers += 1
        return super().call_later(*args, **more)

    def call_soon(self, *args: Any, **more: Any) -> Any:  # type: ignore[override]  # passed on as they are
        """Count a callback."""
        self.calls += 1
        return super().call_soon(*args, **more)


@dataclass
class Counts:
    """What the loop's thread did for one exchange or event."""

    calls: float
    """Of functions, ours and those that ours call."""
    forbidden: float
    """Statements of SQL, calls of the operating system's files and processes, look-ups of names."""
    tasks: float
    timers: float
    callbacks: float
    reads: float
    """System calls that read; the client's, one an answer, is among them."""
    writes: float


@dataclass
class Rig:
    """ccflare between an upstream and a client."""

    app: App
    upstream: Upstream
    client: Client
    port: int
    recorded: list[Exchange] = field(default_factory=list)
    host: str = ""

    def requests(self, count: int, **more: Any) -> list[bytes]:
        """Return requests of different sessions."""
        target = payload.STREAM if more.get("stream") else payload.MESSAGES
        return payload.requests(target, self.host, BODY_BYTES, count, **more)

    async def at_rest(self) -> None:
        """Wait until everything that was kept is in the database."""
        journal = self.app.journal
        while journal.state().waiting or journal.state().payloads_waiting:  # noqa: ASYNC110  # another thread writes
            await asyncio.sleep(0.005)

    async def counted(self, actions: Sequence[Callable[[], Any]]) -> Counts:
        """Run what are coroutine functions one after another, and return the median of what each made ccflare do."""
        taken: list[Counts] = []
        for action in actions:
            with _counting() as count:
                await action()
            taken.append(count())
        names = Counts.__dataclass_fields__
        return Counts(**{name: median(getattr(each, name) for each in taken) for name in names})


@contextlib.contextmanager
def _counting() -> Iterator[Callable[[], Counts]]:
    """Count what this thread does in the block, as far as it is ccflare's."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    calls = forbidden = 0

    def look(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls, forbidden
        if event == "c_call":
            forbidden += _is_forbidden(argument)
        elif event != "call":
            return
        calls += frame.f_code.co_filename.startswith(_SOURCES)

    before = (loop.tasks, loop.timers, loop.calls, *_io())
    sys.setprofile(look)
    try:
        yield lambda: found
    finally:
        sys.setprofile(None)
        after = (loop.tasks, loop.timers, loop.calls, *_io())
        tasks, timers, callbacks, reads, writes = (b - a for a, b in zip(before, after, strict=True))
        found = Counts(calls, forbidden, tasks, timers, callbacks, reads, writes)


def _is_forbidden(function: Any) -> bool:
    """Say whether a built-in function is one that the event loop has no business to call for an exchange."""
    if isinstance(getattr(function, "__self__", None), sqlite3.Connection | sqlite3.Cursor):
        return True
    module, name = getattr(function, "__module__", None), getattr(function, "__name__", "")
    return module == "posix" or name in {"open", "getaddrinfo", "connect"}


def _io() -> tuple[int, int]:
    """Return how often this thread has asked the system to read and to write (proc(5))."""
    try:
        text = Path(f"/proc/self/task/{threading.get_native_id()}/io").read_text()
    except OSError:
        return 0, 0
    told = dict(line.split(": ") for line in text.splitlines())
    return int(told["syscr"]), int(told["syscw"])


@contextlib.asynccontextmanager
async def rig(directory: Path, *, accounts: int = 3, sessions: int = 0, payloads: int = 1) -> AsyncIterator[Rig]:
    """Run ccflare with so many accounts and bound sessions, and one client."""
    upstream, loop = Upstream(), asyncio.get_running_loop()
    database, now_ms = directory / "load.db", int(time.time() * 1000)
    url = f"http://127.0.0.1:{upstream.port}"
    known = [Account(id=f"a{n}", name=f"a{n}", created_at_ms=1, base_url=url) for n in range(accounts)]
    with contextlib.closing(open_store(database)) as store:
        store.add_accounts([(each, Credentials(each.id, api_key=Secret(f"key-{each.id}"))) for each in known])
        store.write(Batch(bindings=[Binding(f"{n:032x}", f"a{n % accounts}", now_ms, now_ms) for n in range(sessions)]))
        app = build(
            Settings(db_path=database, log_dir=directory, store_payloads=bool(payloads)),
            SystemClock(),
            lambda: open_store(database),
        )
        app.load(store.accounts(), store.credentials())
        app.pool.restore(store.bindings(bound_since_ms=0), now_ms)
    app.journal.start()
    ingress = IngressSettings(app.proxy.serve, app.asgi, app.gate, loop)
    server = await loop.create_server(ingress.connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, client = await loop.create_connection(Client, "127.0.0.1", port)
    try:
        async with asyncio.timeout(WAIT_S):
            yield Rig(app, upstream, client, port, host=f"127.0.0.1:{port}")
    finally:
        transport.close()
        server.close()
        await server.wait_closed()
        while ingress.connections:  # they have lost their client, and find out
            for connection in tuple(ingress.connections):
                connection.shutdown()
            await asyncio.sleep(0.001)
        await app.transport.aclose()
        await app.journal.close()
        for desk in app.desks:
            await asyncio.to_thread(desk.close)
        upstream.close()


def run(scenario: Callable[[], Any]) -> Any:
    """Run a coroutine function in a loop that counts."""
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        return runner.run(scenario())


__all__ = ["Client", "CountingLoop", "Counts", "Rig", "Upstream", "rig", "run"]
