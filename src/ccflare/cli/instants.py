"""Instants as people write them on a command line."""

import re
import time
from datetime import UTC, datetime, timedelta

import click

_AGO = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_MILLISECONDS = re.compile(r"[0-9]{11,14}", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_instant(text: str, now_ms: int) -> int:
    """Return milliseconds since 1970; an instant without an offset is UTC. Raises ValueError with what is allowed."""
    if found := _AGO.fullmatch(text):
        return now_ms - int(found[1]) * _UNITS_S[found[2]] * 1000
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    try:
        at = datetime.fromisoformat(text if "-" in text else "")  # digits alone could mean too many things
        return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time; write 2026-01-31T12:00:00Z or 2026-01-31 (UTC), 2h or 3d for so long ago, "
            "or milliseconds since 1970"
        ) from None


def instant_option(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Be the callback of a time option; its value is in milliseconds since 1970."""
    if text is None:
        return None
    try:
        return read_instant(text, int(time.time() * 1000))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
