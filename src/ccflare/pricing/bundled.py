"""The prices that come with the program, so that it knows them without a network.

Facts from litellm 1.109.1, `model_prices_and_context_window.json`, provider `anthropic`, read on 2026-11-22. Dollars
per million tokens are written as they are published; models of equal rates share a row.
"""

from decimal import Decimal
from typing import Final

from ccflare.pricing.table import MILLION, LongContext, Price, PriceTable, Rates

SOURCE: Final = "litellm 1.109.1"
STATED_ON: Final = "2026-11-22"

_US: Final = {"inference_geo=us": 1100}
"""Inference in the United States only: a tenth more."""
_US_FAST: Final = {**_US, "speed=fast": 2000}
"""Fast mode: twice as much."""


def _rates(published: str) -> Rates:
    """Read `input output cache_read cache_write_5m cache_write_1h` in dollars per million tokens."""
    names = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    dollars = published.split()
    return Rates(**{name: int(Decimal(value) * MILLION) for name, value in zip(names, dollars, strict=True)})


def _price(rates: Rates, factors: dict[str, int] | None = None, *long_context: LongContext) -> Price:
    return Price(
        rates=rates, long_context=long_context, factors_permille=factors or {}, source=SOURCE, stated_on=STATED_ON
    )


#                      input output  read  5 min  1 hour
_HAIKU_4_5 = _rates("  1      5      0.1   1.25   2   ")
_HAIKU_5_5 = _rates("  0.1    0.5    0.01  0.125  0.2 ")
_HAIKU_LONG = _rates(" 0.5    2.5    0.05  0.625  1   ")
_SONNET_4 = _rates("   3     15      0.3   3.75   6   ")
_SONNET_5 = _rates("   2     10      0.2   2.5    4   ")
_SONNET_5_5 = _rates(" 2     10      0.1   2.5    4   ")
_OPUS = _rates("       5     25      0.5   6.25  10   ")
_OPUS_5_5 = _rates("   4     20      0.2   5      8   ")
_LARGE = _rates("     10     50      1    12.5   20   ")
_LARGE_5_1 = _rates(" 10     50      0.25 12.5   20   ")

BUNDLED: Final = PriceTable(
    web_search_microusd=10_000,
    models={
        "claude-haiku-4-5": _price(_HAIKU_4_5),
        "claude-haiku-4-5-20251001": _price(_HAIKU_4_5),
        "claude-haiku-5-5": _price(_HAIKU_5_5, _US, LongContext(above_input_tokens=100_000, rates=_HAIKU_LONG)),
        "claude-sonnet-4-5": _price(_SONNET_4),
        "claude-sonnet-4-5-20250929": _price(_SONNET_4),
        "claude-sonnet-4-6": _price(_SONNET_4, _US),
        "claude-sonnet-5": _price(_SONNET_5, _US),
        "claude-sonnet-5-5": _price(_SONNET_5_5, _US),
        "claude-opus-4-5": _price(_OPUS),
        "claude-opus-4-5-20251101": _price(_OPUS),
        "claude-opus-4-6": _price(_OPUS, _US),
        "claude-opus-4-6-20260205": _price(_OPUS, _US),
        "claude-opus-4-7": _price(_OPUS, _US),
        "claude-opus-4-7-20260416": _price(_OPUS, _US),
        "claude-opus-4-8": _price(_OPUS, _US_FAST),
        "claude-opus-5": _price(_OPUS, _US_FAST),
        "claude-opus-5-5": _price(_OPUS_5_5, _US_FAST),
        "claude-fable-5": _price(_LARGE, _US),
        "claude-fable-5-1": _price(_LARGE_5_1, _US),
        "claude-mythos-preview": _price(_LARGE, _US),
        "claude-mythos-5": _price(_LARGE, _US),
        "claude-mythos-5-1": _price(_LARGE_5_1, _US),
    },
)
