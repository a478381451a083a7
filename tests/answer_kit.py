"""Answers of the Messages API as bytes, for tests of what reads them."""

import json
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import brotli
import zstandard

START_USAGE = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 5000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 1,
    "service_tier": "standard",
    "inference_geo": "global",
}


def event(name: str, data: dict[str, Any], end: str = "\n") -> bytes:
    """Frame an event as upstream does, blanks before the last brace included."""
    return f"event: {name}{end}data: {json.dumps(data)[:-1]}   }}{end}{end}".encode()


def start(usage: Any = START_USAGE, model: Any = "claude-sonnet-5", end: str = "\n") -> bytes:
    message = {"id": "msg_01", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    return event("message_start", {"type": "message_start", "message": {**message, "stop_reason": None}}, end)


def block_start(end: str = "\n") -> bytes:
    block = {"type": "text", "text": ""}
    return event("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}, end)


def delta(text: str = "Hello", end: str = "\n") -> bytes:
    said = {"type": "text_delta", "text": text}
    return event("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": said}, end)


def message_delta(usage: Any, stop_reason: str | None = "end_turn", end: str = "\n") -> bytes:
    said = {"stop_reason": stop_reason, "stop_sequence": None}
    return event("message_delta", {"type": "message_delta", "delta": said, "usage": usage}, end)


def stop(end: str = "\n") -> bytes:
    return event("message_stop", {"type": "message_stop"}, end)


def error(error_type: str = "overloaded_error", message: str = "Overloaded") -> bytes:
    said = {"details": None, "type": error_type, "message": message}
    return event("error", {"type": "error", "error": said, "request_id": "req_01"})


def compressed(coding: bytes, pieces: Iterable[bytes]) -> list[bytes]:
    """Compress pieces as an edge does: each can be read as soon as it is there."""
    add, flush, finish = _CODERS[coding]()
    coded = [add(piece) + flush() for piece in pieces]
    return [*coded, finish()]


def _identity() -> tuple[Callable[[bytes], bytes], Callable[[], bytes], Callable[[], bytes]]:
    return bytes, bytes, bytes


def _zlib(window: int) -> tuple[Callable[[bytes], bytes], Callable[[], bytes], Callable[[], bytes]]:
    coder = zlib.compressobj(6, zlib.DEFLATED, window)
    return coder.compress, lambda: coder.flush(zlib.Z_SYNC_FLUSH), coder.flush


def _brotli() -> tuple[Callable[[bytes], bytes], Callable[[], bytes], Callable[[], bytes]]:
    coder = brotli.Compressor(quality=4)
    return coder.process, coder.flush, coder.finish


def _zstd() -> tuple[Callable[[bytes], bytes], Callable[[], bytes], Callable[[], bytes]]:
    coder = zstandard.ZstdCompressor().compressobj()
    return coder.compress, lambda: coder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), coder.flush


_CODERS: dict[bytes, Callable[[], tuple[Callable[[bytes], bytes], Callable[[], bytes], Callable[[], bytes]]]] = {
    b"identity": _identity,
    b"gzip": lambda: _zlib(31),
    b"deflate": lambda: _zlib(15),
    b"br": _brotli,
    b"zstd": _zstd,
}
CODINGS = sorted(_CODERS)
