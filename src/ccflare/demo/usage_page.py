"""What `/api/oauth/usage` says about a subscription's windows."""

from typing import Any

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.budgets import Window
from ccflare.demo.reply import rfc3339

FLAT = {"5h": "five_hour", "7d": "seven_day", "7d_opus": "seven_day_opus", "7d_sonnet": "seven_day_sonnet"}
KINDS = {"5h": "session", "7d": "weekly_all"}


def usage(account: SimulatedAccount, now: float) -> dict[str, Any]:
    """Describe an account's windows as the service does: flat by name, and as a list of limits."""
    page: dict[str, Any] = dict.fromkeys(("five_hour", "seven_day", "seven_day_opus", "seven_day_sonnet"))
    limits = []
    for name, window in account.windows.items():
        window.heal(now)
        if name in FLAT:
            page[FLAT[name]] = {"utilization": _percent(window), "resets_at": rfc3339(int(window.reset(now)))}
        limits.append(_limit(name, window, now))
    page["seven_day_oauth_apps"] = None
    paid = account.subscription.overage != "rejected"
    page["extra_usage"] = {
        "is_enabled": paid,
        "monthly_limit": 50 if paid else None,
        "used_credits": None,
        "utilization": None,
    }
    page["limits"] = limits
    return page


def _percent(window: Window) -> float:
    return round(window.utilization * 100, 2)


def _limit(name: str, window: Window, now: float) -> dict[str, Any]:
    percent = _percent(window)
    severity = "critical" if percent >= 90 else "warning" if percent >= 75 else "normal"
    scope = None if name in KINDS else {"model": name.partition("_")[2] or window.models}
    return {
        "kind": KINDS.get(name, "weekly_scoped"),
        "group": "session" if name == "5h" else "weekly",
        "percent": percent,
        "severity": severity,
        "resets_at": rfc3339(int(window.reset(now))),
        "scope": scope,
        "is_active": percent >= 100,
    }
