"""How a period is composed of minutes, hours and days."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ccflare.histogram import Histogram
from ccflare.store.sums import DAY_MS, HOUR_MS, MINUTE_MS, UNITS_MS, Span, Sums, spans, total

minutes = st.integers(0, 3 * 365 * 1440).map(lambda minute: minute * MINUTE_MS)


@given(minutes, minutes, st.sampled_from(UNITS_MS))
def test_a_period_is_covered_once(one: int, other: int, coarsest: int) -> None:
    """The parts follow each other without gap or overlap, and each begins and ends with its unit."""
    begin, end = sorted((one, other))
    parts = spans(begin, end, coarsest)
    assert [part.from_ms for part in parts[:1]] == [begin][: len(parts)]
    assert [part.to_ms for part in parts[-1:]] == [end][: len(parts)]
    assert bool(parts) == (begin < end)
    assert all(earlier.to_ms == later.from_ms for earlier, later in pairwise(parts))
    assert all(part.from_ms % part.unit_ms == part.to_ms % part.unit_ms == 0 for part in parts)
    assert all(part.unit_ms <= coarsest for part in parts)


@given(minutes, minutes)
def test_few_rows_are_read(one: int, other: int) -> None:
    """At most 2 x 59 minutes and 2 x 23 hours are read, however long the period is."""
    parts = spans(*sorted((one, other)))
    rows = {
        unit: sum((part.to_ms - part.from_ms) // unit for part in parts if part.unit_ms == unit) for unit in UNITS_MS
    }
    assert rows[MINUTE_MS] <= 118
    assert rows[HOUR_MS] <= 46


def test_an_example() -> None:
    """From half past eleven in the evening to a quarter past one, two days later."""
    begin, end = DAY_MS - 30 * MINUTE_MS, 3 * DAY_MS + 75 * MINUTE_MS
    assert spans(begin, end) == [
        Span(MINUTE_MS, begin, DAY_MS),
        Span(DAY_MS, DAY_MS, 3 * DAY_MS),
        Span(HOUR_MS, 3 * DAY_MS, 3 * DAY_MS + HOUR_MS),
        Span(MINUTE_MS, 3 * DAY_MS + HOUR_MS, end),
    ]


def test_what_nobody_said_stays_unknown() -> None:
    """A sum over unknown numbers is unknown; over some known ones it is theirs."""
    some, none = Sums(requests=1, input_tokens=5, latency=Histogram.of([7])), Sums(requests=2)
    both = total([some, none])
    assert (both.requests, both.input_tokens, both.output_tokens) == (3, 5, None)
    assert both.latency == Histogram.of([7])
    assert total([]) == Sums()
    assert total([none]) == none
