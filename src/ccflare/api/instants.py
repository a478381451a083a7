"""Instants at the API: people see ISO 8601 in UTC with milliseconds, and may write that or milliseconds since 1970."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta

Instant = Annotated[str, Meta(description="ISO 8601 in UTC.", extra_json_schema={"format": "date-time"})]

_MILLISECONDS = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS = -62_135_596_800_000
_LAST_MS = 253_402_300_799_999

WRITTEN = "an instant like 2026-01-31T12:00:00Z, or milliseconds since 1970"

_DATE = (
    "(19|20)[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,6})?)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?"
PATTERN = f"^(-?[0-9]{{1,15}}|{_DATE}(T{_TIME})?)$"
"""What is taken for sure. More is taken: the 29th of February, and every form that `datetime.fromisoformat` reads."""


def iso(at_ms: int) -> str:
    """Return an instant as text; one beyond the calendar's years is the calendar's end."""
    at = _EPOCH + timedelta(milliseconds=min(max(at_ms, _FIRST_MS), _LAST_MS))
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def iso_or_none(at_ms: int | None) -> str | None:
    """Return an instant as text, None for none."""
    return None if at_ms is None else iso(at_ms)


def milliseconds(text: str) -> int:
    """Read an instant; without an offset it is UTC. Raises ValueError with what is allowed."""
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    try:
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)  # a `+` that nobody has escaped
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return (at - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(f"expected {WRITTEN}") from None
