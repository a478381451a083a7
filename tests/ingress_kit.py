"""A listener with the client's side of ccflare, in a thread of its own, in front of scripted answers."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import uvloop

import rawhttp
from ccflare.gate import Gate
from ccflare.ingress import Bounds, ClientRequest, IngressSettings
from ccflare.wire import Headers, Inbound, lines_of

T = TypeVar("T")
Script = Callable[[Any], Awaitable[None]]

JSON: Headers = [(b"content-type", b"application/json")]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
WAIT_S = 10.0


def eventually(question: Callable[[], T], within_s: float = WAIT_S) -> T:
    """Ask until the answer is true, and return it; fail at the deadline."""
    deadline = time.monotonic() + within_s
    while not (found := question()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.002)
    return found


async def echo(inbound: Inbound) -> None:
    """Answer with what arrived."""
    body = await inbound.read_body(64 << 20)
    assert body is not None
    inbound.start(200, b"OK", lines_of([(b"x-target", inbound.target)]), len(body))
    inbound.write(bytes(body))
    inbound.finish()


async def hang(_inbound: Inbound) -> None:
    """Never answer."""
    await asyncio.get_running_loop().create_future()


async def tiny_app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Tell what an ASGI application is told."""
    message = await receive()
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "size": len(message["body"]),
    }
    if scope["path"] == "/defect":
        raise RuntimeError("a secret word")
    body = msgspec.json.encode(told)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [*JSON, (b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


class Listener:
    """A running server. `script` may be changed at any time; `seen` are the requests that were served on `/v1/`."""

    def __init__(self, loop_name: str, script: Script, bounds: Bounds, app: Any) -> None:
        self.script = script
        self.seen: list[ClientRequest] = []
        self.ended: list[str] = []
        """How serving each request ended: `returned`, `cancelled`, or the name of an error."""
        self.defects: list[str] = []
        self.port = 0
        self.loop = LOOPS[loop_name]()
        self.state = IngressSettings(self._serve, app, Gate(), self.loop, bounds)
        self.loop.set_exception_handler(lambda _loop, context: self.defects.append(str(context)))
        self._listening = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._listening.wait(WAIT_S)

    def connect(self, *, receive_buffer: int | None = None) -> rawhttp.Connection:
        """Open a connection to it."""
        return rawhttp.Connection(self.port, receive_buffer=receive_buffer)

    def connection(self) -> Any:
        """Return the server's end of the only connection."""
        (found,) = eventually(lambda: tuple(self.state.connections))
        return found

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the listener's loop."""

        async def run() -> T:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(WAIT_S)

    def close(self) -> None:
        """Stop; fails when connections or tasks are left that nobody holds any more."""
        assert self._stop is not None
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    async def _serve(self, inbound: Any) -> None:
        self.seen.append(inbound)
        how = "returned"
        try:
            await self.script(inbound)
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        except Exception as error:
            how = type(error).__name__
            raise
        finally:
            self.ended.append(how)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._listen())
        finally:
            self.loop.close()
            asyncio.set_event_loop(None)

    async def _listen(self) -> None:
        self._stop = asyncio.Event()
        server = await self.loop.create_server(self.state.connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        for connection in tuple(self.state.connections):
            connection.shutdown()  # as the server's stop does it
        for _ in range(200):
            if not (self.state.connections or self.state.tasks):
                break
            for task in tuple(self.state.tasks):
                task.cancel()
            await asyncio.sleep(0.01)
        else:
            self.defects.append(f"left over: {self.state.connections} {self.state.tasks}")
            for connection in tuple(self.state.connections):
                connection.transport.abort()
            await asyncio.sleep(0.05)


@contextmanager
def listening(
    loop_name: str = "uvloop",
    script: Script = echo,
    *,
    bounds: Bounds | None = None,
    app: Any = tiny_app,
    defects: int = 0,
) -> Iterator[Listener]:
    """Run a listener; afterwards nothing may be left of it, and nothing but `defects` gone wrong inside it."""
    log = _Log()
    logging.getLogger("ccflare").addHandler(log)
    listener = Listener(loop_name, script, bounds or Bounds(), app)
    try:
        yield listener
    finally:
        listener.close()
        logging.getLogger("ccflare").removeHandler(log)
    assert listener.defects == []
    assert len(log.lines) == defects, log.lines


class _Log(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(self.format(record))


def post(body: bytes | None = b"{}", target: str = "/v1/messages", *fields: tuple[str, str]) -> bytes:
    """Return a request."""
    return rawhttp.request_bytes("POST", target, fields, body)


def get(target: str = "/v1/models", *fields: tuple[str, str], method: str = "GET") -> bytes:
    """Return a request without a body."""
    return rawhttp.request_bytes(method, target, fields)
