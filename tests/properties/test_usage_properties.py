"""What is worked out of an answer's usage, by whatever steps, is what the plain formula says."""

from fractions import Fraction

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ccflare.pricing import LongContext, Price, PriceTable, Rates, cache_writes, cost
from ccflare.records import Attempt, Exchange
from ccflare.store.rows import EXCHANGE_COLUMNS, exchange_row
from ccflare.usage import NOT_SAID, Usage

COUNTS = st.none() | st.integers(0, 3) | st.integers(0, 400_000)
TOKENS = [name for name in Usage.__struct_fields__ if name.endswith("_tokens")]
RATE = st.integers(1, 100_000_000)
RATES = st.builds(
    Rates,
    input=RATE,
    output=RATE,
    cache_read=st.none() | RATE,
    cache_write_5m=st.none() | RATE,
    cache_write_1h=st.none() | RATE,
)
PRICES = st.builds(
    lambda rates, tiers, factors: Price(
        rates=rates,
        long_context=tuple(LongContext(above_input_tokens=above, rates=more) for above, more in sorted(tiers.items())),
        factors_permille=factors,
        source="test",
        stated_on="2026-12-01",
    ),
    RATES,
    st.dictionaries(st.sampled_from([1, 2, 5, 100_000, 200_000]), RATES, max_size=2),
    st.dictionaries(st.sampled_from(["inference_geo=us", "speed=fast"]), st.integers(1, 3000), max_size=2),
)
USAGES = st.just(NOT_SAID) | st.builds(
    Usage,
    model=st.sampled_from(["m", "m-20261201", "unknown", None]),
    web_search_requests=st.none() | st.integers(0, 5),
    inference_geo=st.sampled_from([None, "us", "global"]),
    speed=st.sampled_from([None, "fast"]),
    **dict.fromkeys(TOKENS, COUNTS),
)


def _lifetimes(usage: Usage) -> tuple[int, int]:
    short, long = usage.cache_creation_5m_tokens or 0, usage.cache_creation_1h_tokens or 0
    rest = max(0, (usage.cache_creation_input_tokens or 0) - short - long)
    return (0, long + rest) if long and not short else (short + rest, long)


def _written(usage: Usage) -> int | None:
    said = (usage.cache_creation_input_tokens, usage.cache_creation_5m_tokens, usage.cache_creation_1h_tokens)
    return None if said == (None, None, None) else max(said[0] or 0, (said[1] or 0) + (said[2] or 0))


def _sum(*counts: int | None) -> int | None:
    return None if set(counts) == {None} else sum(count or 0 for count in counts)


def _cost(usage: Usage, price: Price, search: int) -> int | None:
    read, (short, long) = usage.cache_read_input_tokens or 0, _lifetimes(usage)
    prompt = (usage.input_tokens or 0) + read + short + long
    rates = [price.rates, *(tier.rates for tier in price.long_context if prompt > tier.above_input_tokens)][-1]
    counts = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_read": read,
        "cache_write_5m": short,
        "cache_write_1h": long,
    }
    if None in {counts["input"], counts["output"]} or usage.model not in {"m", "m-20261201"}:
        return None
    parts = [(count, getattr(rates, name)) for name, count in counts.items() if count]
    if any(rate is None for _, rate in parts):
        return None
    exact = Fraction(sum((count or 0) * rate for count, rate in parts), 1_000_000)
    for word in (f"inference_geo={usage.inference_geo}", f"speed={usage.speed}"):
        exact *= Fraction(price.factors_permille.get(word, 1000), 1000)
    exact += (usage.web_search_requests or 0) * search
    return int(exact + Fraction(1, 2))  # no part is negative


@given(USAGES, PRICES, st.integers(0, 1_000_000))
def test_a_cost_is_every_class_at_its_rate(usage: Usage, price: Price, search: int) -> None:
    """With the rates of the longest tier that the prompt is above, times the factors; rounded once."""
    table = PriceTable(web_search_microusd=search, models={"m": price})
    assert cost(usage, table) == _cost(usage, price, search)


@given(USAGES)
def test_cache_writes_are_counted_once(usage: Usage) -> None:
    """The total, or the sum of the lifetimes where that is larger; divided, it is the same number."""
    assert cache_writes(usage) == _lifetimes(usage)
    assert usage.cache_write_tokens == _written(usage)
    assert sum(cache_writes(usage)) == (usage.cache_write_tokens or 0)
    prompt = _sum(usage.input_tokens, usage.cache_read_input_tokens, _written(usage))
    assert (usage.prompt_tokens, usage.total_tokens) == (prompt, _sum(prompt, usage.output_tokens))


@given(USAGES, st.none() | st.integers(0, 10**9), st.booleans(), st.booleans(), st.integers(0, 3))
def test_a_row_has_the_usage_and_its_sums(
    usage: Usage, microusd: int | None, success: bool, streamed: bool, tries: int
) -> None:
    """Each column has the field of its name, but for the cache writes, which are all of them, and what is added."""
    exchange = Exchange(
        id="e", timestamp_ms=1, method="POST", path="/", status_code=200, success=success, response_time_ms=2,
        usage=usage, cost_microusd=microusd, streamed=streamed,
        attempts=(Attempt(account_id="a", verdict="next", duration_ms=1),) * tries,
    )  # fmt: skip
    row = dict(zip(EXCHANGE_COLUMNS, exchange_row(exchange), strict=True))
    said = msgspec.structs.asdict(usage) | {"cache_creation_input_tokens": usage.cache_write_tokens}
    assert {name: row[name] for name in said if name in row and name != "model"} == {
        name: value for name, value in said.items() if name in row and name != "model"
    }
    prompt, total = usage.prompt_tokens, usage.total_tokens
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (prompt, usage.output_tokens, total)
    assert (row["cost_microusd"], row["cost_usd"]) == (microusd, None if microusd is None else microusd / 1_000_000)
    assert [type(row[name]) for name in ("success", "streamed")] == [int, int]  # what SQLite takes without adapting it
    assert (row["success"], row["streamed"]) == (int(success), int(streamed))
    assert row["failover_attempts"] == max(0, tries - 1)
