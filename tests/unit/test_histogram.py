"""Histograms: what they promise about durations, and the form that is stored."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccflare.histogram import LONGEST_MS, RELATIVE_ERROR, Histogram

durations = st.lists(st.integers(0, 2 * LONGEST_MS), max_size=200)
some_durations = st.lists(st.integers(1, LONGEST_MS), min_size=1, max_size=200)
shares = st.floats(0, 1)


def exact(values: list[int], share: float) -> int:
    """The smallest value that at least this share of all do not exceed."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


@given(some_durations, shares)
def test_a_quantile_is_near_the_exact_one(values: list[int], share: float) -> None:
    """Between 1 ms and the longest duration it is at most 2 % away, for any share of any durations."""
    (found,) = Histogram.of(values).quantiles(share)
    assert found == pytest.approx(exact(values, share), rel=RELATIVE_ERROR)


@given(st.floats(1, LONGEST_MS))
def test_fractions_are_near_too(value: float) -> None:
    """Durations need not be whole milliseconds."""
    assert Histogram.of([value]).quantiles(0.5)[0] == pytest.approx(value, rel=RELATIVE_ERROR)


@given(durations, durations)
def test_durations_may_be_stored_without_being_added_first(some: list[int], others: list[int]) -> None:
    """A few one behind the other, in any number of pieces, are what all of them make, and are not longer."""
    stored = Histogram.packed_of(some) + Histogram.packed_of(others)
    assert Histogram.unpacked(stored) == Histogram.of(some + others)
    assert len(Histogram.packed_of(some[:1])) == len(Histogram.of(some[:1]).packed())


def test_an_hour_is_told_from_more() -> None:
    """The range reaches beyond the longest exchange; what lies outside counts as its end."""
    assert LONGEST_MS > 3_600_000
    assert Histogram.of([3_600_000]).quantiles(1)[0] == pytest.approx(3_600_000, rel=RELATIVE_ERROR)
    assert Histogram.of([10**12]).quantiles(1)[0] == pytest.approx(LONGEST_MS, rel=2 * RELATIVE_ERROR)
    assert Histogram.of([-5, 0, 0.2, 1]).quantiles(1) == (1.0,)


@given(durations, durations, durations)
def test_merging_is_counting_together(one: list[int], two: list[int], three: list[int]) -> None:
    """In any order and grouping the result is the histogram of all durations."""
    a, b, c = map(Histogram.of, (one, two, three))
    assert (a + b) + c == a + (b + c) == c + b + a == Histogram.merged([b, c, a]) == Histogram.of(one + two + three)
    assert (a + b + c).total == len(one) + len(two) + len(three)


@given(durations)
def test_what_is_stored_comes_back(values: list[int]) -> None:
    """Packing loses nothing."""
    made = Histogram.of(values)
    assert Histogram.unpacked(made.packed()) == made


@given(st.lists(durations, max_size=5))
def test_stored_forms_in_a_row_are_their_sum(parts: list[list[int]]) -> None:
    """Bytes can be put one behind the other without being read."""
    joined = b"".join(Histogram.of(part).packed() for part in parts)
    assert Histogram.unpacked(joined) == Histogram.merged(map(Histogram.of, parts))


@pytest.mark.parametrize("count", [254, 255, 256, 65_536, 1_000_000])
def test_counts_of_any_size_are_stored(count: int) -> None:
    """A count that does not fit a byte is stored like any other, with small ones beside it."""
    made = Histogram.merged([Histogram.of([5_000])] * count) + Histogram.of([1, 90_000])
    assert Histogram.unpacked(made.packed()) == made
    assert made.total == count + 2


def test_a_histogram_is_stored_small() -> None:
    """A thousand durations between half a second and a minute take less than 200 bytes."""
    spread = Histogram.of(500 * 120 ** (n / 999) for n in range(1000))
    assert spread.total == 1000
    assert len(spread.packed()) < 200


def test_nothing_has_no_quantile() -> None:
    """Without a duration there is no percentile, rather than one of 0."""
    for nothing in (Histogram(), Histogram.of([]), Histogram.unpacked(None), Histogram.unpacked(b"")):
        assert nothing.quantiles(0.5, 0.99) == (None, None)
        assert (nothing.total, nothing.packed()) == (0, b"")


def test_histograms_are_values() -> None:
    """Equal contents are equal, and what is shown says how many there are."""
    assert {Histogram.of([1, 2]), Histogram.of([2, 1])} == {Histogram.of([1]) + Histogram.of([2])}
    assert Histogram.of([1]) != 1
    assert "2" in repr(Histogram.of([1, 2]))
