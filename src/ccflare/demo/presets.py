"""Named faults: what each preset of the simulated upstream does, in the keys of an action (see `faults`)."""

from typing import Any

CREDIT = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)
EXTRA_USAGE = (
    "Third-party apps now draw from your extra usage, not from your plan's limits. "
    "Turn on extra usage in your settings to continue."
)
PER_MINUTE = (
    "This request would exceed your organization's rate limit of 50 requests per minute. "
    "Reduce the prompt length or the maximum tokens requested, or try again later."
)
ACCOUNT_LIMIT = "This request would exceed your account's rate limit. Please try again later."
CONCURRENT = (
    "Number of concurrent connections has exceeded your rate limit. "
    "Please try again later or contact sales to discuss your options."
)
HTML_502 = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
HTML_520 = "<html><head><title>520: unknown error</title></head><body>Web server error 520</body></html>"


def _rejected(claim: str, reset_in: float, **more: Any) -> dict[str, Any]:
    unified = {"status": "rejected", "claim": claim, "reset_in": reset_in, **more}
    return {"status": 429, "message": ACCOUNT_LIMIT, "unified": unified}


def _broken(phase: str, how: str, **more: Any) -> dict[str, Any]:
    return {"disconnect": {"phase": phase, "how": how, **more}}


PRESETS: dict[str, dict[str, Any]] = {
    # Refusals that are about the request, the credential or the money.
    "400": {"status": 400, "message": "messages.0.content.0.type: Field required"},
    "400-too-long": {"status": 400, "message": "prompt is too long: 213462 tokens > 200000 maximum"},
    "400-credit": {"status": 400, "message": CREDIT},
    "400-extra-usage": {"status": 400, "message": EXTRA_USAGE},
    "401": {"status": 401, "message": "invalid x-api-key"},
    "401-expired": {
        "status": 401,
        "message": "OAuth token has expired. Please obtain a new token or refresh your existing token.",
        "details": {"error_visibility": "user_facing", "error_code": "token_expired"},
    },
    "402": {
        "status": 402,
        "message": "There is a problem with your billing information. Please update your payment details.",
    },
    "403": {"status": 403, "message": "Your API key does not have permission to use the specified resource."},
    "403-revoked": {"status": 403, "message": "OAuth token has been revoked. Please obtain a new token."},
    "403-org": {
        "status": 403,
        "message": "OAuth authentication is currently not allowed for this organization.",
    },
    "404": {"status": 404, "message": "model: claude-unknown"},
    "409": {"status": 409, "message": "The resource was changed by another request. Please try again."},
    "413": {"status": 413, "message": "Request exceeds the maximum size"},
    # Rate limits: of the account, of a part of it, and ones that say nothing.
    "429": {"status": 429, "message": PER_MINUTE, "retry_after": 2, "minute_reset": 2},
    "429-long": {"status": 429, "message": PER_MINUTE, "retry_after": 11_054, "minute_reset": 11_054},
    "429-unified": _rejected("five_hour", 11_054, utilization={"5h": 1.0, "7d": 0.4}),
    "429-unified-7d": _rejected("seven_day", 259_200, utilization={"5h": 0.3, "7d": 1.0}),
    "429-model": _rejected("seven_day_opus", 259_200, utilization={"5h": 0.3, "7d": 0.4, "7d_opus": 1.0}),
    "429-overage": _rejected("overage", 259_200, utilization={"5h": 0.3, "7d": 0.4}, reason="out_of_credits"),
    "429-bare": {"status": 429, "message": "Error", "no_limit_headers": True},
    "429-http-date": {
        "status": 429,
        "message": PER_MINUTE,
        "retry_after": "http-date:3",
        "no_limit_headers": True,
    },
    "429-no-retry": {
        "status": 429,
        "message": "Your organization has reached its monthly spend limit.",
        "details": {"error_code": "enforced_spend_limit_reached"},
        "no_limit_headers": True,
    },
    "429-concurrency": {"status": 429, "message": CONCURRENT, "retry_after": 1},
    "200-rejected": {
        "unified": {
            "status": "rejected",
            "claim": "five_hour",
            "reset_in": 3600,
            "utilization": {"5h": 1.0, "7d": 0.4},
            "overage": "allowed",
            "in_use": True,
        }
    },
    "200-warning": {
        "unified": {
            "status": "allowed_warning",
            "claim": "five_hour",
            "reset_in": 3600,
            "utilization": {"5h": 0.91, "7d": 0.4},
        }
    },
    # Servers and edges that fail.
    "500": {"status": 500, "message": "Internal server error"},
    "500-no-retry": {
        "status": 500,
        "message": "Internal server error",
        "headers": {"x-should-retry": "false"},
    },
    "502-html": {"status": 502, "html": HTML_502},
    "503": {"status": 503, "message": "Service unavailable"},
    "504": {"status": 504, "message": "Request timed out"},
    "520-html": {"status": 520, "html": HTML_520},
    "529": {"status": 529, "message": "Overloaded"},
    # Time.
    "slow-first-byte": {"delay_headers": 1.0},
    "slow-first-event": {"delay_first_event": 1.0},
    "paced": {"pace": 0.02},
    "slow-stream": {"pace": 0.25, "jitter": 0.1},
    "stall": {"stall": {"after_events": 4}},
    "pause-with-pings": {"stall": {"after_events": 4, "seconds": 0.5, "ping_every": 0.1}},
    "hang": {"delay_headers": 86_400.0},
    "slow-upload": {"slow_read": 65_536},
    # Streams that end badly.
    "error-event": {"error_event": {"after_events": 5, "error": "overloaded_error", "message": "Overloaded"}},
    "error-event-first": {"error_event": {"after_events": 0, "error": "overloaded_error", "message": "Overloaded"}},
    "error-event-api": {"error_event": {"after_events": 5, "error": "api_error", "message": "Internal server error"}},
    "disconnect-accept": _broken("accept", "fin"),
    "reset-accept": _broken("accept", "rst"),
    "disconnect-headers": _broken("after_headers", "fin"),
    "disconnect-mid": _broken("mid", "fin", after_events=5),
    "reset-mid": _broken("mid", "rst", after_events=5),
    "truncated-event": _broken("mid", "fin", after_events=5, half_event=True),
    "no-message-stop": {"drop_events": ["message_stop"]},
    "no-message-delta": {"drop_events": ["message_delta", "message_stop"]},
    # Bytes that are not what they should be.
    "bad-json-event": {"malformed": "bad_json"},
    "unknown-event": {"malformed": "unknown_event"},
    "comments": {"malformed": "comments"},
    "no-event-line": {"malformed": "no_event_line"},
    "crlf": {"newline": "crlf"},
    "bad-chunk": {"malformed": "bad_chunk"},
    "bad-status-line": {"malformed": "bad_status_line"},
    "garbage": {"malformed": "garbage"},
    "short-length": {"malformed": "short_length"},
    "long-length": {"malformed": "long_length"},
    "html-200": {"status": 200, "html": "<html><body>Please sign in to the network.</body></html>"},
    "empty-200": {"status": 200, "raw_body": ""},
    "truncated-json": {"malformed": "truncated_json"},
    # Unusual shapes that every client must accept.
    "split-utf8": {"chunking": "bytes:5", "deltas": 8, "text": "é漢字👩‍👩‍👧שלום " * 4},
    "odd-chunks": {"chunking": "bytes:7"},
    "one-chunk": {"chunking": "all"},
    "no-chunked": {"framing": "close"},
    "length-stream": {"framing": "length"},
    "gzip": {"gzip": "always"},
    "gzip-stream": {"gzip": "always", "gzip_sse": True},
    "deflate": {"gzip": "always", "coding": "deflate"},
    "br": {"gzip": "always", "coding": "br"},
    "zstd": {"gzip": "always", "coding": "zstd"},
    "identity": {"gzip": "never"},
    "early-hints": {"interim": [103]},
    "close": {"close": True},
    "close-silently": {"close_silently": True},
    "redirect": {"status": 307, "raw_body": "", "headers": {"location": "/v1/messages?redirected=1"}},
    "huge": {"size": 20_000_000},
    "big": {"size": 1_000_000},
    "many-events": {"size": 160_000, "deltas": 20_000},
    "huge-headers": {"big_headers": 30_000},
}
