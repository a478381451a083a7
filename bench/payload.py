"""The bytes that are measured with: requests as an SDK makes them, answers as the real API gives them."""

import json
import random
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

MESSAGES = "/v1/messages"
STREAM = "/v1/messages?beta=true"
"""The bench upstream answers this target with an event stream, every other with one JSON message."""
IDLE = "/v1/messages?beta=idle"
"""The same, but the stream says nothing more until it is asked to end."""
HOLD = "/v1/messages?beta=hold"
"""One JSON message, but not before it is asked for."""
FINISH = "/bench/finish"
"""Asks the bench upstream to end every event stream at its next event, and to answer what it holds."""

KEY = "sk-ant-api03-bench-client"
MARK = b"@ns"
"""Stands before the instant at which an event was sent."""
STAMP_DIGITS = 19
"""Digits of that instant: nanoseconds of the machine's monotonic clock, one for all its processes."""

_WORDS = (
    "the",
    "request",
    "goes",
    "through",
    "one",
    "proxy",
    "and",
    "every",
    "byte",
    "counts",
    "tokens",
    "event",
)


def requests(target: str, authority: str, size: int, count: int, *, stream: bool = False) -> list[bytes]:
    """Return `count` whole requests with bodies of `size` bytes, each of a session of its own."""
    rng = random.Random(size)
    bodies = (_body(rng, size, stream=stream) for _ in range(count))
    return [_request_head(target, authority, len(body)) + body for body in bodies]


def _request_head(target: str, authority: str, length: int) -> bytes:
    lines = (
        f"POST {target} HTTP/1.1",
        f"Host: {authority}",
        "Accept: application/json",
        "Accept-Encoding: gzip, deflate",
        "Connection: keep-alive",
        "User-Agent: Anthropic/Python 2.12.0",
        "X-Stainless-Lang: python",
        "X-Stainless-Package-Version: 2.12.0",
        "X-Stainless-OS: Linux",
        "X-Stainless-Arch: x64",
        "X-Stainless-Runtime: CPython",
        "X-Stainless-Runtime-Version: 3.11.7",
        "X-Stainless-Async: false",
        "x-stainless-retry-count: 0",
        "x-stainless-read-timeout: 600",
        f"Authorization: Bearer {KEY}",
        "anthropic-version: 2026-10-21",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _body(rng: random.Random, size: int, *, stream: bool) -> bytes:
    """Return a Messages request of exactly `size` bytes: a conversation whose last turn fills it up."""
    user = {
        "device_id": rng.randbytes(32).hex(),
        "account_uuid": "",
        "session_id": str(uuid.UUID(int=rng.getrandbits(128))),
    }
    turns = max(1, size // 8192) * 2 - 1
    messages = [
        {"role": ("user", "assistant")[n % 2], "content": _text(rng, size // (turns + 2))} for n in range(turns)
    ]
    body = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 1024,
        "messages": messages,
        "system": "You answer in one sentence.",
        "metadata": {"user_id": json.dumps(user, separators=(",", ":"))},
        "stream": stream,
    }
    missing = size - len(json.dumps(body, separators=(",", ":")))
    messages[-1]["content"] += _text(rng, missing)
    return json.dumps(body, separators=(",", ":")).encode()


def _text(rng: random.Random, size: int) -> str:
    words = " ".join(rng.choices(_WORDS, k=size // 3 + 1))
    return words[:size]


# Answers.


def answer(used: int = 0) -> bytes:
    """Return a whole JSON answer: a head as the real API writes it, and a message of about 1.5 KB.

    `used` is what has been taken from every limit: real answers differ in it, and remembered ones would be cheap.
    """
    text = _text(random.Random(1), 1000)
    message = _message() | {
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": _usage(240),
    }
    body = json.dumps(message).encode()
    return _answer_head("application/json", f"content-length: {len(body)}", used=used) + body


def stream_start() -> bytes:
    """Return the head of an event stream and the events before its first text."""
    message = _message() | {"content": [], "usage": _usage(1)}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    events = _event({"type": "message_start", "message": message}) + _event(block) + _event({"type": "ping"})
    return (
        _answer_head("text/event-stream; charset=utf-8", "transfer-encoding: chunked", "cache-control: no-cache")
        + events
    )


def stream_event() -> tuple[bytes, bytes]:
    """Return what stands before and after the digits of the instant in an event of text."""
    text = f" relayed as it came {MARK.decode()}{'0' * STAMP_DIGITS}"
    event = _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    cut = event.index(MARK) + len(MARK)
    return event[:cut], event[cut + STAMP_DIGITS :]


def stream_end() -> bytes:
    """Return the last events of a stream and its end."""
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": _usage(512),
    }
    return (
        _event({"type": "content_block_stop", "index": 0})
        + _event(delta)
        + _event({"type": "message_stop"})
        + b"0\r\n\r\n"
    )


def _message() -> dict[str, object]:
    return {
        "model": "claude-sonnet-5-5",
        "id": "msg_01BenchBenchBenchBenchBe",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _event(data: Mapping[str, object]) -> bytes:
    """Return one event in a chunk of its own, padded with blanks as the real API does."""
    text = json.dumps(data, separators=(",", ":"))
    frame = f"event: {data['type']}\ndata: {text[:-1]}   }}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def _usage(output_tokens: int) -> dict[str, object]:
    return {
        "input_tokens": 31,
        "cache_creation_input_tokens": 1200,
        "cache_read_input_tokens": 18000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1200, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
        "inference_geo": "global",
    }


def _answer_head(content_type: str, *framing: str, used: int = 0) -> bytes:
    """Return the 27 or so header lines that the real API sends, with limits far from reached."""
    now = datetime.now(UTC)
    later = datetime.fromtimestamp(int(now.timestamp()) + 3600, UTC)
    reset = later.strftime("%Y-%m-%dT%H:%M:%SZ")
    limits = [
        line
        for family, limit in (
            ("requests", 4000),
            ("input-tokens", 2_000_000),
            ("output-tokens", 400_000),
            ("tokens", 2_400_000),
        )
        for line in (
            f"anthropic-ratelimit-{family}-limit: {limit}",
            f"anthropic-ratelimit-{family}-remaining: {limit - 1000 - used}",
            f"anthropic-ratelimit-{family}-reset: {reset}",
        )
    ]
    lines = [
        "HTTP/1.1 200 OK",
        f"date: {now.strftime('%a, %d %b %Y %H:%M:%S GMT')}",
        f"content-type: {content_type}",
        *framing,
        *limits,
        "request-id: req_011BenchBenchBenchBenchBe",
        "strict-transport-security: max-age=31536000; includeSubDomains; preload",
        "anthropic-organization-id: 6f2f6b0e-3c9e-4a43-9d3e-0a5d2f7c1b11",
        "anthropic-workspace-id: wrkspc_01BenchBenchBenchBench",
        "traceresponse: 00-8b1f6a7c1d2e3f405162738495a6b7c8-0102030405060708-01",
        "server: cloudflare",
        "x-envoy-upstream-service-time: 812",
        "via: 1.1 google",
        "cf-cache-status: DYNAMIC",
        "set-cookie: _cfuvid=bench0bench0bench0bench0-1700000000000-0.0.1.1; path=/; HttpOnly; Secure",
        "x-robots-tag: none",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
        "cf-ray: 8f0a1b2c3d4e5f60-FRA",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
