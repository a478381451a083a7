"""The HTTP/1.1 core without I/O: what is sent, what is understood, what is refused."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from ccflare.errors import TransportError
from ccflare.transport import http1
from ccflare.transport.heads import ResponseHead
from ccflare.transport.http1 import ResponseParser, serialize_head
from ccflare.wire import Body, Headers, Origin, OutgoingRequest, Serialized

ORIGIN = Origin("https", "api.example", 443)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Answer(NamedTuple):
    """What came of feeding bytes to a parser."""

    head: ResponseHead | None
    body: bytes
    complete: bool
    error: str | None
    reusable: bool


def answer(*pieces: bytes, method: bytes = b"GET", eof: bool = False) -> Answer:
    parser = ResponseParser()
    parser.expect(method)
    body = b""
    for piece in pieces:
        if not parser.done:
            body += parser.feed(piece)
    if eof:
        parser.eof()
    error = parser.error.kind if parser.error else None
    return Answer(parser.head, body, parser.complete, error, parser.complete and parser.reusable)


def request(
    method: bytes = b"POST",
    target: bytes = b"/v1/messages",
    headers: Headers | None = None,
    body: Body = b"",
    length: int | None = 0,
) -> OutgoingRequest:
    return OutgoingRequest(method, target, headers or [], body, length)


async def pieces() -> AsyncIterator[bytes]:
    yield b""  # never taken: only the type matters


# Requests.


def test_a_head_is_the_line_the_host_the_fields_and_the_framing() -> None:
    """A request head has our Host and framing around the caller's fields, which keep order and spelling."""
    head = serialize_head(request(headers=[(b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"3")], body=b"hello"), ORIGIN)
    assert head == (
        b"POST /v1/messages HTTP/1.1\r\nHost: api.example\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\nContent-Length: 5\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "headers", "body", "length", "framing"),
    [
        (b"GET", [], b"", 0, b""),
        (b"HEAD", [], b"", 0, b""),
        (b"DELETE", [], b"", 0, b""),
        (b"POST", [], b"", 0, b"Content-Length: 0\r\n"),
        (b"GET", [(b"content-length", b"0")], b"", 0, b"Content-Length: 0\r\n"),
        (b"GET", [], b"x", 1, b"Content-Length: 1\r\n"),
        (b"DELETE", [], bytearray(b"xy"), 2, b"Content-Length: 2\r\n"),
        (b"POST", [], b"abc", None, b"Content-Length: 3\r\n"),
        (b"POST", [], pieces(), 70_000_000, b"Content-Length: 70000000\r\n"),
        (b"POST", [], pieces(), None, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_framing_says_what_follows(
    method: bytes, headers: Headers, body: Body, length: int | None, framing: bytes
) -> None:
    """The framing is a length when it is known and means something, chunked when it is not, else absent."""
    head = serialize_head(request(method, b"/", headers, body, length), ORIGIN)
    assert head == method + b" / HTTP/1.1\r\nHost: api.example\r\n" + framing + b"\r\n"


def test_host_and_framing_are_never_the_callers() -> None:
    """Host, Content-Length and Transfer-Encoding among the fields are replaced, whatever their case."""
    fields = [(b"HOST", b"evil"), (b"Content-length", b"9"), (b"TRANSFER-encoding", b"chunked"), (b"X", b"y")]
    head = serialize_head(request(headers=fields, body=b"hello"), ORIGIN)
    assert head.split(b"\r\n")[1:] == [b"Host: api.example", b"X: y", b"Content-Length: 5", b"", b""]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (Origin("http", "a.example", 80), b"a.example"),
        (Origin("http", "a.example", 443), b"a.example:443"),
        (Origin("https", "::1", 8443), b"[::1]:8443"),
    ],
)
def test_host_names_the_port_only_where_it_is_not_the_schemes(origin: Origin, host: bytes) -> None:
    """Host is the authority of the origin."""
    assert b"\r\nHost: " + host + b"\r\n" in serialize_head(request(), origin)


def test_a_plain_proxy_gets_the_absolute_form() -> None:
    """The absolute-form carries the origin, and the fields for the proxy come along."""
    origin = Origin("http", "a.example", 8080)
    extra = [(b"Proxy-Authorization", b"Basic eA==")]
    head = serialize_head(request(b"GET", b"/a?b"), origin, absolute=True, extra=extra)
    assert head == (
        b"GET http://a.example:8080/a?b HTTP/1.1\r\nHost: a.example:8080\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    )
    assert serialize_head(request(b"OPTIONS", b"*"), origin, absolute=True).startswith(
        b"OPTIONS http://a.example:8080 HTTP/1.1\r\n"
    )
    assert serialize_head(request(b"OPTIONS", b"*"), origin).startswith(b"OPTIONS * HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "bad",
    [
        request(method=b""),
        request(method=b"GET /x"),
        request(method=b"GET\r\nX:"),
        request(target=b""),
        request(target=b"*"),
        request(target=b"@evil/"),
        request(target=b"http://evil/"),
        request(target=b"/a b"),
        request(target=b"/a\r\nX: y"),
        request(target=b"/a\0"),
        request(target=b"/a\x7f"),
        request(headers=[(b"", b"y")]),
        request(headers=[(b"X", b"y"), (b"", b"y")]),
        request(headers=[(b"X ", b"y")]),
        request(headers=[(b"X:", b"y")]),
        request(headers=[(b"X\n", b"y")]),
        request(headers=[(b"X\r\nY", b"y")]),
        request(headers=[(b"X\xe9", b"y")]),
        request(headers=[(b"X", b"y\r\nZ: z")]),
        request(headers=[(b"X", b"y\nZ: z")]),
        request(headers=[(b"X", b"y\rZ: z")]),
        request(headers=[(b"X", b"y\0")]),
    ],
)
def test_nothing_leaves_its_place_in_a_request(bad: OutgoingRequest) -> None:
    """A method, target, name or value that would break the head open is refused."""
    with pytest.raises(TransportError) as caught:
        serialize_head(bad, ORIGIN)
    assert caught.value.kind == "protocol_error"


def test_names_are_judged_alike_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered about names changes no head, holds no bad or own name, and has a bound."""
    monkeypatch.setattr(http1, "_ordinary_names", set())
    monkeypatch.setattr(http1, "_MAX_ORDINARY_NAMES", 2)
    fields = [(b"A", b"1"), (b"host", b"x"), (b"B", b"2"), (b"C", b"3"), (b"Z" * 100, b"4")]
    heads = {serialize_head(request(headers=fields), ORIGIN) for _ in range(3)}
    assert [head.count(b"\r\n") for head in heads] == [8]
    for _ in range(2):
        with pytest.raises(TransportError):
            serialize_head(request(headers=[*fields, (b"D E", b"")]), ORIGIN)
    assert len(http1._ordinary_names) == 2
    assert http1._ordinary_names < {b"A", b"B", b"C"}


def test_a_chunk_is_its_size_and_its_bytes() -> None:
    """Chunk sizes are hexadecimal."""
    assert http1.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


# Answers.


def test_a_head_keeps_what_the_server_wrote() -> None:
    """Status, reason, order, spelling and repeated fields survive; white space around values goes."""
    got = answer(b"HTTP/1.1 529 Site  is overloaded\r\nX-A: 1\r\nset-cookie: a\r\nSet-Cookie:b \t\r\nE:\r\n\r\n")
    assert got.head is not None
    assert (got.head.status, got.head.reason, got.head.http_version) == (529, b"Site  is overloaded", "1.1")
    assert got.head.section.headers == [(b"X-A", b"1"), (b"set-cookie", b"a"), (b"Set-Cookie", b"b"), (b"E", b"")]


@pytest.mark.parametrize("line", [b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 \r\n"])
def test_the_reason_may_be_absent(line: bytes) -> None:
    """An empty reason phrase is no error."""
    got = answer(line + b"Content-Length: 0\r\n\r\n")
    assert got.complete
    assert got.head
    assert got.head.reason == b""


def test_a_length_ends_the_body() -> None:
    """A body with a length is complete at its last byte and leaves the connection reusable."""
    got = answer(OK + b"Content-Length: 5\r\n\r\nhel", b"lo")
    assert (got.body, got.complete, got.reusable) == (b"hello", True, True)
    assert got.head
    assert (got.head.content_length, got.head.chunked, got.head.close_delimited) == (5, False, False)


def test_a_missing_byte_is_a_cut() -> None:
    """A body that ends before its length or its last chunk is not complete at the end of the connection."""
    for cut in (OK + b"Content-Length: 5\r\n\r\nhell", CHUNKED + b"5\r\nhello\r\n0\r\n", CHUNKED, OK, b""):
        assert not answer(cut, eof=True).complete


def test_a_serialized_head_is_used_again_for_the_same_target_and_origin() -> None:
    """Only the framing is written anew; another target or origin has lines of its own."""
    kept, elsewhere = Serialized(), Origin("http", "b.example", 80)
    fields = [(b"x-a", b"1"), (b"content-length", b"5")]

    def made(target: bytes, origin: Origin, body: bytes, headers: Headers) -> bytes:
        return serialize_head(OutgoingRequest(b"POST", target, headers, body, len(body), kept), origin)

    first = made(b"/a", ORIGIN, b"hello", fields)
    lines, expected = kept.lines, first.replace(b"Content-Length: 5", b"Content-Length: 2")
    assert made(b"/a", ORIGIN, b"hi", []) == expected
    assert kept.lines is lines
    for target, origin in ((b"/b", ORIGIN), (b"/b", elsewhere), (b"/a", ORIGIN)):
        request = OutgoingRequest(b"POST", target, fields, b"hi", 2)
        assert made(target, origin, b"hi", fields) == serialize_head(request, origin)


def test_chunks_are_joined_and_trailers_kept_out_of_the_head() -> None:
    """Chunk extensions and trailers do not appear in the body or among the header fields."""
    got = answer(CHUNKED + b'2;a="b"\r\nhe\r\n3\r\nllo\r\n0\r\nX-Checksum: 1\r\n\r\n')
    assert (got.body, got.complete, got.reusable) == (b"hello", True, True)
    assert got.head
    assert got.head.section.headers == [(b"Transfer-Encoding", b"chunked")]
    assert got.head.chunked


def test_a_body_without_framing_ends_with_the_connection() -> None:
    """A close-delimited body is complete when the peer has ended the connection, which is then used up."""
    parts = (OK + b"\r\nhel", b"lo")
    assert not answer(*parts).complete
    got = answer(*parts, eof=True)
    assert (got.body, got.complete, got.reusable) == (b"hello", True, False)
    assert got.head
    assert got.head.close_delimited


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_some_statuses_have_no_body(status: bytes) -> None:
    """204 and 304 end with their head, whatever length they mention."""
    got = answer(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
    assert (got.body, got.complete, got.reusable) == (b"", True, True)


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"", b"Content-Length: 0\r\n"]
)
def test_head_has_no_body_and_keeps_the_connection(fields: bytes) -> None:
    """The answer to HEAD ends with its head, and the next answer is read from its beginning."""
    parser = ResponseParser()
    parser.expect(b"HEAD")
    assert parser.feed(OK + fields + b"\r\n") == b""
    assert parser.complete
    assert parser.reusable
    parser.expect(b"GET")
    assert parser.feed(OK + b"Content-Length: 2\r\n\r\nhi") == b"hi"
    assert parser.complete


def test_a_body_after_head_spoils_the_connection() -> None:
    """A server that sends a body for HEAD does not get it mixed into the next answer."""
    got = answer(OK + b"Content-Length: 5\r\n\r\nhello", method=b"HEAD")
    assert (got.body, got.complete, got.reusable) == (b"", True, False)


def test_head_without_keep_alive_closes() -> None:
    """Connection: close counts for HEAD as well."""
    assert not answer(OK + b"Connection: Close\r\n\r\n", method=b"HEAD").reusable
    assert not answer(b"HTTP/1.0 200 OK\r\n\r\n", method=b"HEAD").reusable


def test_interim_answers_are_skipped() -> None:
    """Any mix of 100, 102 and 103 before the final answer leaves no trace in it."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 4\r\n\r\n"
    got = answer(interim * 5 + OK + b"Content-Length: 2\r\n\r\nhi")
    assert got.head
    assert (got.head.status, got.head.reason) == (200, b"OK")
    assert got.head.section.headers == [(b"Content-Length", b"2")]
    assert (got.body, got.complete) == (b"hi", True)


def test_interim_answers_are_bounded() -> None:
    """An endless row of interim answers is refused."""
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    final = OK + b"Content-Length: 0\r\n\r\n"
    assert answer(hint * http1.MAX_INTERIM + final).complete
    assert answer(hint * (http1.MAX_INTERIM + 1) + final).error == "protocol_error"


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: x\r\n", True),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n", False),
    ],
)
def test_keep_alive_follows_version_and_connection(head: bytes, keeps: bool) -> None:
    """A connection is reusable when RFC 9112 §9.3 says that it persists."""
    got = answer(head + (b"" if b"204" in head else b"Content-Length: 2\r\n") + b"\r\n" + b"hi" * (b"204" not in head))
    assert (got.complete, got.reusable) == (True, keeps)


