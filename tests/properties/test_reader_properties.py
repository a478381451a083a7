"""Requests out of bytes: any split gives the same requests, and no bytes raise."""

import random
import tracemalloc
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccflare.ingress import ClientRequest
from ccflare.ingress.head import LONGEST_KNOWN, known_head, new_head
from reading_kit import Peer, good_requests, mangled_requests, read, repeated_heads


@given(st.lists(good_requests(), min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=12))
@example([b"POST /v1/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"] * 2, list(range(200)))
def test_any_split_gives_the_same_requests(requests: list[bytes], cuts: list[int]) -> None:
    """How bytes are split over reads changes nothing about well-formed requests."""
    data = b"".join(requests)
    whole, split = read(data, []), read(data, cuts)
    assert split.told()[: len(whole.requests)] == whole.told()[: len(split.requests)]
    assert whole.requests
    assert whole.refusals in ([], [400])
    if not any(b"close" in request or b"Upgrade" in request for request in requests):
        assert len(split.requests) == len(requests)
        assert not any(request.reading for request in split.requests)
        assert split.refusals == []


@given(mangled_requests(), st.lists(st.integers(0, 2000), max_size=12))
def test_mangled_requests_never_raise(data: bytes, cuts: list[int]) -> None:
    """Damaged requests are read or refused; of what follows a refusal nothing is served."""
    peer = read(data, cuts)
    for request in peer.requests:
        assert request.target.startswith(b"/")
        assert not set(request.target) & set(b"\r\n\0 ")
        assert not any(set(name + value) & set(b"\r\n\0") for name, value in request.headers)
    assert len(peer.refusals) <= 1


@given(st.binary(max_size=600), st.lists(st.integers(0, 700), max_size=12))
def test_any_bytes_never_raise(data: bytes, cuts: list[int]) -> None:
    """Arbitrary bytes are refused, or wait for more."""
    peer = read(data, cuts)
    assert peer.requests == []


@given(repeated_heads(), st.lists(st.integers(0, 2000), max_size=6))
def test_a_head_that_comes_again_is_read_the_same(requests: tuple[bytes, list[int]], cuts: list[int]) -> None:
    """A head that is recognised gives what parsing gives: the same requests, the same refusals."""
    data, ends = requests
    recognised = read(data, [*ends, *cuts])
    with patch("ccflare.ingress.reader.known_head", return_value=None):
        parsed = read(data, [*ends, *cuts])
    assert recognised.told() == parsed.told()
    assert recognised.refusals == parsed.refusals
    assert recognised.reader.in_head == parsed.reader.in_head
    assert recognised.deadline is None or parsed.deadline is not None


def _post(body: bytes, *more: bytes) -> bytes:
    lines = (b"POST /v1/m HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % len(body), *more, b"", b"")
    return b"\r\n".join(lines) + body


def test_a_known_head_is_not_parsed() -> None:
    """A second request with the same head never comes to the parser, in whatever pieces its body is."""
    peer = Peer()
    peer.feed(_post(b"one"))
    with patch.object(peer.reader, "_parser", None):
        for data in (_post(b"second")[:-4], b"co", b"nd" + _post(b"3") + _post(b"")):
            peer.feed(data)
    said = [(dict(request.headers)[b"Content-Length"], b"".join(request._parts)) for request in peer.requests]
    assert said == [(b"3", b"one"), (b"6", b"second"), (b"1", b"3"), (b"0", b"")]
    assert len({id(request.memory) for request in peer.requests}) == 1
    assert [request.fields[b"content-length"] for request in peer.requests] == [b"3", b"6", b"1", b"0"]
    peer.feed(_post(b"x", b"X-A: b"))
    assert peer.requests[-1].memory is not peer.requests[0].memory
    assert (b"X-A", b"b") in peer.requests[-1].headers


BODY = random.Random(1).randbytes(16 * 1024 * 1024)


def _in_pieces(sizes: list[int]) -> tuple[ClientRequest, bytes]:
    """Return a request whose body came in pieces of these sizes, and the body."""
    body, peer = BODY[: sum(sizes)], Peer()
    peer.feed(_post(body)[: -len(body)])
    at = 0
    for size in sizes:
        peer.feed(body[at : at + size])
        at += size
    return peer.requests[0], body


def _whole(request: ClientRequest) -> bytes | bytearray | None:
    """Return the body of a request that is complete: there is nothing to wait for, and so no loop is needed."""
    with pytest.raises(StopIteration) as stopped:
        request.read_body(1 << 30).send(None)
    body: bytes | bytearray | None = stopped.value.value
    return body


@given(st.lists(st.sampled_from([1, 7, 4095, 4096, 9000, 70_000, 600_000]), min_size=1, max_size=9))
def test_a_body_in_any_pieces_is_whole(sizes: list[int]) -> None:
    """However long its pieces are, and in whatever order."""
    request, body = _in_pieces(sizes)
    assert _whole(request) == body
    assert request._parts == []


@pytest.mark.parametrize("sizes", [[1] * 100_000, [4096, 1] * 2_000, [65_536] * 200])
def test_a_body_takes_little_more_than_its_size(sizes: list[int]) -> None:
    """In very small pieces, in pieces of both kinds, and where it is so long that two copies of it are too much."""
    tracemalloc.start()
    try:
        request, body = _in_pieces(sizes)
        _whole(request)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The body itself is there as it is sent, for a moment behind its head besides.
    assert peak < 2.3 * len(body) + 1_000_000, f"{peak / len(body):.1f} times its size"


def test_a_long_head_is_not_remembered() -> None:
    """What is kept of a head for each open connection is bounded by its length."""

    def known(size: int) -> bool:
        value = b"x" * (size - len(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: \r\n\r\n"))
        data = b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: %b\r\n\r\n" % value
        return known_head(new_head(b"POST", b"/", [(b"Content-Length", b"1"), (b"X", value)], "1.1"), data) is not None

    assert known(LONGEST_KNOWN)
    assert not known(LONGEST_KNOWN + 1)
