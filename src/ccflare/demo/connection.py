"""One connection of the simulated upstream: reads requests, plays the answers' scripts, notices who left.

There are no tasks: a script is played by callbacks, so an exchange costs little and a client that leaves ends
it at once.
"""

import asyncio
import socket
import struct
import time
import zlib
from collections import deque
from typing import Any, Protocol

import httptools

from ccflare.demo.books import MOST_TIMES, Books, LogEntry
from ccflare.demo.faults import Action, Facts
from ccflare.demo.reply import Refusal, Reply, refuse
from ccflare.demo.request import Request
from ccflare.demo.script import Ask, End, Pause, Script, plain, scripted
from ccflare.demo.service import SPOKEN, Service

HEAD_LIMIT = 256 * 1024
SLICE = 128 * 1024
"""Bytes handed to the socket at once: what a slow client has not taken stays small."""
LINGER_S = 1.0
MOST_QUEUED = 16
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nserver: cloudflare\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nserver: cloudflare\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)
TOO_LARGE = "Request exceeds the maximum size"


class Control(Protocol):
    """Answers the requests of whoever drives the simulation."""

    def answer(self, request: Request) -> Reply:
        """Answer one request under `/_fake/`."""
        ...


class Exchange:
    """One request and what has become of it."""

    __slots__ = ("at", "entry", "held", "offset", "received", "reply", "request", "script")

    def __init__(self, request: Request, entry: LogEntry | None) -> None:
        self.request = request
        self.entry = entry
        """None for control requests, which are not part of the traffic."""
        self.held: Action | None = None
        self.received = False
        self.reply: Reply | None = None
        self.script: Script | None = None
        self.at = 0
        self.offset = 0


