"""Newer prices from models.dev, checked before they replace anything.

Its document (`https://models.dev/api.json`) has dollars per million tokens for input, output, cache reads and 5-minute
cache writes. It has no 1-hour writes, long-context rates or factors, so those are never taken away: where the price
they belong to changes, they change in the same proportion.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import msgspec

from ccflare.pricing.table import MAX_RATE, MILLION, LongContext, Price, PriceTable, Rates, undated

SOURCE: Final = "models.dev"
MAX_CHANGE: Final = 10
"""A rate that became so many times dearer or cheaper is taken for an error."""

MAX_MODELS: Final = 1000
MAX_ID: Final = 200
_KEYS: Final = {"input": "input", "output": "output", "cache_read": "cache_read", "cache_write": "cache_write_5m"}


class _Model(msgspec.Struct):
    cost: dict[str, Any] | None = None


class _Provider(msgspec.Struct):
    models: dict[str, _Model]


class _Providers(msgspec.Struct):
    anthropic: _Provider | None = None


class _Document(_Providers):
    """Providers by id, at the top or below `providers`."""

    providers: _Providers | None = None


def merge(table: PriceTable, document: bytes, stated_on: str) -> PriceTable:
    """Return the table with the prices of a models.dev document, stated on the ISO day `stated_on`.

    Models that the document does not price keep theirs; one with a date in its id takes what is stated without the
    date. Raises ValueError, with a sentence that says why, for a document that is not to be believed: then nothing of
    it is.
    """
    entries = _models(document)
    stated = {model: rates for model, entry in entries.items() if (rates := _stated_rates(model, entry)) is not None}
    _refuse_shrunk(table, stated)
    models = {**table.models}
    for model in [*stated, *(dated for dated in table.models if dated not in stated and undated(dated) in stated)]:
        rates, known = stated.get(model) or stated[undated(model)], table.price(model)
        if known is not None:
            _refuse_leap(model, known.rates, rates)
        models[model] = _merged(known, Price(rates=rates, source=SOURCE, stated_on=stated_on))
    return PriceTable(web_search_microusd=table.web_search_microusd, models=models)


def overlay(bundled: PriceTable, kept: PriceTable) -> PriceTable:
    """Return the bundled table with those prices of a kept one that were stated later, or fetched the same day.

    What models.dev does not tell is the bundled table's: an upgraded program may know more of it than the kept table.
    """
    models = {**bundled.models}
    for model, price in kept.models.items():
        known = models.get(model)
        if known is None:
            models[model] = price
        elif (price.stated_on, price.source == SOURCE) > (known.stated_on, known.source == SOURCE):
            models[model] = _merged(known, price)
    return PriceTable(web_search_microusd=bundled.web_search_microusd, models=models)


def _models(document: bytes) -> dict[str, _Model]:
    try:
        read = msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the fetched prices cannot be read: {error}") from None
    provider = read.anthropic or (read.providers and read.providers.anthropic)
    if not provider or not provider.models:
        raise ValueError("the fetched prices have no models of the provider anthropic")
    if len(provider.models) > MAX_MODELS or any(len(model) > MAX_ID for model in provider.models):
        raise ValueError("the fetched prices have too many models, or one with a very long name")
    return provider.models


def _stated_rates(model: str, entry: _Model) -> Rates | None:
    """Return what an entry states; None when that is no price: no cost, or nothing for input or output."""
    said = entry.cost or {}
    rates = {rate: _microusd(model, key, said[key]) for key, rate in _KEYS.items() if said.get(key) is not None}
    rates = {rate: microusd for rate, microusd in rates.items() if microusd}
    return Rates(**rates) if "input" in rates and "output" in rates else None


def _microusd(model: str, key: str, dollars: object) -> int:
    """Return dollars in micro-dollars. A float is read as the decimal number that it was written as."""
    if isinstance(dollars, int | float) and not isinstance(dollars, bool) and 0 <= dollars <= MAX_RATE // MILLION:
        exact = Decimal(repr(dollars)) * MILLION
        return int(exact.to_integral_value(ROUND_HALF_UP))
    raise ValueError(f"the fetched prices have {str(dollars)[:40]!r} as {key} of {model}")


def _refuse_shrunk(table: PriceTable, stated: dict[str, Rates]) -> None:
    """Refuse a document that lacks more than half of the models that were stated last."""
    last = max((price.stated_on for price in table.models.values()), default="")
    current = {undated(model) for model, price in table.models.items() if price.stated_on == last}
    found = current & {undated(model) for model in stated}
    if not stated or 2 * len(found) < len(current):
        raise ValueError(f"the fetched prices have {len(found)} of {len(current)} known models")


def _refuse_leap(model: str, old: Rates, new: Rates) -> None:
    for name in _KEYS.values():
        before, after = getattr(old, name), getattr(new, name)
        if before and after and not before <= after * MAX_CHANGE <= before * MAX_CHANGE**2:
            raise ValueError(f"the fetched prices change {name} of {model} from {before} to {after} micro-dollars")


def _merged(known: Price | None, new: Price) -> Price:
    """Put newly stated rates over what is known of a model; for a new one an hour's cache write is twice the input."""
    said = new.rates
    if known is None:
        hour = min(2 * said.input, MAX_RATE)
        return msgspec.structs.replace(new, rates=msgspec.structs.replace(said, cache_write_1h=hour))
    old = known.rates
    rates = Rates(
        input=said.input,
        output=said.output,
        cache_read=said.cache_read or old.cache_read,
        cache_write_5m=said.cache_write_5m or old.cache_write_5m,
        cache_write_1h=_in_proportion(old.cache_write_1h, old.input, said.input),
    )
    tiers = tuple(
        LongContext(above_input_tokens=tier.above_input_tokens, rates=_tier_rates(tier.rates, old, rates))
        for tier in known.long_context
    )
    return msgspec.structs.replace(new, rates=rates, long_context=tiers, factors_permille=known.factors_permille)


def _tier_rates(tier: Rates, old: Rates, new: Rates) -> Rates:
    scaled = {
        name: _in_proportion(getattr(tier, name), getattr(old, name), getattr(new, name))
        for name in Rates.__struct_fields__
    }
    return msgspec.convert(scaled, Rates)


def _in_proportion(rate: int | None, old: int | None, new: int | None) -> int | None:
    """Return a rate changed as the one it hangs on changed, rounded half up."""
    if rate is None or not old or not new or old == new:
        return rate
    return min(max((2 * rate * new + old) // (2 * old), 1), MAX_RATE)
