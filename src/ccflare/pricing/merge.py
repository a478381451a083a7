"""Newer prices from models.dev, checked before they replace anything.

Its document (`https://models.dev/api.json`) has dollars per million tokens for input, output, cache reads and 5-minute
cache writes. It has no 1-hour writes, long-context rates or factors, so those are never taken away: where the price
they belong to changes, they change in the same proportion.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import msgspec

from ccflare.pricing.table import MAX_RATE, MILLION, LongContext, Price, PriceTable, Rates

SOURCE: Final = "models.dev"
MAX_CHANGE: Final = 10
"""A rate that became so many times dearer or cheaper is taken for an error."""

_MAX_MODELS: Final = 1000
_MAX_ID: Final = 200
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

    Models that the document does not price keep theirs. Raises ValueError, with a sentence that says why, for a
    document that is not to be believed: then nothing of it is.
    """
    stated = {model: _stated_rates(model, entry) for model, entry in _models(document).items()}
    rates = {model: each for model, each in stated.items() if each is not None}
    _refuse_shrunk(table, rates)
    models = {**table.models}
    for model, new in rates.items():
        models[model] = _merged(model, table.price(model), new, stated_on)
    return PriceTable(web_search_microusd=table.web_search_microusd, models=models)


def _models(document: bytes) -> dict[str, _Model]:
    try:
        read = msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the fetched prices cannot be read: {error}") from None
    provider = read.anthropic or (read.providers and read.providers.anthropic)
    if not provider or not provider.models:
        raise ValueError("the fetched prices have no models of the provider anthropic")
    if len(provider.models) > _MAX_MODELS:
        raise ValueError(f"the fetched prices have {len(provider.models)} models of one provider")
    return provider.models
