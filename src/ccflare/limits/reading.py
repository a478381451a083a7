"""Rate-limit headers as one value.

Two families exist (Anthropic's documentation and captures of its answers, November 2026): subscription
accounts get `anthropic-ratelimit-unified-*` with windows such as `5h` and `7d_opus`, key accounts get
`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-*`. Nothing here raises: what cannot be read
is not there. A reset in the past is no reset, and one further away than `LONGEST_MS` counts as that far away.
"""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

import msgspec

from ccflare.wire import Headers

LONGEST_MS = 8 * 24 * 3600 * 1000
"""No limit is believed to last longer: the longest window upstream has is seven days."""

HARD_STATUSES = frozenset({"rejected", "rate_limited", "blocked", "queueing_hard", "payment_required"})
"""Words for "not served now"."""

SOFT_STATUSES = frozenset({"allowed", "allowed_warning", "queueing_soft"})
"""Words for "served". A word in neither set says nothing."""

LONGEST_VALUE = 64
"""Longer values than any number, word or date are not looked at (nor remembered)."""

MOST_GROUPS = 24
"""More windows and budgets than this are not looked at."""

MOST_NAMES = 1024
LONGEST_NAME = 80
"""Header names that are remembered: how many, and how long each may be."""

_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}", re.ASCII)
_FIELD = re.compile(
    rb"anthropic-ratelimit-(?:"
    rb"unified-(?P<window>(?!overage|fallback)[a-z0-9_]{1,24})"
    rb"-(?P<measure>utilization|status|reset|surpassed-threshold)"
    rb"|unified-(?P<unified>status|reset|remaining|representative-claim|fallback"
    rb"|overage-(?:status|reset|disabled-reason|in-use))"
    rb"|(?P<budget>requests|tokens|input-tokens|output-tokens)-(?P<amount>limit|remaining|reset))"
)
STATUS_FIELD = b"anthropic-ratelimit-unified-status"
"""The field whose word says whether a subscription account is served."""
_PLAIN = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})


class Window(msgspec.Struct, frozen=True):
    """One time window of a subscription, for example `5h`, `7d` or `7d_opus`."""

    name: str
    utilization: float | None = None
    """Share used, 0 to 1."""
    status: str | None = None
    reset_ms: int | None = None
    """When it begins anew; None when unknown or past."""
    surpassed: float | None = None
    """The warning threshold that was passed, as a share."""

    @property
    def scope(self) -> str | None:
        """What the window is about when not the whole account: `opus`, `sonnet`, `oi` (overage included)."""
        _, _, scope = self.name.partition("_")
        return scope or None


class Budget(msgspec.Struct, frozen=True):
    """What is left of a continuously refilled allowance of a key account."""

    name: str
    limit: int | None = None
    remaining: int | None = None
    reset_ms: int | None = None
    """When it is full again; None when unknown or past."""

    def at(self, now_ms: int) -> "Budget":
        """Return the budget as it stands at an instant: after its reset it is full."""
        if self.reset_ms is None or self.reset_ms > now_ms:
            return self
        return Budget(self.name, self.limit, self.limit)


class Reading(msgspec.Struct, frozen=True):
    """Everything one answer said about limits. A field is None where upstream said nothing readable."""

    status: str | None = None
    """The unified status word."""
    reset_ms: int | None = None
    remaining: int | None = None
    claim: str | None = None
    """The representative claim: which limit the status and reset are about."""
    fallback: str | None = None
    windows: tuple[Window, ...] = ()
    budgets: tuple[Budget, ...] = ()
    overage_status: str | None = None
    overage_reset_ms: int | None = None
    overage_reason: str | None = None
    """Why paid overage is disabled."""
    overage_in_use: bool = False
    """The answer was paid for as overage."""
    retry_after_ms: int | None = None
    """A duration, not an instant."""
    should_retry: bool | None = None
    """The `x-should-retry` header."""

    @property
    def headroom(self) -> float | None:
        """The smallest share left over the account's own windows and budgets, 0 to 1, when it was read."""
        return self.headroom_at(0)

    def headroom_at(self, now_ms: int, scope: str | None = None) -> float | None:
        """Say how much is left at an instant: windows and budgets that have begun anew do not count.

        With a scope (a model family such as `opus`) only the windows of that scope are looked at.
        """
        shares = [
            1.0 - window.utilization
            for window in self.windows
            if window.utilization is not None
            and window.scope == scope
            and (window.reset_ms is None or window.reset_ms > now_ms)
        ]
        if scope is None:
            shares += [
                min(1.0, budget.remaining / budget.limit)
                for budget in self.budgets
                if budget.remaining is not None
                and budget.limit
                and (budget.reset_ms is None or budget.reset_ms > now_ms)
            ]
        return min(shares, default=None)

    def resets_ms(self) -> list[int]:
        """Return the known resets of windows and budgets, in no order."""
        resets = [window.reset_ms for window in self.windows] + [budget.reset_ms for budget in self.budgets]
        return [reset_ms for reset_ms in resets if reset_ms is not None]

    @property
    def unified(self) -> bool:
        """Whether the unified family spoke."""
        return self.status is not None or bool(self.windows)

    @property
    def overage_only(self) -> bool:
        """Whether what is refused is paid overage, while the account's own windows go on."""
        if self.status not in HARD_STATUSES or self.account_rejected:
            return False
        about_overage = self.claim is not None and "overage" in self.claim
        return about_overage or (self.account_allowed and self.overage_status in HARD_STATUSES)

    @property
    def account_rejected(self) -> tuple[Window, ...]:
        """The exhausted windows that concern the whole account."""
        return tuple(w for w in self.windows if w.scope is None and w.status in HARD_STATUSES)

    @property
    def account_allowed(self) -> bool:
        """Whether the account's own windows all say that they go on (at least one must say so)."""
        own = [w.status for w in self.windows if w.scope is None and w.status is not None]
        return bool(own) and not any(status in HARD_STATUSES for status in own)


