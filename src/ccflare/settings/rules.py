"""What must hold between settings, whatever each of them may be on its own."""

from collections.abc import Callable
from ipaddress import ip_address

import msgspec

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


def _is_private(values: Settings) -> bool:
    if values.host in {"", "localhost"}:
        return True
    try:
        return ip_address(values.host).is_loopback
    except ValueError:
        return False


RULES: tuple[Rule, ...] = (
    _at_most("connect_timeout_ms", "idle_timeout_ms"),
    _at_most("idle_timeout_ms", "exchange_timeout_ms"),
    _at_most("connect_timeout_ms", "first_byte_timeout_ms"),
    _at_most("first_byte_timeout_ms", "exchange_timeout_ms"),
    _at_most("body_buffer_bytes", "body_buffers_bytes"),
    Rule(
        ("host", "open_without_keys"),
        lambda values: values.open_without_keys or _is_private(values),
        "host lets other machines use the accounts without a key: empty it or set open_without_keys to true",
    ),
)
