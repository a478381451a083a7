"""What must hold between settings, whatever each of them may be on its own."""

from collections.abc import Callable

import msgspec

from ccflare.addresses import read_url, trouble
from ccflare.settings.table import Settings


class Rule(msgspec.Struct, frozen=True):
    """What must hold between the settings named. `complaint` tells the operator when it does not."""

    names: tuple[str, ...]
    holds: Callable[[Settings], bool]
    complaint: str


def _at_most(low: str, high: str) -> Rule:
    return Rule(
        (low, high),
        lambda values: getattr(values, low) <= getattr(values, high),
        f"{low} is more than {high}",
    )


def _may_be_connected(name: str) -> Rule:
    return Rule(
        (name, "private_upstreams"),
        lambda values: trouble(read_url(getattr(values, name)), values.private_upstreams) is None,
        f"{name} may not be connected: it is http for a public address, or lies where private_upstreams does not reach",
    )


CONNECTED: tuple[str, ...] = ("upstream_url", "oauth_token_url", "oauth_api_key_url", "pricing_url")
"""The settings that name an address which ccflare connects; where a person's browser goes is the browser's."""

RULES: tuple[Rule, ...] = (
    _at_most("connect_timeout_ms", "idle_timeout_ms"),
    _at_most("idle_timeout_ms", "exchange_timeout_ms"),
    _at_most("connect_timeout_ms", "first_byte_timeout_ms"),
    _at_most("first_byte_timeout_ms", "exchange_timeout_ms"),
    _at_most("body_buffer_bytes", "body_buffers_bytes"),
    *map(_may_be_connected, CONNECTED),
)
