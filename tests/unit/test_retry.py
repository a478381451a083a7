"""When to try again, and how often traffic as a whole may."""

import random

import pytest

from ccflare.limits import (
    RetryBudget,
    backoff_ms,
)

NOW = 1_800_000_000_000
NOW_S = NOW // 1000


def test_pauses_grow_and_are_spread() -> None:
    """The n-th pause is delay times factor to the n, a quarter up or down, and never over a minute."""
    rng = random.Random(1)
    for index in range(200):
        pause = backoff_ms(index, delay_ms=1000, factor=2, rng=rng)
        expected = min(60_000, 1000 * 2**index)
        assert expected * 0.75 - 1 <= pause <= min(60_000, expected * 1.25)
    first_pauses = {backoff_ms(0, delay_ms=1000, factor=2, rng=rng) for _ in range(50)}
    assert len(first_pauses) > 10


def test_pause_that_upstream_asked_for() -> None:
    """The pause is at least what upstream asked for, at most a quarter more, and never over a minute."""
    rng = random.Random(2)
    asked = [backoff_ms(5, delay_ms=1000, factor=2, rng=rng, retry_after_ms=2000) for _ in range(100)]
    assert min(asked) >= 2000
    assert max(asked) <= 2500
    assert backoff_ms(0, delay_ms=1, factor=2, rng=rng, retry_after_ms=10**9) == 60_000


@pytest.mark.parametrize(("delay_ms", "factor"), [(0, 2.0), (-5, 2.0), (1000, -1.0), (1000, 1e308), (10**9, 10)])
def test_odd_settings_give_a_pause_within_bounds(delay_ms: int, factor: float) -> None:
    """No setting makes a pause negative, endless or an error."""
    for index in (0, 1, 5, 5000):
        assert 0 <= backoff_ms(index, delay_ms=delay_ms, factor=factor, rng=random.Random(3)) <= 60_000


def test_budget_is_a_share_of_traffic() -> None:
    """After a burst of exchanges a fifth of them may be retried, plus the reserve."""
    budget = RetryBudget()
    for _ in range(100):
        budget.deposit()
    assert sum(budget.withdraw(NOW) for _ in range(200)) == 20 + 10


def test_budget_refills_its_reserve() -> None:
    """Without traffic there are ten retries, and ten more after ten seconds, however long nobody asked."""
    budget = RetryBudget()
    assert sum(budget.withdraw(NOW) for _ in range(50)) == 10
    assert sum(budget.withdraw(NOW + 5_000) for _ in range(50)) == 5
    assert sum(budget.withdraw(NOW + 10**9) for _ in range(50)) == 10


def test_budget_forgets_old_traffic_and_is_bounded() -> None:
    """Earned retries halve in ten seconds and never exceed a hundred; a clock that goes back adds none."""
    budget = RetryBudget()
    for _ in range(10_000):
        budget.deposit()
    assert budget.withdraw(NOW)
    assert sum(budget.withdraw(NOW + 10_000) for _ in range(500)) == 49 + 10
    assert not budget.withdraw(NOW - 10**6)
