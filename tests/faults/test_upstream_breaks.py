"""The fault matrix where upstream breaks: errors inside streams, connections that end, silence."""

from typing import Any

import pytest

from faultcase import LIMITED, REFUSED, Case, check, cut, everywhere, forever, once, passed_on
from harness import Upstream

SILENT = {"CCFLARE_IDLE_TIMEOUT_MS": "300", "CCFLARE_CONNECT_TIMEOUT_MS": "300"}
PATIENT = {"CCFLARE_IDLE_TIMEOUT_MS": "1000", "CCFLARE_CONNECT_TIMEOUT_MS": "1000"}
HASTY = {"CCFLARE_CONNECT_TIMEOUT_MS": "400", "CCFLARE_FIRST_BYTE_TIMEOUT_MS": "400"}
SHORT = {
    "CCFLARE_CONNECT_TIMEOUT_MS": "400",
    "CCFLARE_FIRST_BYTE_TIMEOUT_MS": "400",
    "CCFLARE_IDLE_TIMEOUT_MS": "400",
    "CCFLARE_EXCHANGE_TIMEOUT_MS": "700",
}


PINGS = {"stall": {"after_events": 4, "seconds": 1.3, "ping_every": 0.1}}


def _error_first(kind: str) -> dict[str, Any]:
    return {"error_event": {"after_events": 0, "error": kind, "message": "Something about it"}}


def _break(phase: str, how: str) -> dict[str, Any]:
    return {"disconnect": {"phase": phase, "how": how}}


FIRST_EVENTS = [
    once("overloaded once", "error-event-first", 529, stream=True),
    forever("overloaded for ever", "error-event-first", 529, stream=True),
    everywhere("overloaded everywhere", "error-event-first", 529, "overloaded_error", status=200, stream=True),
    once("overloaded and compressed", ["error-event-first", "gzip-stream"], 529, stream=True),
    once("api_error", _error_first("api_error"), 500, stream=True),
    once("timeout_error", _error_first("timeout_error"), 504, stream=True),
    once("an error nobody knows", _error_first("brand_new_error"), 500, stream=True),
    passed_on("rate_limit_error", _error_first("rate_limit_error"), 429, stream=True),
    passed_on("authentication_error", _error_first("authentication_error"), 401, REFUSED, stream=True),
    passed_on("billing_error", _error_first("billing_error"), 402, LIMITED, stream=True),
    Case("invalid_request_error", _error_first("invalid_request_error"), stream=True, says="Something about it"),
]

IN_MID_STREAM = [
    cut("closed", "disconnect-mid"),
    cut("reset", "reset-mid", end="reset"),
    cut("closed inside an event", "truncated-event"),
    cut("closed inside a compressed stream", ["disconnect-mid", "gzip-stream"]),
    cut("a chunk that is none", "bad-chunk"),
    cut("silence", "stall", settings=SILENT),
    cut("longer than an exchange may take", {"pace": 0.15}, settings=SHORT),
    cut("a message closed in the middle", _break("mid", "fin"), stream=False),
    cut("a message reset in the middle", _break("mid", "rst"), stream=False, end="reset"),
    cut("a message shorter than it said", "long-length", stream=False),
    Case("an error event", "error-event", stream=True, says="overloaded_error"),
    Case("no message_stop", "no-message-stop", stream=True),
    Case("silence with pings", PINGS, stream=True, settings=PATIENT),
]

BEFORE_THE_FIRST_BYTE = [
    Case("an idle connection that is closed", _break("before_headers", "fin"), times=1),
    Case("an idle connection that is reset", _break("before_headers", "rst"), times=1),
    forever("reset for ever", _break("before_headers", "rst"), None),
    everywhere("reset everywhere", _break("before_headers", "rst"), None, "lastError", error="All accounts"),
    once("closed behind the head of a stream", "disconnect-headers", 200, stream=True),
    once("closed behind the head of a message", "disconnect-headers", 200),
    once("no status line", "bad-status-line", None),
    once("garbage", "garbage", None),
    everywhere("garbage everywhere", "garbage", None, "lastError", error="All accounts failed"),
    Case(
        "no first event until the deadline",
        {"delay_first_event": 2},
        "alpha retry 200",
        status=503,
        stream=True,
        says="All accounts failed to proxy the request",
        error="All accounts failed",
        settings=HASTY,
    ),
    Case(
        "silence until the deadline",
        "hang",
        "alpha retry None",
        status=503,
        says="All accounts failed to proxy the request",
        error="All accounts failed",
        settings=SHORT,
    ),
]


@pytest.mark.parametrize("case", FIRST_EVENTS, ids=lambda case: case.name)
def test_a_stream_that_begins_with_an_error(case: Case, make_home: Any, upstream: Upstream) -> None:
    """A stream whose first event is an error means what the status of that error would mean."""
    check(case, make_home(case.settings), upstream)


@pytest.mark.parametrize("case", IN_MID_STREAM, ids=lambda case: case.name)
def test_what_breaks_when_the_client_has_a_part(case: Case, make_home: Any, upstream: Upstream) -> None:
    """After the first byte nothing is sent again: the client's answer ends the way upstream's did."""
    check(case, make_home(case.settings), upstream)


@pytest.mark.parametrize("case", BEFORE_THE_FIRST_BYTE, ids=lambda case: case.name)
def test_what_breaks_before_the_first_byte(case: Case, make_home: Any, upstream: Upstream) -> None:
    """What breaks before the client has a byte is tried again; nothing is waited for beyond the deadline."""
    check(case, make_home(case.settings), upstream)