class Connection(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(
        self, service: Service, control: Control, open_connections: "set[Connection]", all_gone: asyncio.Event
    ) -> None:
        self._service = service
        self._world = service.world
        self._books: Books = service.world.books
        self._control = control
        self._open = open_connections
        self._all_gone = all_gone
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._number = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._fields: dict[bytes, bytes] = {}
        self._repeated: list[bytes] = []
        self._head_bytes = 0
        self._incoming: Exchange | None = None
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._slow_read = 0.0
        self._write_paused = False
        self._deaf = False
        """What still arrives is dropped."""
        self._lost = False
        self._stopping = False

    # The transport's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection, unless a rule ends it before anything is read."""
        self._transport = transport  # type: ignore[assignment]  # a stream server's transport is a Transport
        self._number = self._books.connected()
        self._open.add(self)
        broken = self._world.faults.on_accept() if self._world.faults.rules else None
        if broken is not None:
            self._deaf = True
            self._leave(reset=broken["disconnect"].get("how") == "rst")

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self._deaf:
            return
        if self._incoming is None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT:
                self._refuse_bytes(HEAD_TOO_LARGE)
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._deaf:
                self._refuse_bytes(BAD_REQUEST)
            return
        if self._slow_read:
            self._throttle(len(data))

    def eof_received(self) -> bool:
        """The client sends no more: it has left."""
        return False

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_paused = False
        if self._current is not None and self._timer is None:
            self._play()

    def connection_lost(self, error: Exception | None) -> None:
        """End whatever was going on."""
        self._lost = True
        self._books.disconnected()
        self._open.discard(self)
        if not self._open:
            self._all_gone.set()
        for timer in (self._timer, self._read_timer):
            if timer is not None:
                timer.cancel()
        unfinished = [self._current, *self._waiting]
        if self._incoming is not None and self._incoming not in unfinished:
            unfinished.append(self._incoming)
        self._current = self._incoming = None
        self._waiting.clear()
        for exchange in unfinished:
            if exchange is not None:
                self._abandoned(exchange)

    def abort(self) -> None:
        """Break the connection because the server stops."""
        self._stopping = True
        self._transport.abort()

    # The parser's calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers, self._fields, self._repeated = [], {}, []

    def on_url(self, url: bytes) -> None:
        """Take a part of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header field."""
        self._headers.append((name, value))
        lower = name.lower()
        if lower in self._fields:
            self._repeated.append(lower)
        else:
            self._fields[lower] = value

    def on_headers_complete(self) -> None:
        """Look at a head: what is refused or answered at once is not read further."""
        parser, fields = self._parser, self._fields
        target = self._url.decode("latin-1")
        path, _, query = target.partition("?")
        request = Request(
            parser.get_method().decode(), target, path, query, self._headers, fields, self._repeated,
            parser.get_http_version(), parser.should_keep_alive(),
        )  # fmt: skip
        if path.startswith("/_fake/"):
            exchange = Exchange(request, None)
        else:
            exchange = Exchange(request, self._entry(request))
            if self._world.faults.rules:
                exchange.held = self._world.faults.on_head(
                    Facts(request.method, path, self._headers, *self._who(request))
                )
        self._incoming = exchange
        self._head_bytes = 0
        if exchange.held is not None and self._at_head(exchange, exchange.held):
            return
        length = fields.get(b"content-length")
        if length is not None and int(length) > self._service.body_limit(path):
            self._too_large(exchange)
        elif b"expect" in fields and fields[b"expect"].lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Take a piece of a request's body."""
        exchange = self._incoming
        if exchange is None or self._deaf:
            return
        request = exchange.request
        request.received += len(data)
        if exchange.script is not None:
            return
        if request.received > self._service.body_limit(request.path):
            self._too_large(exchange)
            return
        request.chunks.append(data)
        if exchange.entry is not None and len(request.chunks) < MOST_TIMES:
            exchange.entry.body_times.append(time.monotonic())

    def on_message_complete(self) -> None:
        """A whole request is there."""
        exchange, self._incoming = self._incoming, None
        if exchange is None or self._deaf:
            return
        exchange.received = True
        self._slow_read = 0.0
        if exchange.script is not None:
            return
        chunks = exchange.request.chunks
        exchange.request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        exchange.request.chunks = []
        if self._current is None:
            self._serve(exchange)
        else:
            self._waiting.append(exchange)
            if len(self._waiting) >= MOST_QUEUED:
                self._transport.pause_reading()

    # Requests.

    def _entry(self, request: Request) -> LogEntry:
        return LogEntry(
            self._books.begin(),
            self._number,
            request.method,
            request.target,
            request.headers,
            time.monotonic(),
            request_id=self._world.ids.new("req_"),
        )

    def _who(self, request: Request) -> tuple[str | None]:
        entry = LogEntry(0, 0, "", "", [], 0.0)
        self._service.attribute(request, entry)
        return (entry.account,)

    def _at_head(self, exchange: Exchange, held: Action) -> bool:
        """Apply what a rule asks before the body is read; True when that was the answer."""
        if held.get("slow_read"):
            self._slow_read = float(held["slow_read"])
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        if not held.get("early_response") or exchange.entry is None:
            return False
        reply, action = self._service.answer_head(exchange.request, exchange.entry, held)
        if held["early_response"] == "close":
            reply.close = True
        self._current = exchange
        self._start(exchange, reply, action)
        return True

    def _too_large(self, exchange: Exchange) -> None:
        """Refuse a body from its head, or as soon as it has become too long."""
        self._deaf = True
        self._incoming = None
        request_id = "req_" if exchange.entry is None else str(exchange.entry.request_id)
        if exchange.entry is not None:
            self._service.attribute(exchange.request, exchange.entry)
        reply = refuse(Refusal(413, TOO_LARGE), request_id)
        reply.close = reply.linger = True
        self._current = exchange
        self._start(exchange, reply, {})

    def _serve(self, exchange: Exchange) -> None:
        self._current = exchange
        request, entry = exchange.request, exchange.entry
        if entry is None:
            self._start(exchange, self._control.answer(request), {})
            return
        entry.body = request.body
        coding = request.fields.get(b"content-encoding")
        if coding is not None and request.path in SPOKEN:
            body = decoded(request.body, coding, self._service.body_limit(request.path))
            if isinstance(body, Refusal):
                self._service.attribute(request, entry)
                self._start(exchange, refuse(body, str(entry.request_id)), {})
                return
            request.body = body
        reply, action = self._service.answer(request, entry, exchange.held)
        self._start(exchange, reply, action)

    # Answers.

    def _start(self, exchange: Exchange, reply: Reply, action: Action) -> None:
        request, entry = exchange.request, exchange.entry
        ask = Ask(
            str(entry.request_id) if entry is not None else "req_01control0000000000000000",
            request.fields.get(b"accept-encoding"),
            request.method == "HEAD",
            request.keep_alive,
            request.version == "1.1",
        )
        form = self._world.settings
        if action and entry is not None:
            script = scripted(reply, action, ask, form, self._world.rng)
            entry.action = action
        else:
            script = plain(reply, ask, form)
        exchange.reply, exchange.script = reply, script
        if entry is not None and script.head:
            entry.status = reply.status
            entry.response_head = script.head
        self._play()

    def _play(self) -> None:
        """Write until the script pauses, the client is slow, or the answer ends."""
        self._timer = None
        exchange = self._current
        if exchange is None or exchange.script is None or self._lost:
            return
        steps = exchange.script.steps
        while not self._write_paused:
            step = steps[exchange.at]
            if isinstance(step, bytes):
                self._write(exchange, step)
            elif isinstance(step, Pause):
                exchange.at += 1
                self._timer = self._loop.call_later(step.seconds, self._play)
                return
            else:
                self._end(exchange, step)
                return

    def _write(self, exchange: Exchange, data: bytes) -> None:
        """Write a step, or the next slice of a long one."""
        if len(data) > SLICE:
            piece = data[exchange.offset : exchange.offset + SLICE]
            exchange.offset += SLICE
            if exchange.offset >= len(data):
                exchange.offset = 0
                exchange.at += 1
        else:
            piece = data
            exchange.at += 1
        entry = exchange.entry
        if entry is not None:
            entry.response_bytes += len(piece)
            if len(entry.write_times) < MOST_TIMES:
                entry.write_times.append(time.monotonic())
        self._transport.write(piece)

    def _end(self, exchange: Exchange, end: End) -> None:
        if end.how == "hang":
            return
        entry = exchange.entry
        if entry is not None:
            entry.complete = end.whole
            entry.aborted = None if end.whole else "server"
            self._close_entry(exchange, whole=True)
        self._current = None
        if end.how == "keep":
            self._next()
        elif exchange.reply is not None and exchange.reply.linger:
            self._linger()
        else:
            self._deaf = True
            self._leave(reset=end.how == "reset")

    def _next(self) -> None:
        if not self._waiting:
            return
        if len(self._waiting) >= MOST_QUEUED:
            self._transport.resume_reading()
        self._loop.call_soon(self._serve_next)

    def _serve_next(self) -> None:
        if self._waiting and self._current is None and not self._lost:
            self._serve(self._waiting.popleft())

    def _abandoned(self, exchange: Exchange) -> None:
        """Log an exchange whose connection is gone."""
        if exchange.entry is None:
            return
        if not exchange.entry.body and exchange.request.chunks:
            exchange.entry.body = b"".join(exchange.request.chunks)
        exchange.entry.aborted = "server" if self._stopping else "client"
        self._close_entry(exchange, whole=False)

    def _close_entry(self, exchange: Exchange, *, whole: bool) -> None:
        entry, script = exchange.entry, exchange.script
        if entry is None or entry.ended_at is not None:
            return
        if script is not None:
            begun = exchange.at > script.first_body_step
            entry.usage = script.told if whole else script.started if begun else None
        if exchange.request.holder is not None:
            exchange.request.holder.in_flight -= 1
        self._books.end(entry, script.entity if script is not None else b"", time.monotonic())

    # The end of a connection, and slowness.

    def _refuse_bytes(self, answer: bytes) -> None:
        self._deaf = True
        self._transport.write(answer)
        self._linger()

    def _leave(self, *, reset: bool) -> None:
        if not reset:
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _linger(self) -> None:
        """Say that the answer is over, and let the client finish sending before the connection ends."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._read_timer = self._loop.call_later(LINGER_S, self._transport.close)

    def _throttle(self, size: int) -> None:
        if self._lost or self._transport.is_closing():
            return
        self._transport.pause_reading()
        self._read_timer = self._loop.call_later(size / self._slow_read, self._read_on)

    def _read_on(self) -> None:
        if not self._lost and not self._transport.is_closing():
            self._transport.resume_reading()


def decoded(body: bytes, coding: bytes, limit: int) -> bytes | Refusal:
    """Undo a request's content coding, up to `limit` bytes."""
    name = coding.strip().lower()
    if name == b"identity":
        return body
    if name not in {b"gzip", b"deflate"}:
        details = {"error_code": "request_body_encoding_unsupported"}
        return Refusal(415, f"Unsupported content-encoding: {name.decode('latin-1')}", details=details)
    state = zlib.decompressobj(31 if name == b"gzip" else 15)
    try:
        plain_body = state.decompress(body, limit + 1)
    except zlib.error:
        plain_body = b""
    if len(plain_body) > limit:
        return Refusal(413, TOO_LARGE)
    if not state.eof:
        details = {"error_code": "request_body_encoding_invalid"}
        return Refusal(400, "The request body could not be decoded.", details=details)
    return plain_body
