"""The pool remembers what upstream said about windows, and hands it over to be kept."""

from ccflare.forecast import AccountWindows, KeptBudget, KeptWindow, Sample
from ccflare.limits import Budget, Reading, Window
from ccflare.pool import Ask, Pool, Standing
from ccflare.pool.windows import FORGET_AFTER_MS, MOST_WINDOWS
from pool_kit import HOUR, MINUTE, NOW, OPUS, account, names, pool_of

RESET = NOW + 2 * HOUR


def window(name: str = "5h", used: float = 0.5, reset_ms: int | None = RESET) -> Window:
    return Window(name, used, "allowed", reset_ms)


def standing(pool: Pool, now_ms: int = NOW) -> Standing:
    return pool.states(now_ms)[0]


def shown(pool: Pool, now_ms: int = NOW) -> dict[str, float | None]:
    return {each.name: each.utilization for each in standing(pool, now_ms).windows}


def kept(used: float, *, name: str = "5h", said_at_ms: int = NOW, reset_ms: int | None = RESET) -> AccountWindows:
    return AccountWindows("a", said_at_ms, (KeptWindow(name, said_at_ms, used, "allowed", reset_ms),))


# What is known.


def test_a_window_that_an_answer_does_not_name_goes_on_until_its_reset() -> None:
    """Windows of one model come with that model's answers only; routing heeds them in between."""
    pool = pool_of("a", "b")
    pool.note("a", Reading(windows=(window(), window("7d_opus", 0.99))), NOW)
    pool.note("a", Reading(windows=(window(used=0.51),)), NOW + MINUTE)
    assert shown(pool, NOW + MINUTE) == {"5h": 0.51, "7d_opus": 0.99}
    assert names(pool, Ask(None, OPUS), NOW + MINUTE) == ["b", "a"]
    pool.note("a", Reading(windows=(window(used=0.0, reset_ms=RESET + 5 * HOUR),)), RESET)
    assert shown(pool, RESET) == {"5h": 0.0}
    assert names(pool, Ask(None, OPUS), RESET) == ["a", "b"]


def test_a_window_after_its_reset_is_shown_empty() -> None:
    pool = pool_of("a")
    pool.note("a", Reading(windows=(window(used=1.0),)), NOW)
    assert (shown(pool, RESET - 1), shown(pool, RESET)) == ({"5h": 1.0}, {"5h": 0.0})


def test_standings_say_when_a_window_runs_out_at_this_pace() -> None:
    pool = pool_of("a")
    for minutes in range(0, 31, 10):
        at_ms = NOW + minutes * MINUTE
        pool.note("a", Reading(windows=(window(used=0.5 + minutes / 100),)), at_ms)
    found = standing(pool, NOW + 30 * MINUTE).windows[0]
    assert (found.status, found.reset_ms, found.runs_out_at_ms) == ("allowed", RESET, NOW + 50 * MINUTE)


def test_an_upstream_that_makes_up_names_fills_a_bounded_place() -> None:
    pool = pool_of("a")
    for index in range(50):
        pool.note("a", Reading(windows=tuple(window(f"w{index}x{part}") for part in range(10))), NOW + index)
    assert len(shown(pool, NOW + 50)) == MOST_WINDOWS
    assert all(f"w49x{part}" in shown(pool, NOW + 50) for part in range(10))


# Keeping it.


def test_what_an_answer_says_is_handed_over_once() -> None:
    pool = pool_of("a", "b")
    assert pool.take_windows(NOW) == ()
    budget = Budget("requests", 50, 49, NOW + MINUTE)
    pool.note("a", Reading(windows=(window(),), budgets=(budget,)), NOW)
    (taken,) = pool.take_windows(NOW)
    expected = KeptWindow("5h", NOW, 0.5, "allowed", RESET, (Sample(NOW, 0.5),))
    assert taken == AccountWindows("a", NOW, (expected,), (KeptBudget("requests", 50, 49, NOW + MINUTE),))
    assert pool.take_windows(NOW + HOUR) == ()


def test_the_same_words_again_are_not_written_again_within_a_minute() -> None:
    """But once a minute they are: that is a sample."""
    pool = pool_of("a")
    taken: list[AccountWindows] = []
    for seconds in range(0, 120, 2):
        pool.note("a", Reading(windows=(window(),)), NOW + seconds * 1000)
        taken += pool.take_windows(NOW + seconds * 1000)
    assert len(taken) <= 4
    assert taken[-1].said_at_ms >= NOW + MINUTE


