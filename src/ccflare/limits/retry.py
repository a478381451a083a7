"""When to try again, and how often traffic as a whole may."""

import math
import random

LONGEST_PAUSE_MS = 60_000
"""No pause between two attempts is longer."""

EXCHANGES_PER_RETRY = 5
"""In the long run one retry is earned by this many exchanges."""

MOST_COUNTED = 500.0
HALF_LIFE_MS = 10_000
RESERVE = 10.0
RESERVE_PER_MS = RESERVE / 10_000


def backoff_ms(
    attempt_index: int, *, delay_ms: int, factor: float, rng: random.Random, retry_after_ms: int | None = None
) -> int:
    """Return the pause before the next attempt, in milliseconds: 0 to `LONGEST_PAUSE_MS`.

    The first pause (index 0) is `delay_ms`, each later one `factor` times as long, all of them 25 % up or
    down so that exchanges that failed together do not come back together. When upstream asked for a time, the
    pause is that time or up to a quarter longer, never shorter.
    """
    if retry_after_ms is not None:
        return int(min(LONGEST_PAUSE_MS, max(0, retry_after_ms) * rng.uniform(1.0, 1.25)))
    try:
        pause = max(0.0, delay_ms * max(0.0, factor) ** max(0, attempt_index))
    except OverflowError:
        pause = LONGEST_PAUSE_MS
    return int(min(LONGEST_PAUSE_MS, min(LONGEST_PAUSE_MS, pause) * rng.uniform(0.75, 1.25)))


class RetryBudget:
    """A share of recent traffic that may be retries, so that a broken upstream is not hammered.

    Every `EXCHANGES_PER_RETRY` exchanges earn a retry; the count halves every ten seconds and never exceeds
    `MOST_COUNTED`. Beside that there is a small reserve, ten retries in ten seconds, for quiet times.
    """

    __slots__ = ("_exchanges", "_reserve", "_updated_ms")

    def __init__(self) -> None:
        self._exchanges = 0.0
        self._reserve = RESERVE
        self._updated_ms: int | None = None

    def left(self, now_ms: int) -> float:
        """Return how many retries could be taken at this moment."""
        elapsed_ms = 0 if self._updated_ms is None else max(0, now_ms - self._updated_ms)
        earned = self._exchanges * math.pow(0.5, elapsed_ms / HALF_LIFE_MS) // EXCHANGES_PER_RETRY
        return earned + min(RESERVE, self._reserve + elapsed_ms * RESERVE_PER_MS) // 1

    def deposit(self) -> None:
        """Count one exchange."""
        if self._exchanges < MOST_COUNTED - 1:
            self._exchanges += 1
        else:
            self._exchanges = MOST_COUNTED

    def withdraw(self, now_ms: int) -> bool:
        """Take one retry. False: there is none left, go on without retrying."""
        elapsed_ms = 0 if self._updated_ms is None else max(0, now_ms - self._updated_ms)
        self._updated_ms = now_ms
        self._exchanges *= 0.5 ** (elapsed_ms / HALF_LIFE_MS)
        self._reserve = min(RESERVE, self._reserve + elapsed_ms * RESERVE_PER_MS)
        if self._exchanges >= EXCHANGES_PER_RETRY:
            self._exchanges -= EXCHANGES_PER_RETRY
            return True
        if self._reserve >= 1:
            self._reserve -= 1
            return True
        return False
