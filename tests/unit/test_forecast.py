"""When a window runs out: exact where the pace is known, silent where it is not."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ccflare.forecast import (
    HOUR_MS,
    LEAST_GROWTH,
    MOST_SAMPLES,
    SHORTEST_MS,
    STEP,
    AccountWindows,
    KeptWindow,
    Outlook,
    Sample,
    forecast,
)

NOW = 1_800_000_000_000
MINUTE = 60_000


def said(at_ms: int, used: float | None, *, reset_ms: int | None = NOW + 5 * HOUR_MS) -> KeptWindow:
    """One answer's words about a window."""
    return KeptWindow("5h", at_ms, used, "allowed", reset_ms)


def followed(*answers: KeptWindow) -> KeptWindow:
    """The window as it is known after these answers."""
    known = answers[0].sampled()
    for answer in answers[1:]:
        known = answer.after(known)
    return known


def steady(minutes: int, per_minute: float, start: float = 0.0, step: float = 0.0) -> KeptWindow:
    """A window used at a steady pace up to now, asked about every minute, told in whole steps."""

    def told(minute: int) -> float:
        exact = start + per_minute * minute
        return math.floor(exact / step + 1e-9) * step if step else exact

    return followed(*(said(NOW - (minutes - minute) * MINUTE, told(minute)) for minute in range(minutes + 1)))


# The forecast.


@given(st.integers(5, 60), st.floats(0.0061, 0.016), st.floats(0, 0.03))
def test_a_steady_pace_gives_the_exact_instant(minutes: int, per_minute: float, start: float) -> None:
    window = steady(minutes, per_minute, start)
    exact = NOW + (1 - start - per_minute * minutes) / per_minute * MINUTE
    found = window.at(NOW).runs_out_at_ms
    assert found == pytest.approx(exact, abs=2)


@given(st.integers(5, 60), st.floats(0.001, 0.016), st.floats(0, 0.03))
def test_rounded_readings_are_off_by_no_more_than_a_step_of_growth(
    minutes: int, per_minute: float, start: float
) -> None:
    window = steady(minutes, per_minute, start, STEP)
    found = window.at(NOW).runs_out_at_ms
    growth = window.samples[-1].utilization - window.samples[0].utilization
    if growth < LEAST_GROWTH - 1e-9:
        assert found is None
        return
    assume(found is not None)
    assert found is not None
    left, elapsed = 1 - window.samples[-1].utilization, minutes * MINUTE
    exact = NOW + (1 - start - per_minute * minutes) / per_minute * MINUTE
    earliest = NOW + (left - STEP) * elapsed / (growth + STEP)
    latest = NOW + left * elapsed / (growth - STEP)
    assert earliest - 2 <= exact <= latest + 2
    assert earliest <= found <= latest


SAMPLES = st.lists(st.tuples(st.integers(-2 * HOUR_MS, HOUR_MS), st.floats(0, 1)), max_size=80).map(
    lambda found: [Sample(NOW + at_ms, used) for at_ms, used in sorted(found)]
)


@given(SAMPLES, st.none() | st.integers(-HOUR_MS, 9 * 24 * HOUR_MS))
def test_no_samples_give_an_instant_in_the_past_or_after_the_reset(samples: list[Sample], reset: int | None) -> None:
    reset_ms = None if reset is None else NOW + reset
    found = forecast(samples, reset_ms, NOW)
    assert found is None or found >= NOW
    assert found is None or reset_ms is None or found < reset_ms


@given(st.lists(st.floats(0, 0.01), min_size=10, max_size=50), st.floats(1, 2))
def test_a_faster_pace_runs_out_no_later(growths: list[float], factor: float) -> None:
    def runs_out(times: float) -> int | None:
        used, samples = 0.0, []
        for index, growth in enumerate(growths):
            used += growth * times
            samples.append(Sample(NOW - (len(growths) - 1 - index) * MINUTE, used))
        return forecast(samples, None, NOW)

    slow, fast = runs_out(0.5), runs_out(0.5 * factor)
    assert slow is None or (fast is not None and fast <= slow)


