"""Content codings of answers: which one a request gets, and encoders that flush after every event."""

import zlib
from functools import lru_cache
from typing import Protocol

import brotli
import zstandard

SMALLEST = 200
"""A JSON body shorter than this is sent as it is."""


class Encoder(Protocol):
    """Encodes one body piece by piece; what was put in can be decoded at once."""

    def encode(self, data: bytes) -> bytes:
        """Return the coded form of `data`, flushed."""
        ...

    def finish(self) -> bytes:
        """Return what ends the coded body."""
        ...


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._state = zlib.compressobj(1, zlib.DEFLATED, wbits)

    def encode(self, data: bytes) -> bytes:
        return self._state.compress(data) + self._state.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._state.flush()


class _Brotli:
    def __init__(self) -> None:
        self._state = brotli.Compressor(quality=1)

    def encode(self, data: bytes) -> bytes:
        return bytes(self._state.process(data) + self._state.flush())

    def finish(self) -> bytes:
        return bytes(self._state.finish())


class _Zstandard:
    def __init__(self) -> None:
        self._state = zstandard.ZstdCompressor(level=1).compressobj()

    def encode(self, data: bytes) -> bytes:
        return self._state.compress(data) + self._state.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._state.flush()


def encoder(coding: str) -> Encoder:
    """Return a new encoder for `gzip`, `deflate`, `br` or `zstd`."""
    match coding:
        case "gzip":
            return _Zlib(31)
        case "deflate":
            return _Zlib(15)
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstandard()
        case _:
            raise ValueError(f"unknown content coding {coding!r}")


@lru_cache(maxsize=256)
def accepted(accept_encoding: bytes | None) -> frozenset[str]:
    """Return the codings an `accept-encoding` field allows; without the field none."""
    names = set()
    for part in (accept_encoding or b"").decode("latin-1").lower().split(","):
        name, _, weight = part.partition(";")
        if weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            names.add(name.strip())
    return frozenset(names | {"gzip", "deflate", "br", "zstd"} if "*" in names else names)
