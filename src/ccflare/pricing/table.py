"""What models cost, and what one answer cost.

Money is integer micro-dollars. A rate is integer micro-dollars per million tokens, so that the smallest one in use
(1 cent per million) is still exact. A price that is not known is None, never 0.
"""

import re
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec

from ccflare.usage import Usage

MILLION: Final = 1_000_000
MAX_RATE: Final = 10_000 * MILLION
"""10,000 dollars per million tokens: two hundred times the dearest model's; more is an error of who states it."""

Rate = Annotated[int, msgspec.Meta(gt=0, le=MAX_RATE)]
"""Micro-dollars per million tokens."""

_DATE_SUFFIX = re.compile(r"-\d{8}\Z")


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rate per class of tokens; None: not known, so what uses it has no known cost."""

    input: Rate
    output: Rate
    cache_read: Rate | None = None
    cache_write_5m: Rate | None = None
    cache_write_1h: Rate | None = None


class LongContext(msgspec.Struct, frozen=True, kw_only=True):
    """Other rates for the whole answer when its input, cached or not, is longer than so many tokens."""

    above_input_tokens: Annotated[int, msgspec.Meta(gt=0)]
    rates: Rates


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model costs, and who says so."""

    rates: Rates
    long_context: tuple[LongContext, ...] = ()
    """In rising order of length."""
    factors_permille: dict[str, Annotated[int, msgspec.Meta(gt=0, le=100_000)]] = {}
    """What tokens cost more for a word in the usage: `inference_geo=us` 1100 is a tenth more."""
    source: str
    stated_on: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """The day of the statement, ISO."""


class PriceTable(msgspec.Struct, frozen=True, kw_only=True):
    """Prices by model id."""

    version: Literal[1] = 1
    web_search_microusd: Annotated[int, msgspec.Meta(ge=0, le=MILLION)]
    """One web search."""
    models: dict[str, Price]

    def price(self, model: str | None) -> Price | None:
        """Return the price of a model by its id, else by its id without the date behind it; None: not known."""
        if model is None:
            return None
        return self.models.get(model) or self.models.get(undated(model))


def undated(model: str) -> str:
    """Return a model id without the date behind it: `claude-haiku-4-5` for `claude-haiku-4-5-20251001`."""
    return _DATE_SUFFIX.sub("", model)


def cost(usage: Usage, table: PriceTable) -> int | None:
    """Return what an answer cost in micro-dollars, or None when that is not known.

    It is not known without a model, its price, or both token counts, and when there are tokens of a class whose rate
    is missing. The sum is exact and rounded once, half a micro-dollar up. Batches are not priced here.
    """
    price, fresh, output = table.price(usage.model), usage.input_tokens, usage.output_tokens
    if price is None or fresh is None or output is None:
        return None
    read, (short, long) = usage.cache_read_input_tokens or 0, cache_writes(usage)
    rates = _rates(price, fresh + read + short + long) if price.long_context else price.rates
    exact, scale = fresh * rates.input + output * rates.output, MILLION
    for tokens, rate in ((read, rates.cache_read), (short, rates.cache_write_5m), (long, rates.cache_write_1h)):
        if tokens:
            if rate is None:
                return None
            exact += tokens * rate
    if price.factors_permille:
        for key, word in (("inference_geo", usage.inference_geo), ("speed", usage.speed)):
            permille = None if word is None else price.factors_permille.get(f"{key}={word}")
            if permille is not None:
                exact, scale = exact * permille, scale * 1000
    exact += (usage.web_search_requests or 0) * table.web_search_microusd * scale
    return (2 * exact + scale) // (2 * scale)


def _rates(price: Price, prompt_tokens: int) -> Rates:
    rates = price.rates
    for tier in price.long_context:
        if prompt_tokens > tier.above_input_tokens:
            rates = tier.rates
    return rates


def cache_writes(usage: Usage) -> tuple[int, int]:
    """Divide the cache writes into those of 5 minutes and those of 1 hour.

    Where the total is larger than what was divided (a `message_delta` restates only the total), the rest is of the
    lifetime that all of the divided part has, else of the API's default, 5 minutes.
    """
    short, long = usage.cache_creation_5m_tokens or 0, usage.cache_creation_1h_tokens or 0
    rest = (usage.cache_creation_input_tokens or 0) - short - long
    if rest <= 0:
        return short, long
    return (short, long + rest) if long and not short else (short + rest, long)


def encode_table(table: PriceTable) -> bytes:
    """Return a table as JSON, to be kept."""
    return msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n"


def decode_table(data: bytes) -> PriceTable:
    """Read a table that was kept. Raises ValueError with a sentence when it is none, or none that can be trusted."""
    try:
        table = msgspec.json.decode(data, type=PriceTable)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the kept price table cannot be read: {error}") from None
    if not table.models:
        raise ValueError("the kept price table has no models")
    for model, price in table.models.items():
        if not _rising(price.long_context):
            raise ValueError(f"the kept price table has disordered long-context rates for {model!r}")
    return table


def _rising(tiers: tuple[LongContext, ...]) -> bool:
    return all(a.above_input_tokens < b.above_input_tokens for a, b in pairwise(tiers))
