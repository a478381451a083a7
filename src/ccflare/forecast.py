"""Rate-limit windows as they are kept through restarts, and when each runs out at the pace of the last hour.

Upstream rounds a window's utilization to hundredths (captures, November 2026). So two readings differ by up to
one step more or less than what was used, and a pace is told only where the growth is several steps. What is not
known is None, never a guess.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

HOUR_MS: Final = 3_600_000
SPACING_MS: Final = 60_000
"""Samples of one window are this far apart; only the newest is nearer to the one before it."""
MOST_SAMPLES: Final = 64
SHORTEST_MS: Final = 300_000
"""A pace is told from samples that span at least this."""
STEP: Final = 0.01
"""What upstream rounds to."""
LEAST_GROWTH: Final = 3 * STEP
"""A growth of n steps is known to 1/n: with three the pace is at most a third off."""
SAME_RESET_MS: Final = 60_000
"""Resets that differ by less are the same one, told with another rounding."""

_TINY: Final = 1e-9


class Sample(NamedTuple):
    """How much of a window was used at an instant."""

    at_ms: int
    utilization: float


class Outlook(msgspec.Struct, frozen=True):
    """A window at one instant, for routing's views, programs and people."""

    name: str
    """For example `5h`, `7d` or `7d_opus`."""
    utilization: float | None = None
    """Share used, 0 to 1."""
    status: str | None = None
    """Upstream's own word."""
    reset_ms: int | None = None
    """When it begins anew; None when unknown, or when it has begun anew and nothing was said since."""
    runs_out_at_ms: int | None = None
    """When it is used up at the pace of the last hour. None: not known, not before it resets, or used up already."""


class KeptWindow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A window as upstream described it last, and how it came there."""

    name: str
    said_at_ms: int
    utilization: float | None = None
    status: str | None = None
    reset_ms: int | None = None
    samples: tuple[Sample, ...] = ()
    """Oldest first, of this window since it began anew, at most an hour."""

    def after(self, before: "KeptWindow") -> "KeptWindow":
        """Return this window with the samples of what was said before, as far as they are about the same one."""
        old = () if _begun_anew(before, self) else before.samples
        return self.sampled(old)

    def sampled(self, old: tuple[Sample, ...] = ()) -> "KeptWindow":
        """Return this window with older samples and its own."""
        if self.utilization is None:
            return self
        return msgspec.structs.replace(self, samples=_with(old, Sample(self.said_at_ms, self.utilization)))

    def at(self, now_ms: int) -> Outlook:
        """Return how the window stands at an instant: after its reset it is empty again."""
        if self.reset_ms is not None and self.reset_ms <= now_ms:
            return Outlook(self.name, None if self.utilization is None else 0.0)
        runs_out_at_ms = forecast(self.samples, self.reset_ms, now_ms)
        return Outlook(self.name, self.utilization, self.status, self.reset_ms, runs_out_at_ms)


class KeptBudget(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was left of a key account's allowance when upstream told it last."""

    name: str
    limit: int | None = None
    remaining: int | None = None
    reset_ms: int | None = None


class Aside(msgspec.Struct, frozen=True):
    """A model, or a family of models, that an account does not serve for now."""

    model: str
    family: bool
    until_ms: int
    reason: str


class AccountWindows(msgspec.Struct, frozen=True):
    """What upstream said last about one account's limits: a row of `account_windows`."""

    account_id: str
    said_at_ms: int = 0
    windows: tuple[KeptWindow, ...] = ()
    budgets: tuple[KeptBudget, ...] = ()
    asides: tuple[Aside, ...] = ()

    def asides_at(self, now_ms: int) -> tuple[Aside, ...]:
        """Return what is still set aside at an instant."""
        return tuple(aside for aside in self.asides if aside.until_ms > now_ms)

    def at(self, now_ms: int) -> tuple[Outlook, ...]:
        """Return how the windows stand at an instant, by name."""
        return tuple(window.at(now_ms) for window in self.windows)


def forecast(samples: Sequence[Sample], reset_ms: int | None, now_ms: int) -> int | None:
    """Return when utilization reaches 1 at the pace of the last hour; never before `now_ms`.

    The pace is the growth since the first sample of the hour over all the time since then, so that an account
    nothing is heard of slows down. None where nothing honest can be said (see `Outlook.runs_out_at_ms`).
    """
    recent = [sample for sample in samples if now_ms - HOUR_MS <= sample.at_ms <= now_ms]
    if not recent or recent[-1].at_ms - recent[0].at_ms < SHORTEST_MS:
        return None
    left = 1.0 - recent[-1].utilization
    growth = recent[-1].utilization - recent[0].utilization
    if left <= 0 or growth < LEAST_GROWTH - _TINY:
        return None
    runs_out_at_ms = now_ms + round(left * (now_ms - recent[0].at_ms) / growth)
    return None if reset_ms is not None and runs_out_at_ms >= reset_ms else runs_out_at_ms


def _begun_anew(before: KeptWindow, said: KeptWindow) -> bool:
    """Say whether the window has begun anew in between, or the clock was set back."""
    if before.reset_ms is not None:
        moved_ms = 0 if said.reset_ms is None else abs(said.reset_ms - before.reset_ms)
        if said.said_at_ms >= before.reset_ms or moved_ms > SAME_RESET_MS:
            return True
    if not before.samples or said.utilization is None:
        return True
    last = before.samples[-1]
    # Answers that overtake each other differ by a step: that is no new window.
    return said.utilization < last.utilization - STEP - _TINY or said.said_at_ms < last.at_ms - SPACING_MS


def _with(old: tuple[Sample, ...], new: Sample) -> tuple[Sample, ...]:
    """Add a sample, in the last one's place where that is too near to the one before it."""
    if old and new.at_ms < old[-1].at_ms:
        return old
    if old:
        new = Sample(new.at_ms, max(new.utilization, old[-1].utilization))
    near = len(old) > 1 and old[-1].at_ms - old[-2].at_ms < SPACING_MS
    kept = [sample for sample in (old[:-1] if near else old) if sample.at_ms >= new.at_ms - HOUR_MS]
    return (*kept[1 - MOST_SAMPLES :], new)
