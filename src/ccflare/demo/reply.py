"""What the simulated upstream says, before faults change how it reaches the wire.

Header fields are kept as rendered lines (`name: value` CRLF): an answer is put together once and never looked
at again.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import msgspec

encode = msgspec.json.encode

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The error type that goes with a status; every other status says `api_error`."""

REASONS = {
    200: b"OK",
    201: b"Created",
    204: b"No Content",
    302: b"Found",
    307: b"Temporary Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Payload Too Large",
    415: b"Unsupported Media Type",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}

EDGE_LINES = (
    b"strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
    b"server: cloudflare\r\n"
    b"x-envoy-upstream-service-time: 7\r\n"
    b"via: 1.1 google\r\n"
    b"cf-cache-status: DYNAMIC\r\n"
    b"set-cookie: _cfuvid=simulated; HttpOnly; SameSite=None; Secure; Path=/\r\n"
    b"set-cookie: __cf_bm=simulated; HttpOnly; Secure; Path=/\r\n"
    b"x-robots-tag: none\r\n"
    b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
)
"""What the edge in front of the service adds to every answer."""

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"


class Usage(msgspec.Struct, frozen=True):
    """Token counts of one answer. `input` is what was neither read from nor written to the prompt cache."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    thinking: int = 0
    """The part of `output` that was spent on thinking."""
    web_searches: int = 0

    @property
    def uncached_input(self) -> int:
        """Input tokens that count against the input budget."""
        return self.input + self.cache_write_5m + self.cache_write_1h

    @property
    def total_input(self) -> int:
        """All input tokens, wherever they came from."""
        return self.uncached_input + self.cache_read


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer in the service's own shape."""

    status: int
    message: str
    type: str | None = None
    """None: the type that goes with the status."""
    details: Mapping[str, Any] | None = None
    retry_after: int | None = None
    """Seconds for `retry-after`; None sends none."""
    bare: bool = False
    """No rate limit fields at all."""


@dataclass(slots=True)
class Reply:
    """An answer as the service means it: a body, or the events of a stream."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    lines: bytes = b""
    """Further header lines."""
    events: list[bytes] | None = None
    """Frames of an event stream; None when the answer is `body`."""
    started: Usage | None = None
    """What a stream has told about its tokens once its first event is out."""
    usage: Usage | None = None
    """What the whole answer has told."""
    close: bool = False
    """Close the connection after this answer."""
    linger: bool = field(default=False)
    """Before closing, read and drop what the client still sends, so that it can read the answer."""


class Ids:
    """Makes the identifiers of one server. The same seed gives the same sequence."""

    def __init__(self, seed: int) -> None:
        self._bits = random.Random(seed).getrandbits  # noqa: S311  # repeatable on purpose, protects nothing

    def new(self, prefix: str) -> str:
        """Return a new identifier such as `msg_01...`."""
        return f"{prefix}01{self._bits(88):022x}"


def line(name: str, value: str | int) -> bytes:
    """Render one header line."""
    return f"{name}: {value}\r\n".encode("latin-1")


def error_body(refusal: Refusal, request_id: str) -> bytes:
    """Render the body every error has."""
    kind = refusal.type or ERROR_TYPES.get(refusal.status, "api_error")
    error: dict[str, Any] = {"type": kind, "message": refusal.message}
    if refusal.details is not None:
        error = {"details": dict(refusal.details), **error}
    return encode({"type": "error", "error": error, "request_id": request_id})


def refuse(refusal: Refusal, request_id: str, lines: bytes = b"") -> Reply:
    """Turn a refusal into an answer with `retry-after` and `x-should-retry` as the service sends them."""
    if refusal.bare:
        lines = b""
    if refusal.retry_after is not None:
        lines += line("retry-after", refusal.retry_after)
    return Reply(refusal.status, error_body(refusal, request_id), lines=lines + should_retry(refusal.status))


def should_retry(status: int) -> bytes:
    """Return the `x-should-retry` line that goes with an error status, if any."""
    if status in {429, 529}:
        return b"x-should-retry: true\r\n"
    if 400 <= status < 500 and status not in {408, 409}:
        return b"x-should-retry: false\r\n"
    return b""


@lru_cache(maxsize=64)
def _date_line(second: int) -> bytes:
    return b"date: " + formatdate(second, usegmt=True).encode() + b"\r\n"


def date_line() -> bytes:
    """Return the `date` field of this second."""
    return _date_line(int(time.time()))


@lru_cache(maxsize=1024)
def rfc3339(second: int) -> str:
    """Return an instant in whole epoch seconds as `2026-11-20T10:30:45Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
