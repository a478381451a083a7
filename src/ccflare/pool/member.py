"""One account in the pool: its record, what upstream said about it, and what follows from both."""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ccflare.forecast import AccountWindows, Aside, Outlook
from ccflare.limits import NO_LIMITS, Budget, Reading
from ccflare.pool.windows import completed, heard, remembered, told
from ccflare.records import Account, State, state_of
from ccflare.strategy import headroom_bucket

COOL_MS: Final = 5_000
"""The first pause of an account whose reset is not known; each further one is twice as long."""
LONGEST_COOL_MS: Final = 300_000
LONGEST_ASIDE_MS: Final = 60_000
"""The longest pause on evidence that is not about the account as a whole."""
NEVER: Final = 1 << 62
"""An instant after all others: what does not come back by itself comes back then."""
MOST_ASIDES: Final = 64
"""Models set aside per account; clients choose the names."""
SAME_RESET_MS: Final = 60_000
"""Resets that differ by less are told once."""
KEEP_EVERY_MS: Final = 1_000
"""What answers say about an account's windows is handed to the store at most this often."""

SETTLED_MS: Final = 1_000
"""After so long what another worker has learnt is in the store, or never will be."""

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_LAST_YEAR_MS = 253_402_300_799_000
_LEARNT: Final = (
    "limited_until_ms",
    "limited_reason",
    "rate_limit_status",
    "rate_limit_reset_ms",
    "rate_limit_remaining",
    "auth_failed_reason",
)
_AGAINST: Final = frozenset({"limited_until_ms", "limited_reason", "auth_failed_reason"})


class Standing(msgspec.Struct, frozen=True):
    """How an account stands at one instant."""

    account: Account
    state: State
    in_flight: int
    sessions: int
    """Sessions bound to it; some of them may have ended lately."""
    windows: tuple[Outlook, ...]
    budgets: tuple[Budget, ...]
    asides: tuple[Aside, ...]


class _Pause:
    __slots__ = ("reason", "streak", "until_ms")

    def __init__(self, until_ms: int, streak: int, reason: str) -> None:
        self.until_ms = until_ms
        self.streak = streak
        self.reason = reason


