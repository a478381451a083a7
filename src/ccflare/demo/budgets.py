"""Rate limits that really run out and heal: token buckets of key accounts, usage windows of subscriptions.

Every function takes the time as an argument, in epoch seconds. Header names and values follow the service
(November 2026): `anthropic-ratelimit-*` for keys, `anthropic-ratelimit-unified-*` for subscriptions.
"""

import math
from dataclasses import dataclass, field
from email.utils import formatdate
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from ccflare.demo.reply import Refusal, Usage, line, rfc3339

CLAIMS = {
    "5h": "five_hour",
    "7d": "seven_day",
    "7d_opus": "seven_day_opus",
    "7d_sonnet": "seven_day_sonnet",
    "7d_oi": "seven_day_overage_included",
    "overage": "overage",
}
"""What `representative-claim` calls a window."""

THRESHOLDS = (1.0, 0.9, 0.75)
LIMIT_MESSAGE = "This request would exceed your account's rate limit. Please try again later."
DAY_S = 86_400.0
ROUNDED_FROM = 10_000
"""Budgets from this size on are told in thousands."""


@dataclass(slots=True)
class Bucket:
    """A budget of `limit` units per `period_s` seconds, refilled continuously."""

    limit: float
    period_s: float = 60.0
    level: float = field(init=False)
    at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.level = self.limit

    def remaining(self, now: float) -> float:
        """Return what is left after refilling up to `now`."""
        if now == self.at:
            return self.level
        if now > self.at:
            self.level = min(self.limit, self.level + (now - self.at) * self.limit / self.period_s)
        self.at = now
        return self.level

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` is there; the whole period when it never fits."""
        missing = amount - self.remaining(now)
        if missing <= 0:
            return 0.0
        if amount > self.limit:
            return self.period_s
        return missing * self.period_s / self.limit

    def full_at(self, now: float) -> float:
        """Return when the budget, already refilled up to `now`, is whole again."""
        if self.limit <= 0:
            return now + self.period_s
        return now + (self.limit - self.level) * self.period_s / self.limit


class Limits:
    """The budgets of a key account: requests, uncached input and output tokens per `period_s` seconds."""

    __slots__ = ("counting", "input", "max_concurrency", "output", "period_s", "requests")

    def __init__(  # keyword-only limits, each optional
        self,
        *,
        rpm: float = 1_000_000,
        itpm: float = 1_000_000_000,
        otpm: float = 500_000_000,
        count_rpm: float = 1_000_000,
        max_concurrency: int | None = None,
        period_s: float = 60.0,
    ) -> None:
        self.requests = Bucket(rpm, period_s)
        self.input = Bucket(itpm, period_s)
        self.output = Bucket(otpm, period_s)
        self.counting = Bucket(count_rpm, period_s)
        self.max_concurrency = max_concurrency
        self.period_s = period_s

    def admit(self, usage: Usage, now: float) -> Refusal | None:
        """Take one request and its input, or say which budget is used up."""
        wanted = (
            (self.requests, 1.0, "requests"),
            (self.input, float(usage.uncached_input), "input tokens"),
            (self.output, 1.0, "output tokens"),
        )
        for bucket, amount, unit in wanted:
            wait = bucket.wait(amount, now)
            if wait > 0:
                return _exceeded(bucket, unit, wait)
        self.requests.level -= 1
        self.input.level -= usage.uncached_input
        return None

    def count(self, now: float) -> Refusal | None:
        """Take one token-counting request from its own budget."""
        wait = self.counting.wait(1.0, now)
        if wait > 0:
            return _exceeded(self.counting, "requests", wait)
        self.counting.level -= 1
        return None

    def spend(self, output_tokens: int, now: float) -> None:
        """Take what was produced; a long answer may take the budget below zero."""
        self.output.remaining(now)
        self.output.level -= output_tokens

    def lines(self, now: float) -> bytes:
        """Render the fields every authenticated answer carries."""
        requests, input_, output = self.requests, self.input, self.output
        left, input_left, output_left = requests.remaining(now), input_.remaining(now), output.remaining(now)
        told = _family("requests", int(requests.limit), max(0, int(left)), math.ceil(requests.full_at(now)))
        return told + _token_families(
            (int(input_.limit), _rounded(input_left, input_.limit), math.ceil(input_.full_at(now))),
            (int(output.limit), _rounded(output_left, output.limit), math.ceil(output.full_at(now))),
        )


def _rounded(left: float, limit: float) -> int:
    """Tokens are told in thousands, where a budget is large enough for that to mean something."""
    return max(0, round(left / 1000) * 1000 if limit >= ROUNDED_FROM else int(left))


def _exceeded(bucket: Bucket, unit: str, wait: float) -> Refusal:
    message = (
        f"This request would exceed your organization's rate limit of {bucket.limit:,.0f} {unit} per minute. "
        "Reduce the prompt length or the maximum tokens requested, or try again later."
    )
    return Refusal(429, message, retry_after=max(1, math.ceil(wait)))


@lru_cache(maxsize=4096)
def _family(name: str, limit: int, remaining: int, reset: int) -> bytes:
    prefix = f"anthropic-ratelimit-{name}"
    text = f"{prefix}-limit: {limit}\r\n{prefix}-remaining: {remaining}\r\n{prefix}-reset: {rfc3339(reset)}\r\n"
    return text.encode("ascii")


@lru_cache(maxsize=1024)
def _token_families(input_: tuple[int, int, int], output: tuple[int, int, int]) -> bytes:
    """Render input, output and both together; each is a limit, what is left, and when it is whole again."""
    both = (input_[0] + output[0], input_[1] + output[1], max(input_[2], output[2]))
    return _family("input-tokens", *input_) + _family("output-tokens", *output) + _family("tokens", *both)


@dataclass(slots=True)
class Window:
    """A usage window: `utilization` grows with use (1.0 is all) and returns to zero at `resets_at`."""

    utilization: float = 0.0
    resets_at: float | None = None
    """Epoch seconds; None: the window opens with its first use."""
    length_s: float = 5 * 3600.0
    capacity_tokens: float = 1e12
    models: str = "*"
    """Glob of the models that count."""

    def heal(self, now: float) -> None:
        """Begin anew when the reset has come."""
        if self.resets_at is not None and now >= self.resets_at:
            self.utilization, self.resets_at = 0.0, None

    def reset(self, now: float) -> float:
        """Return when the window resets, opening it if needed."""
        if self.resets_at is None:
            self.resets_at = now + self.length_s
        return self.resets_at

    @property
    def status(self) -> str:
        """`allowed`, `allowed_warning` or `rejected`."""
        if self.utilization >= 1.0:
            return "rejected"
        return "allowed_warning" if self.utilization >= THRESHOLDS[-1] else "allowed"


def default_windows() -> dict[str, Window]:
    """Return the two windows every subscription has, practically unlimited."""
    return {"5h": Window(), "7d": Window(length_s=7 * DAY_S)}


class WindowView(NamedTuple):
    """One window as it is told in header fields."""

    name: str
    status: str
    reset: float
    utilization: float


class Unified(NamedTuple):
    """Everything the unified family says about an account at one moment."""

    status: str
    claim: str
    reset: float
    windows: tuple[WindowView, ...]
    overage: str = "rejected"
    overage_reason: str | None = "overage_not_provisioned"
    in_use: bool = False

    def lines(self) -> bytes:
        """Render the fields."""
        prefix = "anthropic-ratelimit-unified-"
        text = f"{prefix}status: {self.status}\r\n{prefix}reset: {self.reset:.0f}\r\n"
        text += f"{prefix}representative-claim: {self.claim}\r\n"
        for view in self.windows:
            text += (
                f"{prefix}{view.name}-status: {view.status}\r\n"
                f"{prefix}{view.name}-reset: {view.reset:.0f}\r\n"
                f"{prefix}{view.name}-utilization: {view.utilization:.4g}\r\n"
            )
            passed = next((step for step in THRESHOLDS if view.utilization >= step), None)
            if passed is not None:
                text += f"{prefix}{view.name}-surpassed-threshold: {passed}\r\n"
        text += f"{prefix}fallback-percentage: 0.5\r\n{prefix}overage-status: {self.overage}\r\n"
        if self.overage == "rejected" and self.overage_reason:
            text += f"{prefix}overage-disabled-reason: {self.overage_reason}\r\n"
        if self.in_use:
            text += f"{prefix}overage-in-use: true\r\n"
        return text.encode("ascii")


@dataclass(slots=True)
class Subscription:
    """The windows of an OAuth account and whether paid overage goes on where they end."""

    windows: dict[str, Window] = field(default_factory=default_windows)
    overage: str = "rejected"
    """`allowed`: use beyond the windows is served and paid for."""
    overage_reason: str | None = "overage_not_provisioned"

    def unified(self, model: str | None, now: float) -> Unified:
        """Say where the account stands for a model."""
        views = []
        for name, window in self.windows.items():
            window.heal(now)
            views.append(WindowView(name, window.status, window.reset(now), window.utilization))
        counting = [view for view in views if model is None or fnmatchcase(model, self.windows[view.name].models)]
        worst = max(counting or views, key=lambda view: view.utilization)
        in_use = worst.status == "rejected" and self.overage == "allowed"
        return Unified(
            worst.status,
            CLAIMS.get(worst.name, worst.name),
            worst.reset,
            tuple(views),
            self.overage,
            self.overage_reason,
            in_use,
        )

    def admit(self, model: str | None, now: float) -> Refusal | None:
        """Refuse when a window that counts for the model is used up and no overage is paid."""
        state = self.unified(model, now)
        if state.status != "rejected" or state.in_use:
            return None
        return Refusal(429, LIMIT_MESSAGE, retry_after=max(1, math.ceil(state.reset - now)))

    def spend(self, usage: Usage, model: str, now: float) -> None:
        """Count an answer against every window of its model; cache reads count a tenth."""
        tokens = usage.uncached_input + usage.output + usage.cache_read * 0.1
        for window in self.windows.values():
            if fnmatchcase(model, window.models):
                window.heal(now)
                window.reset(now)
                window.utilization += tokens / window.capacity_tokens


def minute_lines(reset_in: float, now: float) -> bytes:
    """Render the key family of a request budget that is empty for `reset_in` seconds."""
    return _family("requests", 50, 0, math.ceil(now + reset_in))


def retry_after_line(value: float | str, now: float) -> bytes:
    """Render `retry-after` from seconds, or from `http-date:N` as the date N seconds from now."""
    if isinstance(value, str) and value.startswith("http-date:"):
        return line("retry-after", formatdate(now + float(value.removeprefix("http-date:")), usegmt=True))
    return line("retry-after", f"{value:g}" if isinstance(value, float) else value)
