"""One request of a client, and the way to answer it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

from ccflare import answers
from ccflare.ingress.head import RequestHead
from ccflare.wire import ByteBudget

log = logging.getLogger("ccflare.Server")

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_COPY_BYTES = 16 * 1024
"""From this size on, framing a chunk by copying it costs more than handing it over in three parts."""


class Connection(Protocol):
    """What a request needs of the connection it came by: `Ingress`."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    client: str
    write_paused: bool
    held_bytes: int

    def hold(self) -> None:
        """Read nothing more from the client until `let_come`."""
        ...

    def let_come(self) -> None:
        """Read on: the body is wanted."""
        ...

    def read_on(self) -> None:
        """Read on, without waiting for anything."""
        ...

    def answered(self, request: "ClientRequest") -> None:
        """Take note that the answer has ended cleanly."""
        ...

    def cut(self, *, reset: bool) -> None:
        """End the connection in the middle of an answer."""
        ...


class ClientRequest:
    """See `wire.Inbound`."""

    __slots__ = (
        "_budget", "_chunked", "_connection", "_drain", "_head", "_keeping", "_left", "_limit", "_no_body", "_parts",
        "_size", "_taken_bytes", "_transport", "_waiter", "awaits_continue", "client", "ended", "fields", "gone",
        "headers", "http_version", "keep_alive", "length", "memory", "method", "reading", "started", "target", "task",
    )  # fmt: skip

    def __init__(self, connection: Connection, head: RequestHead) -> None:
        self._connection = connection
        self._transport = connection.transport
        self.client = connection.client
        self.method = head.method
        self.target = head.target
        self.headers = head.headers
        self.fields = fields = head.fields
        self.memory = head.memory
        self.http_version = head.http_version
        self.length = int(fields[b"content-length"]) if b"content-length" in fields else None
        self.reading = bool(self.length) or b"transfer-encoding" in fields
        """The body is not complete yet."""
        self.awaits_continue = (
            self.reading
            and b"expect" in fields
            and fields[b"expect"].lower() == b"100-continue"
            and head.http_version == "1.1"
        )
        self.task: asyncio.Task[None] | None = None
        """What serves it; None before its turn and after its end."""
        self.keep_alive = False
        self.gone = self.started = self.ended = False
        self._parts: list[bytes | bytearray] = []
        self._size = 0
        self._limit = connection.held_bytes
        self._budget: ByteBudget | None = None
        self._taken_bytes = 0
        """Of the budget."""
        self._keeping = True
        self._waiter: asyncio.Future[None] | None = None
        self._drain: Callable[[], None] | None = None
        self._chunked = self._no_body = False
        self._left: int | None = None
        self._head = b""
        """The head of the answer while it waits for the first bytes of the body."""

    async def run(self, serve: Callable[["ClientRequest"], Awaitable[None]]) -> None:
        """Serve the request, whatever happens meanwhile."""
        try:
            await serve(self)
            if not self.ended:
                log.error("A request ended by a defect: there is no answer")
                self._answer_defect()
        except asyncio.CancelledError:
            if not self.gone:
                self.abort()
                raise
        except Exception:
            log.exception("A request ended by a defect")
            self._answer_defect()
        finally:
            self.task = None

    def _answer_defect(self) -> None:
        if self.started:
            self.abort()
        else:
            answers.refuse(self, 500, "Internal error in ccflare")

    # The request body.

    def take(self, piece: bytes) -> None:
        """Take a piece of the body from the parser."""
        if self._keeping and self._parts:
            self._join(piece)
        else:
            self._parts.append(piece)
        self._size += len(piece)
        if self._size > self._limit or not self._afford(len(piece)):
            self._connection.hold()
            self._wake()
        elif not self._keeping:
            self._wake()

    def _afford(self, size: int) -> bool:
        """Take bytes of the budget; when it has no more, nothing further is kept.

        A body that is short enough to be held anyway is kept whatever others hold.
        """
        if self._budget is not None and self._keeping and self._size > self._connection.held_bytes:
            size = self._size - self._taken_bytes
            if not self._budget.take(size):
                self._limit = -1
                return False
            self._taken_bytes += size
        return True

    def release_body(self) -> None:
        """Give back what was taken of the budget."""
        if self._budget is not None:
            self._budget.give(self._taken_bytes)
            self._taken_bytes = 0

    def _join(self, piece: bytes) -> None:
        body = self._parts[0]
        if isinstance(body, bytes):
            self._parts[0] = body = bytearray(body)
        body += piece

    def take_end(self) -> None:
        """Take the end of the body from the parser."""
        self.reading = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        """Wait until the body has grown past what is kept, or has ended."""
        if self.awaits_continue:
            self.awaits_continue = False
            if not self._parts and not self.started:
                self._transport.write(_CONTINUE)
        self._connection.let_come()
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def read_body(self, limit: int, budget: ByteBudget | None = None) -> bytes | bytearray | None:
        """Return the whole body; None when it is longer than `limit` bytes, or the budget has no more."""
        if self.length is not None and self.length > limit:
            return None
        self._limit, self._budget = limit, budget
        self._afford(self._size)
        while self.reading and self._size <= self._limit:
            await self._more()
        if self._size > self._limit:
            return None
        self._connection.read_on()
        return self._parts.pop() if self._parts else b""

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes; the client is held back while nobody takes it."""
        self._keeping = False
        self._limit = self._connection.held_bytes
        while True:
            while self._parts:
                parts, self._parts, self._size = self._parts, [], 0
                for part in parts:
                    yield part if isinstance(part, bytes) else bytes(part)
            if not self.reading:
                self._connection.read_on()
                return
            await self._more()

    # The answer.

    def start(self, status: int, reason: bytes, lines: bytes, length: int | None) -> None:
        """Begin the answer; its head leaves with the first bytes of the body, or by `flush`."""
        if self.started or self.ended:
            return
        self.started = True
        self._no_body = self.method == b"HEAD" or status in {204, 304}
        self._left = length
        framing = b""
        if length is not None:
            if status != 204:
                framing = b"content-length: %d\r\n" % length
        elif not self._no_body:
            if self.http_version == "1.1":
                self._chunked = True
                framing = b"transfer-encoding: chunked\r\n"
            else:
                self.keep_alive = False
        if self.reading:
            self.keep_alive = False
        if not self.keep_alive:
            framing += b"connection: close\r\n"
        reason = reason or _REASONS.get(status, b"")
        self._head = b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, reason, lines, framing)

    def flush(self) -> None:
        """Send the head now, if it still waits."""
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def write(self, data: bytes) -> bool:
        """Send body bytes; False when the client reads slowly."""
        if not data or self._no_body or self.ended:
            return True
        if self._chunked:
            self._write_chunk(data)
        else:
            if self._left is not None:
                self._left -= len(data)
                if self._left < 0:  # more than was announced would be read as the next answer
                    self.abort()
                    return True
            self._write_plain(data)
        return not self._connection.write_paused

    def _write_plain(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if not head:
            self._transport.write(data)
        elif len(data) < _COPY_BYTES:
            self._transport.write(head + data)
        else:
            self._transport.writelines((head, data))

    def _write_chunk(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if len(data) < _COPY_BYTES:
            self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        else:
            self._transport.writelines((b"%b%x\r\n" % (head, len(data)), data, b"\r\n"))

    def on_drain(self, resume: Callable[[], None]) -> None:
        """Have `resume` called when the client has caught up."""
        self._drain = resume

    def drained(self) -> None:
        """Pass on that the client has caught up."""
        if self._drain is not None:
            self._drain()

    def finish(self) -> None:
        """End the answer; a body shorter than its stated length is broken off instead."""
        if self.ended:
            return
        if not self.started or (self._left and not self._no_body):
            self.abort()
            return
        self.flush()
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        self._end()
        self._connection.answered(self)

    def abort(self, *, reset: bool = False) -> None:
        """Break the answer off: what was sent leaves, but no end that could be taken for a real one."""
        if self.ended:
            return
        self.flush()
        self._end()
        self._connection.cut(reset=reset or self.ends_by_closing)

    @property
    def ends_by_closing(self) -> bool:
        """A plain end of the connection would be taken for the end of this answer."""
        return self.started and not (self._chunked or self._no_body) and self._left is None

    def lose(self) -> None:
        """Learn that the client has gone, or cannot be read any further: the exchange is cancelled."""
        if self.ended:
            return
        self.gone = True
        self._end()
        if self.task is not None:
            self.task.cancel()

    def _end(self) -> None:
        self.ended = True
        self.release_body()
        self._head = b""
        self._parts = []
        self._drain = None