def test_an_account_that_falls_silent_slows_down_and_is_unknown_after_an_hour() -> None:
    window = steady(30, 0.01)
    found = [window.at(NOW + minutes * MINUTE).runs_out_at_ms for minutes in (0, 10, 20, 31)]
    assert found[0] == NOW + 70 * MINUTE
    assert found[1] is not None
    assert found[2] is not None
    assert found[0] < found[1] < found[2]
    assert window.at(NOW + 56 * MINUTE).runs_out_at_ms is None
    assert window.at(NOW + 2 * HOUR_MS).runs_out_at_ms is None


@pytest.mark.parametrize(
    "answers",
    [
        [said(NOW, 0.5)],
        [said(NOW - SHORTEST_MS + 1, 0.1), said(NOW, 0.9)],
        [said(NOW - 30 * MINUTE, 0.5), said(NOW, 0.52)],
        [said(NOW - 30 * MINUTE, None), said(NOW, None)],
        [said(NOW - 30 * MINUTE, 0.9), said(NOW, 1.0)],
        [said(NOW - 30 * MINUTE, 0.1, reset_ms=NOW + HOUR_MS), said(NOW, 0.2, reset_ms=NOW + HOUR_MS)],
        [said(NOW - 61 * MINUTE, 0.1), said(NOW, 0.5)],
    ],
    ids=["once", "too short", "within the rounding", "not told", "used up", "resets before", "not this hour"],
)
def test_what_is_not_known_is_not_told(answers: list[KeptWindow]) -> None:
    assert followed(*answers).at(NOW).runs_out_at_ms is None


def test_the_least_growth_and_the_shortest_span_are_enough() -> None:
    window = followed(said(NOW - SHORTEST_MS, 0.10), said(NOW, 0.13))
    assert window.at(NOW).runs_out_at_ms == NOW + round(0.87 / 0.03 * SHORTEST_MS)


# The samples.


@pytest.mark.parametrize(
    "anew",
    [
        said(NOW, 0.2),
        said(NOW, 0.41, reset_ms=NOW + 8 * HOUR_MS),
        said(NOW - 10 * HOUR_MS, 0.42),
        said(NOW + 6 * HOUR_MS, 0.42, reset_ms=None),
    ],
    ids=["used less", "another reset", "clock set back", "after its reset"],
)
def test_a_window_that_has_begun_anew_forgets_what_was_before(anew: KeptWindow) -> None:
    before = followed(said(NOW - 20 * MINUTE, 0.1), said(NOW - MINUTE, 0.4))
    assert anew.after(before).samples == (Sample(anew.said_at_ms, anew.utilization or 0),)


def test_answers_that_overtake_each_other_are_no_new_window() -> None:
    """A step down is rounding, an earlier instant is a late answer; neither loses the hour nor shrinks it."""
    before = followed(said(NOW - 20 * MINUTE, 0.1), said(NOW - MINUTE, 0.4, reset_ms=NOW + 5 * HOUR_MS + 900))
    assert said(NOW, 0.39).after(before).samples == (*before.samples, Sample(NOW, 0.4))
    assert said(NOW - MINUTE - 500, 0.4).after(before).samples == before.samples


@given(st.lists(st.integers(0, 90_000), max_size=300))
def test_samples_are_bounded_spaced_and_the_newest_is_the_last_word(gaps: list[int]) -> None:
    at_ms, known = NOW, said(NOW, 0.1).sampled()
    for gap in gaps:
        at_ms += gap
        known = said(at_ms, 0.1, reset_ms=None).after(known)
    instants = [sample.at_ms for sample in known.samples]
    assert instants[-1] == at_ms
    assert len(instants) <= MOST_SAMPLES
    assert instants[0] >= at_ms - HOUR_MS
    assert all(later - earlier >= MINUTE for earlier, later in pairwise(instants[:-1]))


# The window at an instant.


def test_after_its_reset_a_window_is_empty_again() -> None:
    known = AccountWindows("a", NOW, (steady(30, 0.01),))
    assert known.at(NOW + 5 * HOUR_MS) == (Outlook("5h", 0.0),)
    shown = known.at(NOW + 5 * HOUR_MS - 1)[0]
    assert shown.utilization == pytest.approx(0.3)
    assert (shown.status, shown.reset_ms) == ("allowed", NOW + 5 * HOUR_MS)
