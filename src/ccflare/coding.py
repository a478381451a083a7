"""Content codings, decoded on the side and only there: the client always gets the bytes as they came.

A decoder takes a body in pieces and gives what can be read so far. It never raises: on bytes it cannot read it
stops giving any (`broken`), and it never gives more than `limit` bytes, so that a small body cannot fill the memory.
"""

import zlib
from typing import Any, Protocol

import brotli
import zstandard


class _Inflater(Protocol):
    def __call__(self, data: bytes, most: int) -> bytes:
        """Return what `data` completes; when that is more than `most` bytes, it may be cut behind them."""
        ...


class Decoder:
    """Decodes one body incrementally."""

    __slots__ = ("_inflate", "_left", "broken")

    def __init__(self, inflate: _Inflater | None, limit: int) -> None:
        self._inflate = inflate
        self._left = limit
        self.broken = False
        """Nothing more will come: the coding is wrong, or there is more than the limit."""

    def feed(self, data: bytes) -> bytes:
        """Return the decoded bytes that `data` completes."""
        if self.broken or not data:
            return b""
        if self._inflate is not None:
            try:
                data = self._inflate(data, self._left)
            except (zlib.error, brotli.error, zstandard.ZstdError):
                self.broken = True
                return b""
        if len(data) > self._left:
            self.broken = True
            data = data[: self._left]
        self._left -= len(data)
        return data


def decoder(coding: bytes | None, limit: int) -> Decoder | None:
    """Return a decoder for a `Content-Encoding` value (None: identity), or None for one that is not known."""
    name = (coding or b"identity").strip().lower()
    if name == b"identity":
        return Decoder(None, limit)
    if name in {b"gzip", b"x-gzip", b"deflate"}:
        return Decoder(_Zlib(), limit)
    if name == b"br":
        return Decoder(_Brotli(), limit)
    if name == b"zstd":
        return Decoder(_Zstd(), limit)
    return None


_GZIP_MAGIC = 0x1F


class _Zlib:
    """gzip with any number of members, and deflate with or without its zlib wrapper (RFC 9110 §8.4.1)."""

    def __init__(self) -> None:
        self._inflate: Any = None

    def __call__(self, data: bytes, most: int) -> bytes:
        plain = b""
        while data and len(plain) <= most:
            if self._inflate is None:
                self._inflate = zlib.decompressobj(_window_bits(data[0]))
            elif self._inflate.eof:
                if data[0] != _GZIP_MAGIC:
                    return plain  # padding
                self._inflate = zlib.decompressobj(_window_bits(_GZIP_MAGIC))
            plain += self._inflate.decompress(data, most + 1 - len(plain))
            data = self._inflate.unused_data
        return plain


def _window_bits(first: int) -> int:
    """Tell gzip and zlib wrappers (found by zlib itself) from a bare deflate stream by the first byte."""
    return 47 if first == _GZIP_MAGIC or first & 0x0F == 8 else -15


class _Brotli:
    def __init__(self) -> None:
        self._inflate = brotli.Decompressor()

    def __call__(self, data: bytes, most: int) -> bytes:
        if self._inflate.is_finished():
            return b""
        return bytes(self._inflate.process(data, output_buffer_limit=most + 1))


class _Zstd:
    """Fed in small slices: a block of 4 bytes may stand for 128 KB (RFC 8878 §3.1.1.2), 256 bytes for 8 MB."""

    def __init__(self) -> None:
        context = zstandard.ZstdDecompressor(max_window_size=8 << 20)
        self._inflate = context.decompressobj(write_size=1 << 16, read_across_frames=True)

    def __call__(self, data: bytes, most: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for start in range(0, len(data), 256):
            if size > most:
                break
            piece = self._inflate.decompress(data[start : start + 256])
            if piece:
                pieces.append(piece)
                size += len(piece)
        return b"".join(pieces)
