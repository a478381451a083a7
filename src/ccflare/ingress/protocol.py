"""One client connection: the order of its requests and answers, its deadlines, and how it ends.

Requests whose raw path begins with `/v1/` go to the exchange, all others to the ASGI application; both come as a
`ClientRequest` (`wire.Inbound`) and are answered in the order in which they came. A connection is in one of five
phases; each but the answer has a deadline, and one timer per connection looks at it:

    idle      no request                          closed after `idle_s`
    head      first byte seen, head incomplete    408 after `head_s`
    body      head complete, body incomplete      408 when nothing came for `body_s`, unless we hold it back
    answer    request complete                    the exchange has its own deadlines
    ending    the last answer is written          cut after `linger_s` without a byte from the client, or
                                                  `farewell_s` when it sends for ever or does not fetch its answer
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice

from ccflare import answers
from ccflare.gate import Gate, Refusal
from ccflare.ingress import sockets
from ccflare.ingress.asgi import AsgiApp, serve_asgi
from ccflare.ingress.bounds import Bounds
from ccflare.ingress.crowd import Crowd
from ccflare.ingress.reader import Reader
from ccflare.ingress.request import ClientRequest
from ccflare.wire import Inbound

_LOOKED_AT = 64
"""Connections among which an idle one is looked for when there is no room for another."""


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """What all connections of a server share."""

    serve: Callable[[Inbound], Awaitable[None]]
    """Serves a request below `/v1/`."""
    app: AsgiApp
    """Serves all others."""
    gate: Gate
    loop: asyncio.AbstractEventLoop
    bounds: Bounds = field(default_factory=Bounds)
    crowd: Crowd = field(default_factory=lambda: Crowd(1 << 30))
    """How many clients there is room for."""
    connections: "set[Ingress]" = field(default_factory=set)
    """What is open; a stop has to wait for these and for `tasks`."""
    outlasting: set[asyncio.Task[None]] = field(default_factory=set)
    """What still serves a request whose connection has gone, or has gone on to the next one."""

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What serves requests now."""
        last = {connection.task for connection in tuple(self.connections)}
        return self.outlasting | {task for task in last if task is not None and not task.done()}

    def connection(self) -> "Ingress":
        """Make the protocol for one accepted connection."""
        return Ingress(self)


