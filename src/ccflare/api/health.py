"""`GET /health`: can requests be served, by the same states that routing uses."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from ccflare import __version__
from ccflare.records import State


class Health(msgspec.Struct, frozen=True):
    """What is known at this moment."""

    states: Sequence[State]
    """One for each account."""
    uptime_ms: int
    strategy: str
    in_flight: int
    """Exchanges running now."""
    queued_rows: int
    """Rows that wait to be written."""


def status(states: Sequence[State]) -> str:
    """Say how requests fare: `ok` when an account can serve, else the reason why none can."""
    if "active" in states:
        return "ok"
    if not states:
        return "no_accounts"
    return "rate_limited" if "rate_limited" in states else "unavailable"


def health(now: Health) -> dict[str, Any]:
    """Return the JSON object; scripts read `status`, `accounts` and `uptime` (ms)."""
    count = Counter(now.states)
    return {
        "status": status(now.states),
        "accounts": {
            "total": len(now.states),
            "active": count["active"],
            "paused": count["paused"],
            "rate_limited": count["rate_limited"],
            "expired": count["expired"],
            "auth_failed": count["auth_failed"],
        },
        "uptime": now.uptime_ms,
        "version": __version__,
        "strategy": now.strategy,
        "in_flight": now.in_flight,
        "writer": {"queued": now.queued_rows},
    }
