"""Content codings on the side: right for every split, silent on nonsense, bounded on bombs."""

import gzip
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from ccflare.coding import Decoder, decoder

TEXT = b"".join(b'event: content_block_delta\ndata: {"n":%d}\n\n' % number for number in range(400))
LIMIT = 1 << 20


def bare(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


CODINGS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "none": (b"identity", bytes),
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"X-GZip ", gzip.compress),
    "two members": (b"gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    "deflate": (b"deflate", zlib.compress),
    "bare deflate": (b"deflate", bare),
    "br": (b"br", brotli.compress),
    "zstd": (b"zstd", zstandard.compress),
    "two frames": (b"zstd", lambda data: zstandard.compress(data[:100]) + zstandard.compress(data[100:])),
}
each_coding = pytest.mark.parametrize(("name", "encode"), CODINGS.values(), ids=CODINGS)
COMPRESSED: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"br", lambda data: bytes(brotli.compress(data, quality=1))),
    (b"zstd", zstandard.compress),
]


def make(name: bytes | None, limit: int = LIMIT) -> Decoder:
    found = decoder(name, limit)
    assert found is not None
    return found


def feed(decoding: Decoder, data: bytes, step: int) -> bytes:
    return b"".join(decoding.feed(data[start : start + step]) for start in range(0, len(data), step))


@each_coding
@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 255, 256, 257, 4096, 1 << 20])
def test_every_coding_in_pieces(name: bytes, encode: Callable[[bytes], bytes], step: int) -> None:
    """Whatever the pieces, the decoded bytes are those that were encoded."""
    decoding = make(name)
    assert feed(decoding, encode(TEXT), step) == TEXT
    assert not decoding.broken


@each_coding
def test_every_split_in_two(name: bytes, encode: Callable[[bytes], bytes]) -> None:
    """The same for every place where a body can be split in two, with nothing in between."""
    data = encode(TEXT[:200])
    for at in range(len(data) + 1):
        decoding = make(name)
        assert decoding.feed(data[:at]) + decoding.feed(b"") + decoding.feed(data[at:]) == TEXT[:200]


def flushing_zlib(bits: int) -> Callable[[bytes], bytes]:
    encoder = zlib.compressobj(wbits=bits)
    return lambda data: encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH)


def flushing_brotli() -> Callable[[bytes], bytes]:
    encoder = brotli.Compressor()
    return lambda data: bytes(encoder.process(data) + encoder.flush())


def flushing_zstd() -> Callable[[bytes], bytes]:
    encoder = zstandard.ZstdCompressor().compressobj()
    return lambda data: encoder.compress(data) + encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        (b"gzip", flushing_zlib(31)),
        (b"deflate", flushing_zlib(15)),
        (b"br", flushing_brotli()),
        (b"zstd", flushing_zstd()),
    ],
)
def test_what_is_flushed_is_decoded_at_once(name: bytes, encode: Callable[[bytes], bytes]) -> None:
    """An event that upstream flushed can be read as soon as its last byte is there."""
    decoding = make(name)
    for number in range(5):
        event = b"data: %d\n\n" % number
        assert decoding.feed(encode(event)) == event


@pytest.mark.parametrize("name", [None, b"", b"identity", b"IDENTITY"])
def test_no_coding(name: bytes | None) -> None:
    """No coding gives the bytes themselves."""
    assert make(name).feed(TEXT) == TEXT


@pytest.mark.parametrize("name", [b"compress", b"gzip, br", b"gzip,gzip", b"aes128gcm", b"\xff", b"*"])
def test_unknown_codings(name: bytes) -> None:
    """A coding that is not known has no decoder."""
    assert decoder(name, LIMIT) is None


@pytest.mark.parametrize(("name", "encode"), COMPRESSED)
def test_corrupt_data(name: bytes, encode: Callable[[bytes], bytes]) -> None:
    """Changed and random bytes never raise, and never give more than the limit."""
    rng = random.Random(7)
    good = encode(TEXT)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        assert len(feed(make(name, 5000), bytes(data), rng.randint(1, 400))) <= 5000
        feed(make(name), rng.randbytes(200), 17)


@pytest.mark.parametrize(("name", "encode"), COMPRESSED)
def test_broken_for_good(name: bytes, encode: Callable[[bytes], bytes]) -> None:
    """After bytes that cannot be read nothing more is given."""
    decoding = make(name)
    assert decoding.feed(b"\xfe" * 64) == b""
    assert decoding.broken
    assert decoding.feed(encode(TEXT)) == b""


@each_coding
def test_cut_short(name: bytes, encode: Callable[[bytes], bytes]) -> None:
    """Of a body that was cut short the beginning is given."""
    data = encode(TEXT)
    found = make(name).feed(data[: len(data) // 2])
    assert TEXT.startswith(found)


@each_coding
def test_padding(name: bytes, encode: Callable[[bytes], bytes]) -> None:
    """What follows the end of a coded body does not disturb what was decoded."""
    decoding = make(name)
    found = decoding.feed(encode(TEXT)) + decoding.feed(b"\0" * 8)
    assert found == (TEXT + b"\0" * 8 if name == b"identity" else TEXT)


@each_coding
@pytest.mark.parametrize("step", [1, 64, 1 << 20])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_limit(name: bytes, encode: Callable[[bytes], bytes], step: int, over: int) -> None:
    """A body up to the limit is given whole; of a longer one exactly the limit, and then nothing."""
    limit = len(TEXT) - over
    decoding = make(name, limit)
    assert feed(decoding, encode(TEXT), step) == TEXT[:limit]
    assert decoding.broken is (over > 0)


@pytest.mark.parametrize("step", [100, 1 << 20])
@pytest.mark.parametrize(("name", "encode"), COMPRESSED)
def test_bombs(name: bytes, encode: Callable[[bytes], bytes], step: int) -> None:
    """A small body that stands for a huge one costs little memory and time."""
    bomb = encode(bytes(64 << 20))
    decoding = make(name, 1 << 16)
    began = time.process_time()
    tracemalloc.start()
    try:
        size = len(feed(decoding, bomb, step))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (size, decoding.broken) == (1 << 16, True)
    assert peak < 24 << 20
    assert time.process_time() - began < 1.0


def test_a_body_of_many_members() -> None:
    """Thousands of tiny members are decoded without deep calls."""
    assert feed(make(b"gzip"), gzip.compress(b"a") * 3000, 1 << 16) == b"a" * 3000


def test_a_huge_window() -> None:
    """A zstd body that asks for a window larger than browsers allow is not read (RFC 8878 §3.1.1.1.2)."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    decoding = make(b"zstd")
    assert decoding.feed(encoder.compress(TEXT) + encoder.flush()) == b""
    assert decoding.broken