NO_LIMITS = Reading()
"""What an answer without any such header says."""


def read_limits(headers: Headers, now_ms: int) -> Reading:
    """Read the rate-limit headers of an answer. Never raises."""
    found = [
        (slot, value) for name, value in headers if (slot := _SLOTS[name]) is not None and len(value) <= LONGEST_VALUE
    ]
    if not found:
        return NO_LIMITS
    groups: dict[str, dict[str, bytes]] = {}
    for (name, item), value in found:
        if name in groups:
            groups[name].setdefault(item, value)
        elif len(groups) < MOST_GROUPS:
            groups[name] = {item: value}
    return _reading(groups, now_ms)


def _slot(name: bytes) -> tuple[str, str] | None:
    """Say where a header belongs: a group (a window is `w:<name>`, a budget `b:<name>`) and a field in it."""
    lower = name.lower()
    if lower in _PLAIN:
        return "plain", lower.decode()
    found = _FIELD.fullmatch(lower)
    if found is None:
        return None
    parts = {key: value.decode() for key, value in found.groupdict().items() if value}
    if "window" in parts:
        return f"w:{parts['window']}", parts["measure"]
    if "unified" in parts:
        return "unified", parts["unified"]
    return f"b:{parts['budget']}", parts["amount"]


class _Slots(dict[bytes, tuple[str, str] | None]):
    """Remembers `_slot`: an upstream has the same few names in every answer. Cheaper than an `lru_cache`."""

    def __missing__(self, name: bytes) -> tuple[str, str] | None:
        slot = _slot(name)
        if len(self) < MOST_NAMES and len(name) <= LONGEST_NAME:
            self[name] = slot
        return slot


_SLOTS = _Slots()


def _reading(groups: dict[str, dict[str, bytes]], now_ms: int) -> Reading:
    plain = groups.pop("plain", {})
    unified = groups.pop("unified", {})
    windows = [_window(name[2:], group, now_ms) for name, group in groups.items() if name[0] == "w"]
    budgets = [_budget(name[2:], group, now_ms) for name, group in groups.items() if name[0] == "b"]
    return Reading(
        status=_word(unified.get("status")),
        reset_ms=_instant(unified.get("reset"), now_ms),
        remaining=_count(unified.get("remaining")),
        claim=_word(unified.get("representative-claim")),
        fallback=_word(unified.get("fallback")),
        windows=tuple(windows),
        budgets=tuple(budgets),
        overage_status=_word(unified.get("overage-status")),
        overage_reset_ms=_instant(unified.get("overage-reset"), now_ms),
        overage_reason=_word(unified.get("overage-disabled-reason")),
        overage_in_use=_truth(unified.get("overage-in-use")) is True,
        retry_after_ms=_retry_after(plain, now_ms),
        should_retry=_truth(plain.get("x-should-retry")),
    )


def _window(name: str, group: dict[str, bytes], now_ms: int) -> Window:
    reset = group.get("reset")
    reset_ms = _instant(reset, now_ms)
    if reset_ms is None and _epoch_ms(reset) is not None:
        return Window(name)  # it has begun anew since: what it says is about the time before
    used = _number(group.get("utilization"))
    return Window(
        name,
        None if used is None else min(1.0, used),
        _word(group.get("status")),
        reset_ms,
        _number(group.get("surpassed-threshold")),
    )


def _budget(name: str, group: dict[str, bytes], now_ms: int) -> Budget:
    reset = group.get("reset")
    reset_ms = _instant(reset, now_ms)
    limit = _count(group.get("limit"))
    if reset_ms is None and _epoch_ms(reset) is not None:
        return Budget(name, limit, limit)
    return Budget(name, limit, _count(group.get("remaining")), reset_ms)


def _retry_after(plain: dict[str, bytes], now_ms: int) -> int | None:
    exact = _number(plain.get("retry-after-ms"))
    if exact is not None:
        return min(int(exact), LONGEST_MS)
    value = plain.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return int(min(seconds * 1000, LONGEST_MS))
    if value is None or not 8 <= len(value) <= 64:
        return None
    try:
        at_ms = int(parsedate_to_datetime(value.decode("latin-1")).timestamp() * 1000)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0, at_ms - now_ms), LONGEST_MS)


def _instant(value: bytes | None, now_ms: int) -> int | None:
    """Read epoch seconds or an RFC 3339 time as milliseconds: None when past, clamped when absurd."""
    at_ms = _epoch_ms(value)
    return None if at_ms is None or at_ms <= now_ms else min(at_ms, now_ms + LONGEST_MS)


@lru_cache(maxsize=512)
def _epoch_ms(value: bytes | None) -> int | None:
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return int(min(seconds, 1e12) * 1000)
    try:
        at = datetime.fromisoformat(value.strip().decode("ascii"))
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=512)
def _number(value: bytes | None) -> float | None:
    """Read a finite number that is not negative."""
    if value is None or len(value) > 40 or b"_" in value:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _count(value: bytes | None) -> int | None:
    if value is not None and len(value) < 16 and value.isdigit():
        return int(value)
    number = _number(value)
    return None if number is None or number > 1e15 else int(number)


@lru_cache(maxsize=128)
def _word(value: bytes | None) -> str | None:
    if value is None:
        return None
    word = value.strip().lower().decode("latin-1")
    return word if _WORD.fullmatch(word) else None


def _truth(value: bytes | None) -> bool | None:
    return {b"true": True, b"false": False}.get(value.strip().lower()) if value is not None else None
