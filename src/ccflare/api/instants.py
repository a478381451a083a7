"""Instants at the API: people see ISO 8601 in UTC with milliseconds, and may write that or milliseconds since 1970."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta

Instant = Annotated[str, Meta(description="ISO 8601 in UTC.", extra_json_schema={"format": "date-time"})]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS = -62_135_596_800_000
_LAST_MS = 253_402_300_799_999

WRITTEN = "an instant like 2026-01-31T12:00:00Z, or milliseconds since 1970"

_MILLISECONDS = "-?[0-9]{1,15}"
_YEAR = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_FOURTH = "(0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR = f"([0-9]{{2}}{_FOURTH}|{_FOURTH}00)"
_DAY = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])"
_DATE = f"({_YEAR}-({_DAY})|{_LEAP_YEAR}-02-29)"
_HOUR = "([01][0-9]|2[0-3])"
_OFFSET = f"(Z|[+ -]{_HOUR}(:?[0-5][0-9])?)"
"""A blank is a `+` that nobody has escaped."""
_TIME = f"{_HOUR}(:[0-5][0-9](:[0-5][0-9](\\.[0-9]{{1,9}})?)?)?"
PATTERN = f"^({_MILLISECONDS}|{_DATE}([T ]{_TIME}{_OFFSET}?)?)$"
"""All that is taken, by the calendar from year 1 to 9999: `milliseconds` reads nothing else."""

_WRITTEN = re.compile(PATTERN, re.ASCII)
_DATE_LENGTH = len("2026-01-31")


def iso(at_ms: int) -> str:
    """Return an instant as text; one beyond the calendar's years is the calendar's end."""
    at = _EPOCH + timedelta(milliseconds=min(max(at_ms, _FIRST_MS), _LAST_MS))
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def iso_or_none(at_ms: int | None) -> str | None:
    """Return an instant as text, None for none."""
    return None if at_ms is None else iso(at_ms)


def milliseconds(text: str) -> int:
    """Read an instant; without an offset it is UTC. Raises ValueError with what is allowed."""
    if not _WRITTEN.fullmatch(text):
        raise ValueError(f"expected {WRITTEN}")
    if "-" not in text[1:]:
        return int(text)
    date, time = text[:_DATE_LENGTH], text[_DATE_LENGTH + 1 :]
    at = datetime.fromisoformat(f"{date}T{time.replace(' ', '+')}" if time else date)
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
