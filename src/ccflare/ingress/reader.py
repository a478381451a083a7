"""Requests out of the bytes of one connection.

Whatever another server could read differently is refused, never repaired (RFC 9112 §11). llhttp (under
httptools) finds broken tokens, bare LF and CR, folded lines, wrong and doubled lengths. What it lets pass was
measured (httptools 0.9) and is closed here: codings other than one `chunked`, coded bodies of HTTP/1.0, versions
0.9 and 2.0, targets that are no path, absurd lengths, endless heads, trailers and chunk extensions.
"""

import asyncio
import re
from typing import Any, Protocol

import httptools

from ccflare.gate import Gate, Refusal
from ccflare.ingress import request
from ccflare.ingress.bounds import Bounds
from ccflare.ingress.head import KnownHead, RequestHead, known_head, new_head
from ccflare.ingress.request import ClientRequest
from ccflare.wire import Headers


class Connection(request.Connection, Protocol):
    """What a reader needs of its connection: `Ingress`."""

    deadline: float | None
    """When what is awaited is overdue, in the loop's time; None: nothing is awaited of the client."""

    def begun(self) -> None:
        """Take note of the first byte of a head."""
        ...

    def arrived(self, request: ClientRequest) -> bool:
        """Take a request whose head is complete; False when too many wait already."""
        ...

    def refuse(self, status: int, message: str) -> None:
        """Read nothing more, and say why when its turn comes."""
        ...


_ABSOLUTE = re.compile(rb"http://([^/?#@]+)([/?].*)?", re.IGNORECASE | re.DOTALL)
_TOO_LARGE = "The request head is too large"
_TOO_LONG = 413, "The request body is too large"
_TOO_MANY = "Too many pipelined requests"


