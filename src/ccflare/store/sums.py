"""What remains of many exchanges, and how a period is composed of minutes, hours and days (UTC). Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ccflare.histogram import Histogram

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
UNITS_MS: Final = (MINUTE_MS, HOUR_MS, DAY_MS)
EVER_MS: Final = 1 << 53
"""The unit of everything there ever was."""


class Sums(msgspec.Struct, frozen=True):
    """The numbers of some exchanges, added. None: none of them told any, which is not the same as 0."""

    requests: int = 0
    streamed: int = 0
    failover_attempts: int = 0
    response_time_ms: int = 0
    first_byte_ms: int = 0
    first_bytes: int = 0
    """How many exchanges `first_byte_ms` is the sum of."""
    speed_tokens: int = 0
    """Output tokens of the exchanges whose output speed is known."""
    speed_ms: int = 0
    """The time these took, from the first content to the last."""
    unpriced: int = 0
    """Exchanges with tokens and without a cost."""
    request_bytes: int = 0
    response_bytes: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    """All cache writes."""
    cache_creation_5m_tokens: int | None = None
    cache_creation_1h_tokens: int | None = None
    thinking_tokens: int | None = None
    web_search_requests: int | None = None
    cost_microusd: int | None = None
    latency: Histogram = Histogram()
    """Of response times."""
    succeeded: int = 0
    rate_limited: int = 0


_NUMBERS = [name for name in Sums.__struct_fields__ if name != "latency"]


def total(parts: Iterable[Sums]) -> Sums:
    """Add any number of them."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    numbers = {name: known_sum([getattr(part, name) for part in parts]) for name in _NUMBERS} if parts else {}
    return Sums(**numbers, latency=Histogram.merged(part.latency for part in parts))


def known_sum(numbers: Sequence[Any]) -> Any:
    """Add what is known; None when nothing is."""
    if None not in numbers:
        return sum(numbers)
    known = [each for each in numbers if each is not None]
    return sum(known) if known else None


class Span(NamedTuple):
    """A part of a period, half open, in the unit whose table has its sums."""

    unit_ms: int
    from_ms: int
    to_ms: int


EVER: Final = (Span(EVER_MS, 0, EVER_MS),)


def spans(from_ms: int, to_ms: int, coarsest_ms: int = DAY_MS) -> list[Span]:
    """Compose a period that begins and ends with a minute of as few parts as possible, in order of time."""
    finer = [unit for unit in UNITS_MS if unit <= coarsest_ms]
    return [span for span in _spans(from_ms, to_ms, finer) if span.from_ms < span.to_ms]


def _spans(from_ms: int, to_ms: int, units: Sequence[int]) -> Iterator[Span]:
    *finer, unit = units
    begin, end = -(-from_ms // unit) * unit, to_ms // unit * unit
    if not finer:
        yield Span(unit, begin, end)
    elif begin >= end:
        yield from _spans(from_ms, to_ms, finer)
    else:
        yield from _spans(from_ms, begin, finer)
        yield Span(unit, begin, end)
        yield from _spans(end, to_ms, finer)
