"""Prices and costs, as integers; no network, no disk.

The one rule: what is not known is None. A table comes with the program (`bundled`), newer prices are checked before
they are believed (`merge`), and a kept table is read as distrustfully as a fetched one (`table`).
"""

from ccflare.pricing.bundled import BUNDLED
from ccflare.pricing.merge import merge, overlay
from ccflare.pricing.table import (
    LongContext,
    Price,
    PriceTable,
    Rates,
    cache_writes,
    cost,
    decode_table,
    encode_table,
)

__all__ = [
    "BUNDLED",
    "LongContext",
    "Price",
    "PriceTable",
    "Rates",
    "cache_writes",
    "cost",
    "decode_table",
    "encode_table",
    "merge",
    "overlay",
]
