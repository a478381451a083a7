"""HTTP/1.1 as bytes: a request head to send, an answer to read. No sockets, no clock, no event loop.

The one rule: whatever a peer could understand differently from us is refused, never repaired (RFC 9112 §11).
llhttp (under httptools) finds broken tokens, bare LF and CR, folded lines, doubled or wrong lengths and
lengths beside codings; what it lets pass was measured (httptools 0.9) and is refused here: codings other than
one `chunked`, versions other than 1.0 and 1.1, statuses below 100, controls in the reason, endless heads and
trailers, and bytes behind the end of an answer.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter

import httptools

from ccflare.errors import TransportError
from ccflare.transport.heads import Form, HeaderSection, ResponseHead, form_of
from ccflare.wire import Headers, Origin, OutgoingRequest, Serialized, connection_tokens

MAX_HEAD_BYTES = 256 * 1024
"""Bound on everything of one answer that is not body: interim heads, the head, and trailers."""
MAX_FIELDS = 1000
"""Bound on the header fields of a head, and on the trailer fields."""
MAX_INTERIM = 100
"""Bound on 1xx answers before the final one."""

WHOLE = (bytes, bytearray)
"""The types of a body that is there, as opposed to one that comes in pieces."""
LAST_CHUNK = b"0\r\n\r\n"

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROLS = bytes([*range(32), 127])
_TARGET_BREAKERS = _CONTROLS + b" "
_REASON_BREAKERS = _CONTROLS.replace(b"\t", b"")
_OWN_FIELDS = frozenset({b"host", b"content-length", b"transfer-encoding"})
_NOTHING: frozenset[bytes] = frozenset()
_name = itemgetter(0)
_ordinary_names: set[bytes] = set()
"""Names found to be tokens and not our own: clients send the same ones again and again, and looking names up
in a set takes a quarter of the time that examining them takes. Holds no more than `_MAX_ORDINARY_NAMES`."""
_plain_names: set[bytes] = set()
"""Names in answers that say nothing about framing, bounded in the same way."""
_MAX_ORDINARY_NAMES = 1000
_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})
_NO_BODY_STATUS = frozenset({204, 304})
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_LENGTH_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def protocol_error(message: str) -> TransportError:
    """Return the error for bytes that do not follow RFC 9112."""
    return TransportError("protocol_error", message)


def serialize_head(
    request: OutgoingRequest,
    origin: Origin,
    *,
    absolute: bool = False,
    extra: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Return the request line and the fields, ready to send.

    `Host`, `Content-Length` and `Transfer-Encoding` are always our own; the caller's are left out. `absolute`
    makes the absolute-form a plain proxy wants, `extra` are fields for that proxy. Raises TransportError
    (`protocol_error`) for a method, target, name or value that would not stay in its place on the wire. What was
    made for the same target and origin object is found in `request.serialized`.
    """
    kept = request.serialized or Serialized()
    if kept.origin is not origin or kept.target != request.target:
        kept.lines, kept.length_given = _lines(request, origin, absolute=absolute, extra=extra)
        kept.origin, kept.target = origin, request.target
    return kept.lines + _framing(request, length_given=kept.length_given)


def chunk(piece: bytes) -> bytes:
    """Return one piece of a body in the chunked coding; `piece` must not be empty."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _lines(
    request: OutgoingRequest, origin: Origin, *, absolute: bool, extra: Sequence[tuple[bytes, bytes]]
) -> tuple[bytes, bool]:
    """Return a head up to its framing, and whether the caller's fields have a `Content-Length`."""
    headers = [*request.headers, *extra] if extra else request.headers
    own = _NOTHING if _ordinary_names.issuperset(map(_name, headers)) else _own_names(headers)
    if own:
        headers = [pair for pair in headers if pair[0] not in own]
    authority = origin.authority
    line = _request_line(request, b"http://" + authority if absolute else b"")
    lines = b"\r\n".join([line, b"Host: " + authority, *map(b": ".join, headers), b""])
    count = len(headers) + 2
    if lines.count(b"\n") != count or lines.count(b"\r") != count or b"\0" in lines:
        raise protocol_error("a request header value contains CR, LF or NUL")
    return lines, bool(own) and b"content-length" in map(bytes.lower, own)


def _own_names(headers: Headers) -> AbstractSet[bytes]:
    """Return the spellings of our own fields among the names, after seeing that all names are tokens."""
    own = set()
    for name in set(map(_name, headers)) - _ordinary_names:
        if not name or name.translate(None, _TOKEN):
            raise protocol_error("a request header name is not a token")
        if name.lower() in _OWN_FIELDS:
            own.add(name)
        elif len(name) <= 64 and len(_ordinary_names) < _MAX_ORDINARY_NAMES:
            _ordinary_names.add(name)
    return own


