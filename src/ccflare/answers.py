"""The answers ccflare gives by itself: only when no upstream answer can be delivered.

On `/v1/` they have the upstream's error shape, because clients match on it; the two older shapes that scripts know are
kept as they are. Each carries `x-ccflare-answer`, so that nobody takes it for upstream's word.
"""

import msgspec

from ccflare.wire import Inbound

UNAUTHENTICATED_FAILED = "Failed to forward unauthenticated request"
ALL_FAILED = "All accounts failed to proxy the request"

LINES = b"content-type: application/json\r\nx-ccflare-answer: 1\r\n"
"""What each of these answers carries."""

_KINDS = {403: "permission_error", 408: "timeout_error", 413: "request_too_large", 500: "api_error"}


def send(inbound: Inbound, status: int, body: bytes, lines: bytes = b"") -> None:
    """Answer with a whole JSON body, and with further fields."""
    inbound.start(status, b"", LINES + lines, len(body))
    inbound.write(body)
    inbound.finish()


def refuse(inbound: Inbound, status: int, message: str) -> None:
    """Answer a request that is not served, in the shape that its target's callers read."""
    send(inbound, status, refusal(inbound.target, status, message))


def refusal(target: bytes, status: int, message: str) -> bytes:
    """Return the body for a request that is not served; `target` may be empty when it was not understood."""
    if target.startswith(b"/v1/"):
        return error(_KINDS.get(status, "invalid_request_error"), message)
    return msgspec.json.encode({"error": message})


def error(kind: str, message: str) -> bytes:
    """Return the body of an error in the upstream's shape."""
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})


def too_many() -> bytes:
    """Return the body for a request that comes when enough others are running."""
    return error("overloaded_error", "ccflare serves too many requests at once")


def owner_unusable(state: str) -> str:
    """Say that an object cannot be reached because its account is `paused`, `expired` or `auth_failed`."""
    return f"The account that owns what this request names is {state}; to every other account it does not exist"


def all_failed(attempts: int, last_error: str) -> bytes:
    """Return the body of the 503 that ends an exchange without any upstream answer."""
    return msgspec.json.encode({"type": "error", "error": ALL_FAILED, "attempts": attempts, "lastError": last_error})


def unauthenticated_failed(details: str) -> bytes:
    """Return the body of the 502 for a request that could not be forwarded without an account."""
    return msgspec.json.encode({"error": UNAUTHENTICATED_FAILED, "details": details})
