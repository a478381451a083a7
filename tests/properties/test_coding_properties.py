"""Content codings: any text, any split, any nonsense."""

import gzip
import zlib
from collections.abc import Callable

import brotli
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ccflare.coding import decoder

CODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"identity": bytes,
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstandard.compress,
}
names = st.sampled_from(sorted(CODERS))


def in_pieces(name: bytes, data: bytes, sizes: list[int], limit: int) -> bytes:
    decoding = decoder(name, limit)
    assert decoding is not None
    found, start = b"", 0
    for size in sizes:
        found += decoding.feed(data[start : start + size])
        start += size
    return found + decoding.feed(data[start:])


@given(names, st.binary(max_size=2000), st.lists(st.integers(0, 300), max_size=20))
def test_any_split_gives_the_text(name: bytes, text: bytes, sizes: list[int]) -> None:
    """Decoding what was encoded gives it back, however it is split."""
    assert in_pieces(name, CODERS[name](text), sizes, 10_000) == text


@given(names, st.binary(max_size=2000), st.lists(st.integers(0, 300), max_size=20), st.integers(0, 2500))
def test_any_limit_gives_its_beginning(name: bytes, text: bytes, sizes: list[int], limit: int) -> None:
    """The limit cuts exactly, however the body is split."""
    assert in_pieces(name, CODERS[name](text), sizes, limit) == text[:limit]


@given(names, st.binary(max_size=500), st.lists(st.integers(0, 50), max_size=20), st.integers(0, 2500))
def test_any_bytes_never_raise(name: bytes, data: bytes, sizes: list[int], limit: int) -> None:
    """Arbitrary bytes give at most the limit, and no exception."""
    assert len(in_pieces(name, data, sizes, limit)) <= limit