def _framing(request: OutgoingRequest, *, length_given: bool) -> bytes:
    """Return what of the head says how long the body is, and the head's end."""
    body = request.body
    length = len(body) if isinstance(body, WHOLE) else request.body_length
    if length is None:
        return b"Transfer-Encoding: chunked\r\n\r\n"
    if length or length_given or request.method in _BODY_EXPECTED:
        return b"Content-Length: %d\r\n\r\n" % length
    return b"\r\n"


def _request_line(request: OutgoingRequest, prefix: bytes) -> bytes:
    method, target = request.method, request.target
    if not method or method.translate(None, _TOKEN):
        raise protocol_error("the request method is not a token")
    if target == b"*" and method == b"OPTIONS":
        target = b"" if prefix else target
    elif not target.startswith(b"/"):
        raise protocol_error("the request target does not begin with a slash")
    elif len(target.translate(None, _TARGET_BREAKERS)) != len(target):
        raise protocol_error("the request target contains a space or a control character")
    return b"%b %b%b HTTP/1.1" % (method, prefix, target)


class _BehindTheEnd(Exception):  # not an error: it stops llhttp at the first byte behind an answer
    pass


class ResponseParser:
    """Reads the answers on one connection, one `expect` and any number of `feed` for each.

    `head` is None until the final head is whole. `done` becomes true at the end of the answer (`complete`) or
    at an `error`; nothing may be fed after that before the next `expect`. What was received before an error
    is still returned, so that every split of the same bytes gives the same result.

    A head in the form of the last one is read without llhttp, and so is a body that came whole with it; llhttp gets
    the rest of any other body, behind a head that says the same of its framing.
    """

    __slots__ = (
        "_bodyless",
        "_fed_bytes",
        "_fields",
        "_form",
        "_interim",
        "_interim_bytes",
        "_llhttp",
        "_out_of_step",
        "_pieces",
        "_reason",
        "_untried",
        "complete",
        "done",
        "error",
        "head",
        "on_body",
        "reusable",
    )

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # straight from C into the list, without a Python frame
        self._out_of_step = True
        self._form: Form | None = None  # what the next head will most likely look like
        self.expect(b"GET")

    def expect(self, method: bytes) -> None:
        """Get ready for the answer to a request with this method."""
        if self._out_of_step:
            self._llhttp = httptools.HttpResponseParser(self)
            self._out_of_step = False
        self._bodyless = method == b"HEAD"
        self._untried = None if self._bodyless else self._form
        self._fields: Headers = []
        self._reason = b""
        self._interim = self._interim_bytes = self._fed_bytes = 0
        self.head: ResponseHead | None = None
        self.error: TransportError | None = None
        self.complete = self.done = False
        self.reusable = True

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the wire and return the body bytes among them (`b""` when there are none)."""
        self._fed_bytes += len(data)
        if self._untried is not None:
            data = self._recognise(self._untried, data)
            if self.done or not data:
                return data
        try:
            self._llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._stopped(error)
        pieces = self._pieces
        if not pieces:
            if self._fed_bytes > MAX_HEAD_BYTES and not self.done:
                self._fail(protocol_error("the answer's head or trailer is too large"))
            return b""
        self._fed_bytes = 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._bodyless:
            self.reusable = False
            return b""
        return body

    def eof(self) -> bool:
        """Take note that the peer has ended the connection; return whether the answer is complete."""
        self.reusable = False
        if not self.done and self.head is not None and self.head.close_delimited:
            self.complete = self.done = True
        return self.complete

    def _recognise(self, form: Form, data: bytes) -> bytes:
        """Read a head of a form, and return what is behind it: the whole body if that makes the answer `done`.

        What is of no form, or not whole yet, is returned as it came.
        """
        self._untried = None
        found = form.read(data) if len(data) <= MAX_HEAD_BYTES else None
        if found is None:
            return data
        self.head, end = found
        rest, length = data[end:], self.head.content_length
        if length == len(rest):
            self.complete = self.done = True
        else:
            self._llhttp.feed_data(_CHUNKED_HEAD if length is None else _LENGTH_HEAD % length)
        return rest

    # Called by httptools.

    def on_message_begin(self) -> None:
        """Stop at bytes behind a complete answer: they answer nothing we asked."""
        if self.complete:
            raise _BehindTheEnd

    def on_status(self, piece: bytes) -> None:
        """Collect the reason phrase, which may come in pieces."""
        self._reason += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one field of a head or of a trailer."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge a head; skip it when it is interim."""
        status = self._llhttp.get_status_code()
        fields, self._fields = self._fields, []
        if self.head is not None:
            return  # our own words for a head that was recognised
        self._check_size(fields)
        if status < 200:
            self._skip_interim(status, fields)
            return
        self.head = self._judge(status, fields)
        if self._bodyless:
            self._out_of_step = True  # llhttp cannot be told that HEAD has no body: it waits for one
            self.complete = self.done = True
            self.reusable = self.head.keep_alive
        else:
            self._form = form_of(self.head)

    def on_message_complete(self) -> None:
        """Note the end of the final answer; its trailer fields are checked and dropped (RFC 9110 §6.5.1)."""
        head = self.head
        if head is None or self.complete:
            return
        if self._fields:
            self._check_size(self._fields)
        self.complete = self.done = True
        self.reusable = head.keep_alive

    # Judgement.

    def _judge(self, status: int, fields: Headers) -> ResponseHead:
        content_length: int | None = None
        codings: list[bytes] = []
        # Nearly all fields have a name that was seen before, and no white space at their end.
        odd = [pair for pair in fields if pair[0] not in _plain_names or pair[1][-1:] <= b" "]
        for name, value in odd:
            lower = name.lower()
            if lower == b"content-length":
                content_length = int(value)
            elif lower == b"transfer-encoding":
                codings.append(value.strip(b" \t").lower())
            elif len(name) <= 64 and len(_plain_names) < _MAX_ORDINARY_NAMES:
                _plain_names.add(name)
        if any(value[-1:] in {b" ", b"\t"} for _, value in odd):
            fields = [(name, value.rstrip(b" \t")) for name, value in fields]
        version = self._llhttp.get_http_version()
        self._check_framing(version, codings)
        empty = self._bodyless or status in _NO_BODY_STATUS
        return ResponseHead(
            status=status,
            reason=self._reason,
            section=HeaderSection.of(fields),
            http_version=version,
            content_length=content_length,
            chunked=bool(codings) and not empty,
            close_delimited=not (empty or codings or content_length is not None),
            keep_alive=self._keep_alive(version, fields, empty=empty, coded=bool(codings)),
        )

    def _check_framing(self, version: str, codings: list[bytes]) -> None:
        if version not in {"1.1", "1.0"}:
            raise protocol_error("the answer's HTTP version is neither 1.1 nor 1.0")
        if codings and (codings != [b"chunked"] or version == "1.0"):
            raise protocol_error("the answer has a transfer coding other than chunked")
        if len(self._reason.translate(None, _REASON_BREAKERS)) != len(self._reason):
            raise protocol_error("the answer's reason phrase contains a control character")

    def _keep_alive(self, version: str, fields: Headers, *, empty: bool, coded: bool) -> bool:
        if not empty:
            return self._llhttp.should_keep_alive()
        if coded and not self._bodyless:
            return False  # 204 and 304 that announce a chunked body: nobody knows what follows
        tokens = connection_tokens(fields)
        return b"close" not in tokens and (version == "1.1" or b"keep-alive" in tokens)

    def _skip_interim(self, status: int, fields: Headers) -> None:
        if status < 100 or status == 101:
            raise protocol_error(
                "the answer's status is below 100" if status < 100 else "the server switched protocols"
            )
        self._interim += 1
        self._interim_bytes += _size(fields)
        self._reason = b""
        if self._interim > MAX_INTERIM:
            raise protocol_error("too many interim answers")

    def _check_size(self, fields: Headers) -> None:
        if len(fields) > MAX_FIELDS:
            raise protocol_error("the answer has too many header fields")
        if self._fed_bytes > MAX_HEAD_BYTES and self._interim_bytes + _size(fields) > MAX_HEAD_BYTES:
            raise protocol_error("the answer's head or trailer is too large")

    def _stopped(self, error: Exception) -> None:
        if self.complete:
            self.reusable = False
        elif isinstance(cause := error.__context__, TransportError):
            self._fail(cause)
        else:
            self._fail(protocol_error(f"the answer is not HTTP/1.1: {error}"))

    def _fail(self, error: TransportError) -> None:
        self.error = error
        self.done = True
        self.reusable = False


def _size(fields: Headers) -> int:
    return sum(len(name) + len(value) + 4 for name, value in fields)
