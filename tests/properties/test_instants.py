"""Instants of the API: the document's pattern and what is read are the same, for every day there is."""

import re
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccflare.api.instants import PATTERN, iso, milliseconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def described(text: str) -> bool:
    return re.fullmatch(PATTERN, text, re.ASCII) is not None


@given(st.datetimes(timezones=st.none() | OFFSETS), st.sampled_from(["T", " "]))
def test_every_instant_is_described_and_read(at: datetime, between: str) -> None:
    """However the standard library writes it, in whatever year; without an offset it is UTC."""
    text = at.isoformat(between)
    assert described(text)
    meant = at if at.tzinfo else at.replace(tzinfo=UTC)
    assert milliseconds(text) == (meant - EPOCH) // timedelta(milliseconds=1)


@given(st.from_regex(PATTERN, fullmatch=True, alphabet=st.characters(max_codepoint=127)))
def test_all_that_is_described_is_read(text: str) -> None:
    """The pattern has no form and no day that is refused."""
    assert iso(milliseconds(text))


@given(st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True, alphabet=st.characters(max_codepoint=127)))
def test_a_date_is_described_when_the_calendar_has_it(text: str) -> None:
    """Leap years and the lengths of months included."""
    try:
        date.fromisoformat(text)
    except ValueError:
        assert not described(text)
    else:
        assert described(text)


@given(st.text(alphabet="0129-:TZ+ .WwQ", max_size=30))
def test_what_is_not_described_is_refused(text: str) -> None:
    """Whatever else the standard library would make of it."""
    if not described(text):
        with pytest.raises(ValueError, match="an instant like"):
            milliseconds(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2028-02-29", "2028-02-29T00:00:00.000Z"),
        ("1899-12-31", "1899-12-31T00:00:00.000Z"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999999999-23:59", "9999-12-31T23:59:59.999Z"),
        ("2026-01-31T12", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31 12:00:00.5Z", "2026-01-31T12:00:00.500Z"),
        ("2026-01-31T12:00:00 01:00", "2026-01-31T11:00:00.000Z"),
        ("2026-01-31T12:00:00-0130", "2026-01-31T13:30:00.000Z"),
        ("-1000", "1969-12-31T23:59:59.000Z"),
    ],
)
def test_forms(text: str, shown: str) -> None:
    """Dates, spaces, hours alone, nanoseconds and offsets as `date +%z` writes them."""
    assert described(text)
    assert iso(milliseconds(text)) == shown


@pytest.mark.parametrize("text", ["2026-02-29", "1900-02-29", "2026-04-31", "0000-01-01", "2026-W05-6", "20260131T12"])
def test_no_instants(text: str) -> None:
    """Days that never were, and forms that the document does not name."""
    assert not described(text)
    with pytest.raises(ValueError, match="an instant like"):
        milliseconds(text)