@pytest.mark.parametrize("behind", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nho", b"\0"])
@pytest.mark.parametrize(
    "whole",
    [
        OK + b"Content-Length: 2\r\n\r\nhi",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        CHUNKED + b"2\r\nhi\r\n0\r\n\r\n",
    ],
)
def test_bytes_behind_an_answer_spoil_the_connection_and_not_the_answer(whole: bytes, behind: bytes) -> None:
    """What follows a complete answer belongs to no request: the answer stands, the connection does not."""
    got = answer(whole + behind)
    assert (got.body, got.complete, got.error, got.reusable) == (b"hi", True, None, False)


L2 = b"Content-Length: 2\r\n"


@pytest.mark.parametrize(
    "bad",
    [
        b"garbage\r\n\r\n",
        b"<html>no</html>",
        b"\x16\x03\x01",
        b"HTTP/2.0 200 OK\r\n" + L2 + b"\r\nhi",
        b"HTTP/0.9 200 OK\r\n" + L2 + b"\r\nhi",
        b"HTTP/1.1 99 No\r\n\r\n",
        b"HTTP/1.1 099 No\r\n" + L2 + b"\r\nhi",
        b"HTTP/1.1 2000 No\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\x01K\t\r\n" + L2 + b"\r\nhi",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        OK + L2 + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n" + L2 + b"\r\n0\r\n\r\n",
        OK + L2 + b"Content-Length: 3\r\n\r\nhi",
        OK + b"Content-Length: 2, 3\r\n\r\nhi",
        OK + b"Content-Length: -2\r\n\r\nhi",
        OK + b"Content-Length: +2\r\n\r\nhi",
        OK + b"Content-Length: 0x2\r\n\r\nhi",
        OK + b"Content-Length: 2 2\r\n\r\nhi",
        OK + b"Content-Length: \r\n\r\nhi",
        OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhi",
        OK + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\nhi",
        OK + b"Transfer-Encoding: gzip\r\n\r\nhi",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"X: a\r\n b\r\n" + L2 + b"\r\nhi",
        b"HTTP/1.1 200 OK\n" + L2 + b"\r\nhi",
        OK + b"X: a\n" + L2 + b"\r\nhi",
        OK + b"X: a\rb\r\n" + L2 + b"\r\nhi",
        OK + b"X: a\0b\r\n" + L2 + b"\r\nhi",
        OK + b"X : a\r\n" + L2 + b"\r\nhi",
        OK + b": a\r\n" + L2 + b"\r\nhi",
        CHUNKED + b"5\nhello\r\n0\r\n\r\n",
        CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
        CHUNKED + b"0\r\nX: a\n\r\n",
        CHUNKED + b"0\r\nContent-Length: 7\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(bad: bytes) -> None:
    """Malformed and ambiguous answers are protocol errors and never complete, whole or byte by byte."""
    for got in (answer(bad, eof=True), answer(*[bytes([byte]) for byte in bad], eof=True)):
        assert got.error == "protocol_error"
        assert not got.complete


def test_heads_are_bounded() -> None:
    """Too many bytes or fields in a head, an interim head or a trailer are refused, fewer pass."""
    field = b"X: " + b"y" * 994 + b"\r\n"
    inside = http1.MAX_HEAD_BYTES // len(field) - 1
    many = http1.MAX_FIELDS - 1
    assert answer(OK + field * inside + b"Content-Length: 0\r\n\r\n").complete
    assert answer(OK + b"X: y\r\n" * many + b"Content-Length: 0\r\n\r\n").complete
    for head in (
        OK + field * (inside + 2) + b"Content-Length: 0\r\n\r\n",
        OK + b"X: y\r\n" * (many + 1) + b"Content-Length: 0\r\n\r\n",
        OK + b"X: " + b"y" * (http1.MAX_HEAD_BYTES + 1),
        b"HTTP/1.1 103 Hints\r\n" + field * inside + b"\r\n" + OK + field * 2 + b"Content-Length: 0\r\n\r\n",
        CHUNKED + b"0\r\n" + field * (inside + 2) + b"\r\n",
        CHUNKED + b"0\r\n" + b"X: y\r\n" * (many + 2) + b"\r\n",
        CHUNKED + b"5;" + b"x" * (http1.MAX_HEAD_BYTES + 1),
    ):
        got = answer(head)
        assert (got.error, got.complete) == ("protocol_error", False)
        slowly = [head[at : at + 5000] for at in range(0, len(head), 5000)]
        assert answer(*slowly).error == "protocol_error"


def test_a_large_read_with_a_small_head_is_no_large_head() -> None:
    """Body bytes in the same read do not count against the head's bound."""
    body = b"x" * (2 * http1.MAX_HEAD_BYTES)
    got = answer(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (got.complete, len(got.body)) == (True, len(body))


def test_what_came_before_an_error_is_kept() -> None:
    """Body bytes before a broken chunk are returned, then the error stands."""
    got = answer(CHUNKED + b"5\r\nhello\r\nnonsense")
    assert (got.body, got.error) == (b"hello", "protocol_error")


def test_errors_name_no_header_value() -> None:
    """The text of a protocol error repeats nothing of the answer."""
    parser = ResponseParser()
    parser.feed(OK + b"X: secret\0\r\n\r\n")
    assert parser.error
    assert "secret" not in str(parser.error)
