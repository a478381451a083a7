"""What upstream said about an account's limits: as routing reads it, and as it is kept through restarts."""

from typing import Final

import msgspec

from ccflare.forecast import AccountWindows, KeptBudget, KeptWindow
from ccflare.limits import NO_LIMITS, Budget, Reading, Window

MOST_WINDOWS: Final = 24
"""Windows that are known of one account; upstream chooses the names."""
FORGET_AFTER_MS: Final = 8 * 24 * 3_600_000
"""What was said longer ago says nothing: no window is longer."""


def heard(known: AccountWindows, reading: Reading, now_ms: int) -> AccountWindows:
    """Return what is known after an answer. Windows that it does not name go on until their reset."""
    before = {window.name: window for window in known.windows}
    windows = []
    for window in reading.windows:
        said = KeptWindow(window.name, now_ms, window.utilization, window.status, window.reset_ms)
        last = before.pop(window.name, None)
        windows.append(said.sampled() if last is None else said.after(last))
    windows += [window for window in before.values() if window.reset_ms is not None and window.reset_ms > now_ms]
    budgets = tuple(KeptBudget(each.name, each.limit, each.remaining, each.reset_ms) for each in reading.budgets)
    return AccountWindows(
        known.account_id,
        now_ms,
        tuple(sorted(windows[:MOST_WINDOWS], key=lambda window: window.name)),
        budgets or known.budgets,
        known.asides,
    )


def completed(reading: Reading, known: AccountWindows) -> Reading:
    """Return an answer's reading with the windows it did not name."""
    named = {window.name for window in reading.windows}
    others = tuple(_window(window) for window in known.windows if window.name not in named)
    return msgspec.structs.replace(reading, windows=reading.windows + others) if others else reading


def remembered(kept: AccountWindows, now_ms: int) -> Reading:
    """Return what an earlier run was told, as far as it still holds."""
    if kept.said_at_ms < now_ms - FORGET_AFTER_MS:
        return NO_LIMITS
    running = [window for window in kept.windows if window.reset_ms is None or window.reset_ms > now_ms]
    budgets = [budget for budget in kept.budgets if budget.reset_ms is None or budget.reset_ms > now_ms]
    return Reading(
        windows=tuple(_window(window) for window in running),
        budgets=tuple(Budget(each.name, each.limit, each.remaining, each.reset_ms) for each in budgets),
    )


def told(windows: AccountWindows) -> object:
    """Return what makes it worth keeping again: anything but the mere instant at which it was said."""
    return [
        (window.name, window.utilization, window.status, window.reset_ms, window.samples[-2:-1])
        for window in windows.windows
    ], (windows.budgets, windows.asides)


def _window(window: KeptWindow) -> Window:
    return Window(window.name, window.utilization, window.status, window.reset_ms)
