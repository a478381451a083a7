"""The answers and header fields that actions ask for instead of the service's own."""

import math
from typing import Any

from ccflare.demo.budgets import Unified, WindowView, minute_lines, retry_after_line
from ccflare.demo.faults import Action
from ccflare.demo.reply import ERROR_TYPES, REASONS, Refusal, Reply, encode, error_body, line, should_retry

WHOLE_WINDOWS = ("5h", "7d")


def fault_reply(action: Action, is_token_endpoint: bool, request_id: str) -> Reply | None:
    """Return the answer an action puts in the place of the real one, if it does."""
    if "html" in action:
        status = int(action.get("status", 502))
        return Reply(status, str(action["html"]).encode(), content_type=b"text/html; charset=UTF-8")
    if "raw_body" in action:
        return Reply(int(action.get("status", 200)), str(action["raw_body"]).encode())
    status = int(action.get("status", 200))
    if status < 400:
        return None
    message = str(action.get("message") or REASONS.get(status, b"Error").decode())
    kind = action.get("error")
    more = {name.lower() for name in action.get("headers", {})}
    lines = b"" if "x-should-retry" in more else should_retry(status)
    if is_token_endpoint:
        error = {"type": kind or ERROR_TYPES.get(status, "api_error"), "message": message}
        return Reply(status, encode({"error": error}), lines=b"cache-control: no-store\r\n")
    refusal = Refusal(status, message, kind, action.get("details"))
    return Reply(status, error_body(refusal, request_id), lines=lines)


def action_lines(action: Action, now: float) -> bytes:
    """Render the header fields an action adds."""
    lines = b""
    unified = action.get("unified")
    if unified is not None:
        lines += _unified(unified, now).lines()
        silent = unified.get("no_retry_after") or "retry_after" in action
        if unified.get("status") == "rejected" and _refuses(action) and not silent:
            lines += line("retry-after", math.ceil(unified.get("reset_in", 3600)))
    if "minute_reset" in action:
        lines += minute_lines(float(action["minute_reset"]), now)
    if "retry_after" in action:
        lines += retry_after_line(action["retry_after"], now)
    for name, value in action.get("headers", {}).items():
        for one in value if isinstance(value, list) else [value]:
            lines += line(name, one)
    return lines


def _refuses(action: Action) -> bool:
    return int(action.get("status", 200)) >= 400


def _unified(asked: dict[str, Any], now: float) -> Unified:
    """Read `unified {status, claim, reset_in, utilization, allowed, overage, reason, in_use}`.

    `utilization` is a fraction by window, or one for the 5-hour window; `allowed` names windows that stay
    allowed whatever their utilization is.
    """
    status = str(asked.get("status", "allowed"))
    reset = now + float(asked.get("reset_in", 3600))
    told = asked.get("utilization", {})
    fractions = told if isinstance(told, dict) else {"5h": float(told)}
    fractions = {**dict.fromkeys(WHOLE_WINDOWS, 0.1), **fractions}
    allowed = asked.get("allowed", ())
    views = tuple(
        WindowView(name, _status(name, float(fraction), allowed), round(reset), float(fraction))
        for name, fraction in fractions.items()
    )
    overage = str(asked.get("overage", "rejected"))
    reason = asked.get("reason", "overage_not_provisioned")
    claim = str(asked.get("claim", "five_hour"))
    return Unified(status, claim, round(reset), views, overage, reason, bool(asked.get("in_use")))


def _status(name: str, fraction: float, allowed: Any) -> str:
    if allowed is True or (isinstance(allowed, list | tuple) and name in allowed):
        return "allowed"
    if fraction >= 1.0:
        return "rejected"
    return "allowed_warning" if fraction >= 0.75 else "allowed"