class _Stop(Exception):  # not an error: it makes llhttp stop at a request that is refused
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Reader:
    """Parses what a client sends."""

    def __init__(self, connection: Connection, gate: Gate, bounds: Bounds) -> None:
        self._connection = connection
        self._loop: asyncio.AbstractEventLoop = connection.loop
        self._gate = gate
        self._bounds = bounds
        self._parser: Any = httptools.HttpRequestParser(self)
        self._headers: Headers = []
        self._unheard_bytes = 0
        """Bytes without a head, a piece of body or an end of a message in them: of a part that may have no end."""
        self._may_be_large = False
        self._body_by = 0.0
        """When the body that arrives now must have arrived."""
        self._upgrade = False
        self._chunk = b""
        """What is parsed now, as long as it may begin with a whole head."""
        self._known: KnownHead | None = None
        """The last head that may come again."""
        self._missing_bytes = 0
        """Of a body that follows a head which was recognised, and which llhttp does not hear of."""
        self.target = b""
        """Of the request that is read now, or was read last."""
        self.in_head = False
        self.arriving: ClientRequest | None = None
        """The request whose body is not complete."""

    def feed(self, data: bytes) -> None:
        """Parse, and refuse what cannot be parsed."""
        if self._missing_bytes:
            data = self._take_missing(data)
        # Between two requests: llhttp does not know that there was one between.
        while data and self._known is not None and self.arriving is None and not self.in_head:
            found = self._known.again(data)
            if found is None:
                break
            data = self._take_known(*found, data)
        if data:
            self._parse(data)

    def _take_known(self, head: RequestHead, at: int, data: bytes) -> bytes:
        """Pass on a request whose head was recognised, and what is there of its body; return what is behind it."""
        connection, now = self._connection, self._loop.time()
        request = ClientRequest(connection, head)
        request.keep_alive = True
        self.target = request.target
        self._unheard_bytes = 0
        if request.length is None or request.length > self._bounds.length:
            connection.refuse(*_TOO_LONG)
            return b""
        if not connection.arrived(request):
            connection.refuse(400, _TOO_MANY)
            return b""
        self.arriving = request
        self._missing_bytes = request.length
        self._body_by = now + self._bounds.whole_body_s
        connection.deadline = now + self._bounds.body_s
        return self._take_missing(data[at:])

    def _take_missing(self, data: bytes) -> bytes:
        """Give a body what it misses; return what is behind it."""
        missing, request = self._missing_bytes, self.arriving
        piece, rest = data[:missing], data[missing:]
        self._missing_bytes = missing - len(piece)
        if request is not None and piece:
            if self._missing_bytes:
                self._connection.deadline = min(self._loop.time() + self._bounds.body_s, self._body_by)
            request.take(piece)
        if not self._missing_bytes:
            self.on_message_complete()
        return rest

    def _parse(self, data: bytes) -> None:
        self._unheard_bytes += len(data)
        self._may_be_large = self._unheard_bytes > self._bounds.head_bytes
        self._chunk = b"" if self.in_head or self.arriving is not None else data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            behind_head = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self._stopped(error)
            return
        else:
            if self._unheard_bytes > self._bounds.head_bytes:  # a field or chunk extension without an end
                self._connection.refuse(431, _TOO_LARGE)
            return
        if self.arriving is not None:
            self._go_on_without_upgrade(self.arriving, behind_head)

    def close(self) -> None:
        """Let go of the parser, which refers back to this object."""
        self._parser = None
        self.arriving = None

    def _stopped(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if not isinstance(error, httptools.HttpParserCallbackError):
            self._connection.refuse(400, f"Invalid HTTP request: {error}")
        elif isinstance(cause, _Stop):
            self._connection.refuse(cause.status, str(cause))
        else:
            raise cause or error

    def _go_on_without_upgrade(self, request: ClientRequest, rest: bytes) -> None:
        """Read the body of a request whose wish for another protocol is not granted (RFC 9110 §7.8).

        Java's client asks for h2c with every first request. llhttp leaves the body to the other protocol, so a
        second parser is told of it. What follows the body is not heard: the request does not keep the
        connection alive.
        """
        self._parser = httptools.HttpRequestParser(_BodyOnly(self))
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % _framing(request))
        self._unheard_bytes = 0
        self.feed(rest)

    # Called by httptools.

    def on_message_begin(self) -> None:
        """Prepare for a request."""
        self.target = b""
        self._headers = []
        self.in_head = True
        self._connection.begun()

    def on_url(self, piece: bytes) -> None:
        """Collect the request target."""
        self.target += piece
        if len(self.target) > self._bounds.target_bytes:
            raise _Stop(414, "The request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header with its spelling, or a trailer, which `on_message_begin` drops."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge a head, and pass the request on."""
        parser, loop = self._parser, self._loop
        headers, self._headers = self._headers, []
        self.in_head = False
        self._unheard_bytes = 0
        if (self._may_be_large and _size(headers) > self._bounds.head_bytes) or len(headers) > self._bounds.fields:
            raise _Stop(431, _TOO_LARGE)
        version = parser.get_http_version()
        head = new_head(parser.get_method(), self.target, headers, version)
        request = ClientRequest(self._connection, head)
        refusal = _judge(request, self._bounds) or self._gate.refusal(request)
        self.target = request.target
        if refusal is not None:
            raise _Stop(*refusal)
        self._upgrade = parser.should_upgrade()
        request.keep_alive = version == "1.1" and not self._upgrade and parser.should_keep_alive()
        if not self._connection.arrived(request):
            raise _Stop(400, _TOO_MANY)
        chunk, self._chunk = self._chunk, b""
        if not request.keep_alive:
            self._known = None  # nothing is read behind it
        elif chunk and request.length and b"expect" not in request.fields:
            head.target = request.target
            self._known = known_head(head, chunk)
        if request.reading:
            self.arriving = request
            self._body_by = loop.time() + self._bounds.whole_body_s
            deadline = None if request.awaits_continue else loop.time() + self._bounds.body_s
            self._connection.deadline = deadline

    def on_body(self, piece: bytes) -> None:
        """Give a piece of the body to its request."""
        self._unheard_bytes = 0
        if self.arriving is not None:
            self._connection.deadline = min(self._loop.time() + self._bounds.body_s, self._body_by)
            self.arriving.take(piece)

    def on_message_complete(self) -> None:
        """Note that the request is complete; from now on only its exchange has a deadline."""
        self._unheard_bytes = 0
        if self._upgrade:
            self._upgrade = False  # so llhttp says, but a body may still come
            if self.arriving is not None:
                return
        self._connection.deadline = None
        request, self.arriving = self.arriving, None
        if request is not None:
            request.take_end()


class _BodyOnly:
    """Hears of a body whose head is one of our own; what may come behind it is not heard."""

    def __init__(self, reader: Reader) -> None:
        self.on_body = reader.on_body
        self.on_message_complete = reader.on_message_complete


def _read_absolute_form(request: ClientRequest) -> None:
    """Turn `http://host/path` into the path where the host is the one that `Host` names (RFC 9112 §3.2.2).

    Clients that take us for a proxy send it; the gate tells whether the host is ours. Anything else stays and is
    refused.
    """
    found = _ABSOLUTE.fullmatch(request.target)
    if found is not None and found[1].lower() == request.fields.get(b"host", b"").lower():
        path = found[2] or b"/"
        request.target = path if path.startswith(b"/") else b"/" + path


def _framing(request: ClientRequest) -> bytes:
    return b"transfer-encoding: chunked" if request.length is None else b"content-length: %d" % request.length


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _judge(request: ClientRequest, bounds: Bounds) -> Refusal | None:
    """Return why a request is refused for its form, or None; RFC 9112 §3.2, §6.1, §6.3."""
    if request.http_version not in {"1.1", "1.0"}:
        return 505, "This server speaks HTTP/1.1"
    if not request.target.startswith(b"/"):
        _read_absolute_form(request)
    target = request.target
    if request.method == b"CONNECT" or not target.startswith(b"/") or b"#" in target:
        return 400, "The request target must be a path: this is not a forward proxy"
    if not request.reading:
        return None
    if request.length is None:
        codings = [value.strip().lower() for name, value in request.headers if name.lower() == b"transfer-encoding"]
        if codings != [b"chunked"] or request.http_version == "1.0":
            return 400, "The only transfer coding is one `chunked`, in HTTP/1.1"
    elif request.length > bounds.length:
        return _TOO_LONG
    return None
