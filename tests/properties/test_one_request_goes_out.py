"""What a client's bytes become upstream, read again by another, strict parser: the same requests, one by one.

Smuggling needs two parsers that read the same bytes differently. So whatever our reader lets in is written as our
client writes it, and read by h11: it must be exactly one request, with that method, target and body, and not a byte
behind it.
"""

import re

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from ccflare.errors import TransportError
from ccflare.providers import PROVIDERS
from ccflare.records import Secret
from ccflare.transport.http1 import serialize_head
from ccflare.wire import Origin, OutgoingRequest
from reading_kit import Peer, mangled_requests, read

ORIGIN = Origin("https", "api.example", 443)
PROVIDER = PROVIDERS["anthropic"]

TRICKS = [
    b"Content-Length: %d", b"Content-Length : %d", b" Content-Length: %d", b"Content-Length: +%d",
    b"Content-Length: 0x%x", b"Content-Length: %d, %d", b"Content-Length:\t%d", b"content-length: 0%d",
    b"Content-Length: %d ", b"Content_Length: %d", b"X: y\r\n Content-Length: %d", b"X: y\nContent-Length: %d",
    b"X: y\rContent-Length: %d", b"Content-Length: %d\r\nContent-Length: %d", b"Content-Length\0: %d",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding : chunked", b"Transfer-encoding:chunked\r\nTransfer-Encoding: x", b"Transfer_Encoding: chunked",
    b"TE: chunked", b"Connection: Transfer-Encoding", b"Connection: Content-Length, Host", b"Connection: close, X",
    b"Trailer: Content-Length", b"Expect: 100-continue", b"Upgrade: h2c\r\nConnection: Upgrade", b"X: \xff\xfe",
    b"Proxy-Connection: keep-alive", b"Keep-Alive: 5", b"Host: api.example", b"X-Api-Key: a\r\nX-Api-Key: b",
]  # fmt: skip
BODIES = [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;x=y\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n\r\n",
          b"05\r\nhello\r\n00\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n",
          b"0x5\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5\r\nhello0\r\n\r\n", b"0\r\n\r\n", b""]  # fmt: skip
TARGETS = [b"/v1/messages", b"/v1/messages?a=b%20c", b"/v1//x", b"/v1/a%0d%0ab", b"/v1/a\\b", b"/v1/\x7f", b"/v1/a b",
           b"http://localhost/v1/x?y", b"/v1/x#y", b"*", b"/v1/'\"<>^`{|}"]  # fmt: skip
METHODS = [b"GET", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT", b"get", b"P\xc3T", b"M-SEARCH", b"PROPFIND"]
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@st.composite
def tricky_requests(draw: st.DrawFn) -> bytes:
    """Requests made of what has confused other parsers."""
    body = draw(st.sampled_from(BODIES))
    lines = [re.sub(rb"%[dx]", b"%d" % len(body), line) for line in draw(st.lists(st.sampled_from(TRICKS), max_size=3))]
    first = b"%b %b HTTP/1.%d" % (
        draw(st.sampled_from(METHODS)),
        draw(st.sampled_from(TARGETS)),
        draw(st.integers(0, 1)),
    )
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"]))
    return end.join([first, b"Host: localhost", *lines, b"", b""]) + body + draw(st.sampled_from([b"", SMUGGLED]))


@given(tricky_requests(), st.lists(st.integers(0, 400), max_size=4))
@example(
    b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", []
)
def test_what_confuses_others_goes_out_as_one_request(data: bytes, cuts: list[int]) -> None:
    """Each request that is let in becomes one that another parser reads as the same."""
    check(read(data, cuts))


@given(mangled_requests(), st.lists(st.integers(0, 2000), max_size=6))
def test_what_is_damaged_goes_out_as_one_request(data: bytes, cuts: list[int]) -> None:
    """The same for well-formed requests with damage."""
    check(read(data, cuts))


def check(peer: Peer) -> None:
    """Send on what was let in, as an exchange would, and read it with h11."""
    for request in peer.requests:
        body = b"".join(bytes(part) for part in request._parts)
        headers, _ = PROVIDER.outgoing_headers(request.headers, "api_key", Secret("sk-account"))
        try:
            head = serialize_head(OutgoingRequest(request.method, request.target, headers, body, len(body)), ORIGIN)
        except TransportError:
            continue  # refused on the way out: nothing is sent
        read_again, fields, behind = _read_by_h11(head + body)
        assert (read_again, behind) == ((request.method, request.target, body), b"")
        names = [name for name, _ in fields]
        assert names.count(b"host") == 1
        assert names.count(b"content-length") <= 1
        assert not {b"transfer-encoding", b"connection", b"upgrade", b"te", b"trailer", b"keep-alive"} & set(names)
        assert [value for name, value in fields if name in {b"x-api-key", b"authorization"}] == [b"sk-account"]


def _read_by_h11(data: bytes) -> tuple[tuple[bytes, bytes, bytes], list[tuple[bytes, bytes]], bytes]:
    """Return method, target and body of the only request, its fields, and whatever is behind it."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(data)
    first = parser.next_event()
    assert isinstance(first, h11.Request), (data, first)
    body = b""
    while isinstance(event := parser.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage), (data, event)
    return (first.method, first.target, body), list(first.headers), parser.trailing_data[0]
