"""The HTTP/1.1 core against every split of the bytes, and against bytes that nobody meant."""

import string
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ccflare.errors import TransportError
from ccflare.transport.heads import ResponseHead
from ccflare.transport.http1 import ResponseParser, serialize_head
from ccflare.wire import Origin, OutgoingRequest

OK = b"HTTP/1.1 200 OK\r\n"
EVENT = b'event: ping\ndata: {"type": "ping"}\n\n'
STREAM = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
COOKIES = b"set-cookie: a\r\nset-cookie: b \r\n"
TWO = b"Content-Length: 2\r\n\r\n"
RECORDED = {
    "length": OK + b"Content-Type: application/json\r\n" + COOKIES + b'Content-Length: 11\r\n\r\n{"a": true}',
    "chunked": STREAM + b"".join(b"%x\r\n%b\r\n" % (len(EVENT), EVENT) for _ in range(3)) + b"0\r\n\r\n",
    "one byte a chunk": STREAM + b"".join(b"1\r\n%c\r\n" % byte for byte in EVENT) + b"0\r\n\r\n",
    "trailer": STREAM + b"5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n",
    "close-delimited": b"HTTP/1.0 200 Fine\r\nServer: old\r\n\r\nhello",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + TWO + b"hi",
    "no body": b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    "close": OK + b"Connection: close\r\n" + TWO + b"hi",
    "cut": STREAM + b"5\r\nhello\r\n5\r\nhel",
    "cut head": OK + b"Content-Ty",
    "broken chunk": STREAM + b"5\r\nhello\r\nxyz\r\n",
    "two answers": OK + TWO + b"hi" + OK + TWO + b"ho",
    "bytes behind": STREAM + b"2\r\nhi\r\n0\r\n\r\nmore",
    "both framings": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n",
}


def read(pieces: list[bytes], method: bytes = b"GET") -> tuple[ResponseHead | None, bytes, bool, str | None]:
    """Feed an answer in pieces and its end; return head, body, completeness, error."""
    parser = ResponseParser()
    parser.expect(method)
    body = b""
    for piece in pieces:
        if parser.done:
            break
        body += parser.feed(piece)
    parser.eof()
    return parser.head, body, parser.complete, parser.error.kind if parser.error else None


def test_every_single_split_gives_the_same_answer() -> None:
    """Recorded answers cut in two at any byte, or into single bytes, give the same head, body and end."""
    for name, recorded in RECORDED.items():
        for method in (b"GET", b"HEAD"):
            whole = read([recorded], method)
            assert read([bytes([byte]) for byte in recorded], method) == whole, name
            for at in range(len(recorded)):
                assert read([recorded[:at], recorded[at:]], method) == whole, (name, at)


@given(st.sampled_from(sorted(RECORDED)), st.lists(st.integers(0, 400), max_size=12))
def test_any_splits_give_the_same_answer(name: str, cuts: list[int]) -> None:
    """Recorded answers cut anywhere any number of times give the same head, body and end."""
    recorded = RECORDED[name]
    marks = [0, *sorted(min(cut, len(recorded)) for cut in cuts), len(recorded)]
    pieces = [recorded[start:end] for start, end in pairwise(marks)]
    assert read(pieces) == read([recorded])


@given(st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=20), st.booleans())
def test_a_chunked_body_arrives_as_it_was_sent(sent: list[bytes], upper: bool) -> None:
    """Any bytes in any chunks come out in order, nothing added or lost."""
    form = b"%X\r\n%b\r\n" if upper else b"%x\r\n%b\r\n"
    head, body, complete, error = read([STREAM + b"".join(form % (len(p), p) for p in sent) + b"0\r\n\r\n"])
    assert (body, complete, error) == (b"".join(sent), True, None)
    assert head


@settings(max_examples=300)
@given(
    st.sampled_from([b"", b"HTTP/1.1 ", OK, STREAM, OK + b"Content-Length: 5\r\n", STREAM + b"5\r\nhello\r\n"]),
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n", b":", b"0\r\n", b"HTTP/1.1 101 \r\n"]))),
)
@example(b"", [b"HTTP/1.1 101 \r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"x"])
@example(STREAM, [b"0\r\n", b"a", b":", b"b\r\n", b"5\r\n"])
def test_arbitrary_bytes_end_in_an_answer_or_in_the_one_error(start: bytes, rest: list[bytes]) -> None:
    """Whatever a server sends, the parser completes, waits for more, or holds a protocol error."""
    _, _, complete, error = read([start, *rest])
    assert error in {None, "protocol_error"}
    assert not (complete and error)


TOKEN = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)
ANY = st.binary(max_size=12)
ODD = st.one_of(ANY, st.sampled_from([b"a\r\nb: c", b"a\nb", b"a\rb", b"\0", b" ", b"/x y", b"/\r\n\r\nGET /"]))


@settings(max_examples=500)
@given(
    st.one_of(TOKEN.map(str.encode), ODD),
    st.one_of(st.just(b"/v1/messages"), ODD, ODD.map(lambda odd: b"/" + odd)),
    st.lists(st.tuples(st.one_of(TOKEN.map(str.encode), ODD), ODD), max_size=6),
    st.binary(max_size=3),
)
def test_a_request_head_has_exactly_the_lines_it_was_given(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """No method, target, name or value can add, end or change a line."""
    request = OutgoingRequest(method, target, headers, body, len(body))
    try:
        head = serialize_head(request, Origin("http", "a.example", 80))
    except TransportError:
        return
    lines = head.split(b"\r\n")
    assert lines[0] == method + b" " + target + b" HTTP/1.1"
    assert lines[0].count(b" ") == 2
    own = {b"host", b"content-length", b"transfer-encoding"}
    passed = [name + b": " + value for name, value in headers if name.lower() not in own]
    assert lines[1 : 2 + len(passed)] == [b"Host: a.example", *passed]
    assert lines[-2:] == [b"", b""]
    assert len(lines) - len(passed) in {4, 5}
    assert not set(b"".join(lines)) & set(b"\r\n\0")


@given(TOKEN, st.text(string.printable.strip(), max_size=20))
def test_ordinary_fields_pass_unchanged(name: str, value: str) -> None:
    """Every token is a name and every printable text is a value."""
    if name.lower() in {"host", "content-length", "transfer-encoding"}:
        return
    pair = (name.encode(), value.encode())
    head = serialize_head(OutgoingRequest(b"GET", b"/", [pair], b"", 0), Origin("http", "a", 80))
    assert head == b"GET / HTTP/1.1\r\nHost: a\r\n%b: %b\r\n\r\n" % pair


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_parser_reads_the_next_answer_like_the_first(name: str) -> None:
    """After a reusable answer the same parser gives the next one as a new parser would."""
    parser = ResponseParser()
    for _ in range(3):
        parser.expect(b"GET")
        body = parser.feed(RECORDED[name])
        assert (parser.head, body) == read([RECORDED[name]])[:2]
        if not (parser.complete and parser.reusable):
            break