def test_of_one_account_something_is_handed_over_once_a_second_and_the_last_word_at_last() -> None:
    pool = pool_of("a")
    taken: list[AccountWindows] = []
    for tenths in range(31):
        pool.note("a", Reading(windows=(window(used=tenths / 100),)), NOW + tenths * 100)
        taken += pool.take_windows(NOW + tenths * 100)
    assert len(taken) == 4
    assert pool.take_windows(NOW + 3_999) == ()
    pool.note("a", Reading(windows=(window(used=0.9),)), NOW + 3_100)
    assert pool.take_windows(NOW + 3_200) == ()
    assert pool.take_windows(NOW + 4_000)[0].windows[0].utilization == 0.9


def test_a_clock_set_back_does_not_stop_the_keeping() -> None:
    pool = pool_of("a")
    pool.note("a", Reading(windows=(window(),)), NOW)
    pool.take_windows(NOW)
    pool.note("a", Reading(windows=(window(used=0.6),)), NOW - HOUR)
    assert len(pool.take_windows(NOW - HOUR)) == 1


def test_nothing_is_handed_over_for_an_account_that_was_removed() -> None:
    pool = pool_of("a")
    pool.note("a", Reading(windows=(window(),)), NOW)
    pool.load([account("b")], NOW)
    assert pool.take_windows(NOW) == ()


# After a restart.


def test_routing_and_views_know_the_windows_of_an_earlier_run() -> None:
    pool = pool_of("a", "b")
    assert names(pool) == ["a", "b"]
    pool.restore_windows([kept(0.99)], NOW)
    assert names(pool) == ["b", "a"]
    assert shown(pool) == {"5h": 0.99}
    assert names(pool, now_ms=RESET) == ["a", "b"]
    assert pool.take_windows(NOW) == ()


def test_the_pace_of_an_earlier_run_goes_on() -> None:
    """A restart does not lose the hour."""
    first, second = pool_of("a"), pool_of("a")
    for minutes in (0, 20):
        first.note("a", Reading(windows=(window(used=0.5 + minutes / 100),)), NOW + minutes * MINUTE)
    second.restore_windows(first.take_windows(NOW + 20 * MINUTE), NOW + 20 * MINUTE)
    second.note("a", Reading(windows=(window(used=0.75),)), NOW + 25 * MINUTE)
    assert standing(second, NOW + 25 * MINUTE).windows[0].runs_out_at_ms == NOW + 50 * MINUTE


def test_a_window_that_has_ended_since_is_empty() -> None:
    pool = pool_of("a", "b")
    pool.restore_windows([kept(0.99, reset_ms=NOW - 1, said_at_ms=NOW - HOUR)], NOW)
    assert names(pool) == ["a", "b"]
    assert shown(pool) == {"5h": 0.0}


def test_a_budget_is_full_after_its_reset() -> None:
    """What is left is what was told until then, and all of it afterwards."""
    pool = pool_of("a")
    pool.note("a", Reading(budgets=(Budget("tokens", 100, 40, NOW + MINUTE), Budget("requests", 50, 49))), NOW)
    assert standing(pool).budgets == (Budget("tokens", 100, 40, NOW + MINUTE), Budget("requests", 50, 49))
    assert standing(pool, NOW + MINUTE).budgets == (Budget("tokens", 100, 100), Budget("requests", 50, 49))


def test_budgets_of_an_earlier_run_count_until_they_are_full_again() -> None:
    pool = pool_of("a", "b")
    budgets = (KeptBudget("requests", 100, 1, NOW + MINUTE), KeptBudget("tokens", 100, 1, NOW - 1))
    pool.restore_windows([AccountWindows("a", NOW - 1, (), budgets)], NOW)
    assert names(pool) == ["b", "a"]
    assert [budget.name for budget in standing(pool).budgets] == ["requests"]
    assert names(pool, now_ms=NOW + MINUTE) == ["a", "b"]


def test_what_was_said_long_ago_or_about_nobody_is_forgotten() -> None:
    pool = pool_of("a", "b")
    old = kept(0.99, said_at_ms=NOW - FORGET_AFTER_MS - 1, reset_ms=None)
    pool.restore_windows([old, AccountWindows("gone", NOW)], NOW)
    assert names(pool) == ["a", "b"]


def test_what_this_run_was_told_wins_over_an_earlier_one() -> None:
    pool = pool_of("a")
    pool.note("a", Reading(windows=(window(used=0.1),)), NOW)
    pool.restore_windows([kept(0.99)], NOW)
    assert shown(pool) == {"5h": 0.1}
