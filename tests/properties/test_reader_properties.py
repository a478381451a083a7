"""Requests out of bytes: any split gives the same requests, and no bytes raise."""

from hypothesis import example, given
from hypothesis import strategies as st

from reading_kit import good_requests, mangled_requests, read


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
