"""What is told about any set of exchanges, whatever it was chosen by.

Rates are shares from 0 to 1. None means that it is not known: upstream did not say, no price was known, or there was
nothing to take the mean of. An unknown number is never 0.
"""

from typing import Any

import msgspec

from ccflare.store.sums import Sums, known_sum


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens by class, in the API's own terms."""

    total_tokens: int | None
    """Input and output, cached or not."""
    input_tokens: int | None
    """Input neither read from a cache nor written to one."""
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    """All cache writes, whatever their lifetime."""
    cache_creation_5m_tokens: int | None
    cache_creation_1h_tokens: int | None
    thinking_tokens: int | None
    """A part of `output_tokens`."""
    web_search_requests: int | None
    """Number of searches."""


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """The measures of some exchanges."""

    requests: int
    successful_requests: int
    failed_requests: int
    rate_limited_requests: int
    streamed_requests: int
    failover_attempts: int
    """Attempts that came before the one that was answered with."""
    success_rate: float | None
    error_rate: float | None
    rate_limited_rate: float | None
    avg_response_time_ms: float | None
    p50_response_time_ms: float | None
    """At most 2 % from the exact one, like the other percentiles."""
    p95_response_time_ms: float | None
    p99_response_time_ms: float | None
    avg_first_byte_ms: float | None
    tokens: Tokens
    cost_usd: float | None
    cost_microusd: int | None
    """Of the exchanges whose cost is known."""
    unpriced: int
    """Exchanges with tokens and without a known cost."""
    output_tokens_per_second: float | None
    """All output tokens over all the time they took."""
    cache_hit_rate: float | None
    """The share of the input that was read from a cache."""
    request_bytes: int
    response_bytes: int


def tokens_of(sums: Sums) -> Tokens:
    """Return the tokens of a sum."""
    return Tokens(
        total_tokens=known_sum([_prompt(sums), sums.output_tokens]),
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cache_read_input_tokens=sums.cache_read_input_tokens,
        cache_creation_input_tokens=sums.cache_creation_input_tokens,
        cache_creation_5m_tokens=sums.cache_creation_5m_tokens,
        cache_creation_1h_tokens=sums.cache_creation_1h_tokens,
        thinking_tokens=sums.thinking_tokens,
        web_search_requests=sums.web_search_requests,
    )


def measures_of(sums: Sums) -> dict[str, Any]:
    """Return the fields of `Measures`, for it and for what has more fields."""
    failed = sums.requests - sums.succeeded
    p50, p95, p99 = sums.latency.quantiles(0.5, 0.95, 0.99)
    return {
        "requests": sums.requests,
        "successful_requests": sums.succeeded,
        "failed_requests": failed,
        "rate_limited_requests": sums.rate_limited,
        "streamed_requests": sums.streamed,
        "failover_attempts": sums.failover_attempts,
        "success_rate": _share(sums.succeeded, sums.requests),
        "error_rate": _share(failed, sums.requests),
        "rate_limited_rate": _share(sums.rate_limited, sums.requests),
        "avg_response_time_ms": _share(sums.response_time_ms, sums.latency.total),
        "p50_response_time_ms": p50,
        "p95_response_time_ms": p95,
        "p99_response_time_ms": p99,
        "avg_first_byte_ms": _share(sums.first_byte_ms, sums.first_bytes),
        "tokens": tokens_of(sums),
        "cost_usd": usd(sums.cost_microusd),
        "cost_microusd": sums.cost_microusd,
        "unpriced": sums.unpriced,
        "output_tokens_per_second": _share(sums.speed_tokens * 1000, sums.speed_ms),
        "cache_hit_rate": _share(sums.cache_read_input_tokens or 0, _prompt(sums)),
        "request_bytes": sums.request_bytes,
        "response_bytes": sums.response_bytes,
    }


def usd(microusd: int | None) -> float | None:
    """Return an amount in dollars."""
    return None if microusd is None else microusd / 1_000_000


def _prompt(sums: Sums) -> int | None:
    """Return the whole input, cached or not."""
    prompt: int | None = known_sum([sums.input_tokens, sums.cache_read_input_tokens, sums.cache_creation_input_tokens])
    return prompt


def _share(part: int, whole: int | None) -> float | None:
    return part / whole if whole else None