class Ingress(asyncio.Protocol):
    """An accepted connection; see the module for its phases."""

    transport: asyncio.Transport

    def __init__(self, shared: IngressSettings) -> None:
        self.loop = shared.loop
        self.client = ""
        self.write_paused = False
        self.held_bytes = shared.bounds.held_bytes
        self.deadline: float | None = None
        self.task: asyncio.Task[None] | None = None
        """What serves, or has served, the request that was begun last."""
        self._bounds = shared.bounds
        self._serve = shared.serve
        self._app = shared.app
        self._connections = shared.connections
        self._crowd = shared.crowd
        self._outlasting = shared.outlasting
        self._reader = Reader(self, shared.gate, shared.bounds)
        self._current: ClientRequest | None = None
        """The request whose answer is due."""
        self._waiting: deque[ClientRequest] = deque()
        self._refusal: Refusal | None = None
        """Why nothing more is read; it is sent when its turn comes."""
        self._deaf = False
        """What still comes is thrown away."""
        self._held = False
        self._retires_in_s: float | None = None
        """How long a silent connection is kept, when the next answer is the last one."""
        self._ending_by: float | None = None
        self._unsent_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets only
        """Begin with the idle phase."""
        self.transport = transport
        self.client = sockets.peer(transport)
        self._connections.add(self)
        if len(self._connections) > self._crowd.most and not self._make_room():
            self._send_refusal(503, self._crowd.turn_away(self.loop.time()))
            self._close()  # without lingering: the descriptor is needed
            return
        self.deadline = self.loop.time() + self._bounds.idle_s
        self._timer = self.loop.call_later(self._bounds.look_s, self._look)

    def _make_room(self) -> bool:
        """Close a connection that waits for its client to think of something, if one is found at once."""
        for other in islice(self._connections, _LOOKED_AT):
            if other is not self and other.is_idle:
                other.shutdown()
                return True
        return False

    @property
    def is_idle(self) -> bool:
        """Nothing was asked yet, or everything that was is answered."""
        reader = self._reader
        return self._current is None and self._ending_by is None and not reader.in_head and reader.arriving is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything; requests in progress learn that their client is gone."""
        self._connections.discard(self)
        self._let_outlast()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lose_all()
        self._reader.close()

    def eof_received(self) -> None:
        """Take the client's end for its leaving, at once: what is still unsent might never leave."""
        self._lose_all()
        self._end()

    def _lose_all(self) -> None:
        self._deaf = True
        current, self._current = self._current, None
        if current is not None:
            current.lose()

    def shutdown(self) -> None:
        """Take no further request: close at once when idle, else after the answer that is due."""
        if self._current is not None:
            self._current.keep_alive = False
        elif self._ending_by is None:
            self._close()

    def retire(self, grace_s: float) -> None:
        """Have one more answer be the last, and none when no request comes for so long.

        Nothing is lost of what the client may be sending: it has been told by `connection: close`, or it was silent.
        """
        self._retires_in_s = grace_s
        current = self._current
        if current is None:
            if self._ending_by is None and not self._reader.in_head and self._reader.arriving is None:
                self._wait_in_idle(grace_s)
        elif not current.started:
            current.keep_alive = False

    def data_received(self, data: bytes) -> None:
        """Read requests, or throw away what comes behind the last one."""
        if not self._deaf:
            self._reader.feed(data)
        elif self._ending_by is not None:
            self.deadline = min(self.loop.time() + self._bounds.linger_s, self._ending_by)

    def pause_writing(self) -> None:
        """Note that the client reads slowly."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let a paused answer go on."""
        self.write_paused = False
        if self._current is not None:
            self._current.drained()

    # Requests, as the reader finds them.

    def begun(self) -> None:
        """Enter the head phase, unless an answer is due anyway."""
        if self._current is None:
            self.deadline = self.loop.time() + self._bounds.head_s

    def arrived(self, request: ClientRequest) -> bool:
        """Serve a request now, or behind those before it; False when too many wait already."""
        if self._current is None:
            self._begin(request)
        elif len(self._waiting) < self._bounds.pipelined:
            self._waiting.append(request)
        else:
            return False
        return True

    def _begin(self, request: ClientRequest) -> None:
        self._current = request
        if self._retires_in_s is not None:
            request.keep_alive = False
        serve = self._serve if request.target.startswith(b"/v1/") else self._serve_asgi
        self._let_outlast()
        self.task = request.task = self.loop.create_task(request.run(serve))

    def _let_outlast(self) -> None:
        """Have what still serves a request known elsewhere. Nearly always there is nothing: a task is told of here."""
        task = self.task
        if task is not None and not task.done():
            self._outlasting.add(task)
            task.add_done_callback(self._outlasting.discard)

    def _serve_asgi(self, request: ClientRequest) -> Awaitable[None]:
        return serve_asgi(self._app, request)

    def refuse(self, status: int, message: str) -> None:
        """Read nothing more, and say why behind the answers that are due."""
        if self._deaf:
            return
        self._deaf = True
        self._refusal = status, message
        broken, self._reader.arriving = self._reader.arriving, None
        if broken is not None:
            self._drop(broken)
        if self._current is None and self._ending_by is None:
            self._send_refusal(*self._refusal)

    def _drop(self, broken: ClientRequest) -> None:
        """End a request whose body will not come."""
        self._reader.target = broken.target
        if broken is not self._current:
            self._waiting.pop()
            return
        broken.lose()
        if broken.started:
            self.cut(reset=broken.ends_by_closing)
        self._current = None

    def _send_refusal(self, status: int, message: str) -> None:
        body = answers.refusal(self._reader.target, status, message)
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, HTTPStatus(status).phrase.encode(), answers.LINES, len(body), body)
        )
        self._linger()

    # What requests ask for.

    def answered(self, request: ClientRequest) -> None:
        """Go on to the next request, back to idle, or towards the end."""
        self._current = None
        if request.reading:
            self._linger()
        elif not request.keep_alive:
            self._close()
        elif self._waiting:
            self._begin(self._waiting.popleft())
        elif self._refusal is not None:
            self._send_refusal(*self._refusal)
        else:
            self.read_on()
            if self._retires_in_s is not None and not self._reader.in_head:
                self._wait_in_idle(self._retires_in_s)
                return
            seconds = self._bounds.head_s if self._reader.in_head else self._bounds.idle_s
            self.deadline = self.loop.time() + seconds

    def _wait_in_idle(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds
        self._look_in(seconds + 0.01)  # timers may fire a millisecond early

    def cut(self, *, reset: bool) -> None:
        """End the connection in the middle of an answer."""
        self._current = None
        self._end()
        if reset:
            sockets.reset(self.transport)
        else:
            self.transport.close()

    def hold(self) -> None:
        """Read nothing more from the client until `let_come`."""
        self.deadline = None
        if not self._held:
            self._held = True
            self.transport.pause_reading()
            self._look_in(self._bounds.held_look_s)

    def let_come(self) -> None:
        """Read on: the body is wanted."""
        self.deadline = self.loop.time() + self._bounds.body_s
        self.read_on()

    def read_on(self) -> None:
        """Read on, without waiting for anything: the next request, or the client's leaving."""
        if self._held:
            self._held = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    # The end.

    def _linger(self) -> None:
        """Close for writing only, so that a client that still sends can read the answer (RFC 9112 §9.6)."""
        self._end()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.read_on()

    def _close(self) -> None:
        """Close as soon as everything written has left."""
        self._end()
        self.transport.close()

    def _end(self) -> None:
        self._deaf = True
        if self._ending_by is None:
            now = self.loop.time()
            self._ending_by = now + self._bounds.farewell_s
            self.deadline = now + self._bounds.linger_s
            self._unsent_bytes = self.transport.get_write_buffer_size()

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """See whether the deadline has passed, or a client that is held back has gone."""
        self._look_in(self._bounds.held_look_s if self._held else self._bounds.look_s)
        if self._held and sockets.hung_up(self.transport):
            self.transport.abort()
        elif self.deadline is not None and self.loop.time() >= self.deadline:
            self._overdue()

    def _overdue(self) -> None:
        if self._ending_by is not None:
            self._wait_or_cut(self._ending_by, self.loop.time())
        elif self._reader.in_head or self._reader.arriving is not None:
            self.refuse(408, "The request did not arrive in time")
        elif self._retires_in_s is not None and sockets.readable(self.transport):
            self._wait_in_idle(self._bounds.held_look_s)  # a request is there, and is about to be read
        else:
            self._close()

    def _wait_or_cut(self, ending_by: float, now: float) -> None:
        """Give a client that still fetches its answer more time: the system takes bytes in large portions."""
        before, self._unsent_bytes = self._unsent_bytes, self.transport.get_write_buffer_size()
        if self._unsent_bytes < before:
            self._ending_by = ending_by = now + self._bounds.farewell_s
        if self._unsent_bytes and now < ending_by:
            self.deadline = now + self._bounds.linger_s
        else:
            self.transport.abort()