class Member:
    """An account in the pool. `id`, `priority`, `bucket`, `in_flight` and `idle_rank` are what ranks it."""

    __slots__ = (
        "account",
        "adopted_at_ms",
        "base",
        "bucket",
        "elsewhere",
        "families",
        "family_buckets",
        "id",
        "idle_rank",
        "in_flight",
        "kept",
        "kept_at_ms",
        "models",
        "priority",
        "reading",
        "ready_at_ms",
        "sent",
        "stale_at_ms",
        "streak",
        "windows",
    )

    def __init__(self, account: Account, in_flight: int, now_ms: int) -> None:
        self.id = account.id
        self.base = self.sent = account
        """The record as the store has it; as it was last taken to be stored."""
        self.in_flight = in_flight
        """Of all workers, as far as this one knows."""
        self.elsewhere = 0
        """The part of it that other workers have."""
        self.adopted_at_ms = 0
        self.streak = 0
        """Pauses of unknown length since the last success."""
        self.models: dict[str, _Pause] = {}
        self.families: dict[str, _Pause] = {}
        self.idle_rank = -(account.last_used_ms or 0)
        self.windows = self.kept = AccountWindows(account.id)
        """What is known of the windows; as it was last taken to be stored."""
        self.kept_at_ms = 0
        self.reading = NO_LIMITS
        self._set(account)
        self.refresh(now_ms)

    # The record.

    def _set(self, account: Account) -> None:
        self.account = account
        self.priority = account.priority
        returns = state_of(account, NEVER) == "active"
        self.ready_at_ms = (account.limited_until_ms or 0) if returns else NEVER

    def learn(self, **fields: Any) -> None:
        """Change run-time fields of the record."""
        self._set(msgspec.structs.replace(self.account, **fields))

    def adopt(self, now_ms: int, **fields: Any) -> None:
        """Take over what another worker has learnt, and brings into the store: it counts here until it is there."""
        self.learn(**fields)
        self.adopted_at_ms = now_ms

    def settle(self, now_ms: int) -> None:
        """Leave what was adopted a while ago to the store."""
        if self.adopted_at_ms and not 0 <= now_ms - self.adopted_at_ms < SETTLED_MS:
            self.adopted_at_ms, self.base = 0, self.account

    def record(self) -> Account:
        """Return the record with the instant of the last use, which is only written into it here."""
        used_ms = -self.idle_rank or None
        if used_ms != self.account.last_used_ms:
            self.account = msgspec.structs.replace(self.account, last_used_ms=used_ms)
        return self.account

    def reload(self, stored: Account) -> bool:
        """Take the store's record over, except what has been learnt here and the store does not have yet.

        When a person has resumed the account since, what was learnt against it does not count: then True, and the
        store is to be told.
        """
        resumed = stored.resumed_at_ms != self.account.resumed_at_ms
        if resumed:
            self.try_again()
        learnt = {
            name: getattr(self.account, name)
            for name in _LEARNT
            if getattr(self.account, name) != getattr(self.base, name) and not (resumed and name in _AGAINST)
        }
        self.idle_rank = min(self.idle_rank, -(stored.last_used_ms or 0))
        self.base = stored
        self._set(msgspec.structs.replace(stored, **learnt) if learnt else stored)
        return resumed

    # What answers said.

    def note(self, reading: Reading, now_ms: int) -> None:
        """Take over the limits that an answer reported; windows that it does not name stay as they were."""
        self.windows = heard(self.windows, reading, now_ms)
        self.reading = completed(reading, self.windows)
        self.refresh(now_ms)

    def restore(self, kept: AccountWindows, now_ms: int) -> None:
        """Take over what an earlier run, or another worker, was told, unless an answer has said something since."""
        if kept.said_at_ms > self.windows.said_at_ms:
            self.windows = self.kept = kept
            self.reading = remembered(kept, now_ms)
            self.refresh(now_ms)

    def restore_asides(self, kept: AccountWindows, now_ms: int) -> None:
        """Take over what an earlier run has set aside, as far as it still holds."""
        for aside in kept.asides_at(now_ms):
            pauses = self.families if aside.family else self.models
            pauses.setdefault(aside.model, _Pause(aside.until_ms, 0, aside.reason))

    def take_windows(self, now_ms: int) -> AccountWindows | None:
        """Return what the store does not know yet about windows and asides, None when there is nothing new."""
        self.kept_at_ms = now_ms
        self.windows = msgspec.structs.replace(self.windows, asides=self.asides(now_ms))
        before, self.kept = self.kept, self.windows
        return None if told(before) == told(self.windows) else self.windows

    def windows_due(self, now_ms: int) -> bool:
        """Say whether the windows may be handed to the store again."""
        return not 0 <= now_ms - self.kept_at_ms < KEEP_EVERY_MS

    def refresh(self, now_ms: int) -> None:
        """Compute what is left anew, and until when that holds."""
        reading = self.reading
        self.bucket = headroom_bucket(reading.headroom_at(now_ms))
        self.family_buckets: dict[str, int] = {}
        self.stale_at_ms = NEVER
        for reset_ms in reading.resets_ms():
            if now_ms < reset_ms < self.stale_at_ms:
                self.stale_at_ms = reset_ms
        for window in reading.windows:
            if window.scope is not None:
                bucket = headroom_bucket(reading.headroom_at(now_ms, window.scope))
                if bucket:
                    self.family_buckets[window.scope] = bucket

    # When it serves.

    def opens_at(self, model: str | None) -> int:
        """Return when the account can serve a model; `NEVER` when it does not come back by itself."""
        at_ms = self.ready_at_ms
        if model is None or not (self.models or self.families):
            return at_ms
        pause = self.models.get(model)
        if pause is not None:
            at_ms = max(at_ms, pause.until_ms)
        if self.families:
            words = model.split("-")
            for family, pause in self.families.items():
                if family in words:
                    at_ms = max(at_ms, pause.until_ms)
        return at_ms

    def limit(self, until_ms: int | None, reason: str, longest_ms: int, now_ms: int) -> bool | None:
        """Have the whole account wait. None: nothing changed; False: not worth telling."""
        before_ms = max(now_ms, self.account.limited_until_ms or 0)
        if until_ms is None:
            if before_ms > now_ms:
                return None  # exchanges that were under way together fail together: that is one failure
            until_ms = now_ms + _pause_ms(self.streak, longest_ms)
            self.streak += 1
        if until_ms <= before_ms:
            return None
        self.learn(limited_until_ms=until_ms, limited_reason=reason)
        return before_ms == now_ms or until_ms - before_ms >= SAME_RESET_MS

    def aside_until(self, name: str, *, family: bool) -> int:
        """Return until when a model or family is set aside; 0 when it is not."""
        pause = (self.families if family else self.models).get(name)
        return 0 if pause is None else pause.until_ms

    def set_aside(self, aside: Aside, now_ms: int) -> str | None:
        """Have one model or family wait; an `until_ms` of 0 means a pause of unknown length.

        Returns a line for the log when that is new.
        """
        pauses = self.families if aside.family else self.models
        old = pauses.get(aside.model)
        before_ms = max(now_ms, old.until_ms if old else 0)
        streak, until_ms = old.streak if old else 0, aside.until_ms
        if not until_ms:
            if before_ms > now_ms:
                return None
            until_ms = now_ms + _pause_ms(streak, LONGEST_ASIDE_MS)
            streak += 1
        if until_ms <= before_ms:
            return None
        pauses.pop(aside.model, None)
        if len(pauses) >= MOST_ASIDES:
            del pauses[min(pauses, key=lambda name: pauses[name].until_ms)]
        pauses[aside.model] = _Pause(until_ms, streak, aside.reason)
        if before_ms > now_ms and until_ms - before_ms < SAME_RESET_MS:
            return None
        model = _UNPRINTABLE.sub("?", aside.model[:80]) + (" models" if aside.family else "")
        return f"Account {self.account.name} is rate limited for {model} until {iso(until_ms)}: {aside.reason}"

    def try_again(self) -> None:
        """Forget what it is not asked for at the moment."""
        self.models.clear()
        self.families.clear()
        self.streak = 0

    def asides(self, now_ms: int) -> tuple[Aside, ...]:
        """Return what it is not asked for at the moment."""
        return tuple(
            Aside(model, pauses is self.families, pause.until_ms, pause.reason)
            for pauses in (self.models, self.families)
            for model, pause in pauses.items()
            if pause.until_ms > now_ms
        )

    def recover(self, now_ms: int) -> str | None:
        """Take back a limit that has passed and a refused credential, after a success; say so."""
        account = self.account
        if account.auth_failed_reason is not None:
            self.learn(auth_failed_reason=None)
            return f"Account {account.name} is available again: its credential was accepted"
        if account.limited_until_ms is None or account.limited_until_ms > now_ms:
            return None
        self.learn(limited_until_ms=None, limited_reason=None)
        return f"Account {account.name} is available again, rate limited until {iso(account.limited_until_ms)}"

    def set_back(self, by_ms: int) -> bool:
        """Have every wait end as long from now as before, after the clock was set back. True: the record changed."""
        for pauses in (self.models, self.families):
            for pause in pauses.values():
                pause.until_ms -= by_ms
        self.kept_at_ms -= by_ms
        if self.account.limited_until_ms is None:
            return False
        self.learn(limited_until_ms=max(0, self.account.limited_until_ms - by_ms))
        return True

    def standing(self, sessions: int, now_ms: int) -> Standing:
        """Return how the account stands."""
        account = self.record()
        state, windows = state_of(account, now_ms), self.windows.at(now_ms)
        budgets = tuple(budget.at(now_ms) for budget in self.reading.budgets)
        return Standing(account, state, self.in_flight, sessions, windows, budgets, self.asides(now_ms))


def iso(at_ms: int | None) -> str:
    """Return an instant as ISO time in UTC."""
    if at_ms is None:
        return "unknown"
    at = datetime.fromtimestamp(min(at_ms, _LAST_YEAR_MS) / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _pause_ms(streak: int, longest_ms: int) -> int:
    """Return how long the next pause of unknown length is."""
    return min(COOL_MS << min(streak, 16), longest_ms)
