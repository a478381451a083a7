"""Prices, costs, and what is believed of newer prices."""

import json
from typing import Any

import msgspec
import pytest

from ccflare.pricing import (
    BUNDLED,
    LongContext,
    Price,
    PriceTable,
    Rates,
    cost,
    decode_table,
    encode_table,
    merge,
    overlay,
)
from ccflare.usage import NOT_SAID, Usage

DAY = "2026-12-01"
CLASSES = {"input": "input", "output": "output", "cache_read": "cache_read", "cache_write": "cache_write_5m"}


def said(model: str | None = "claude-sonnet-5", **fields: Any) -> Usage:
    return Usage(**{"model": model, "input_tokens": 0, "output_tokens": 0, **fields})


def published(**changes: Any) -> dict[str, Any]:
    """The bundled prices as models.dev would state them, with some costs changed by model."""
    costs: dict[str, Any] = {
        model: {key: getattr(price.rates, name) / 1e6 for key, name in CLASSES.items()}
        for model, price in BUNDLED.models.items()
    }
    for model, change in changes.items():
        name = model.replace("_", "-")
        costs[name] = {**costs.get(name, {}), **change} if isinstance(change, dict) else change
    return {model: {"id": model, "cost": each} for model, each in costs.items()}


def document(models: Any) -> bytes:
    """A document of models.dev."""
    other = {"id": "other", "models": {"m": {"cost": {"input": -5}}}}
    return json.dumps({"other": other, "anthropic": {"id": "anthropic", "models": models}}).encode()


@pytest.mark.parametrize(
    ("usage", "microusd"),
    [
        (said(), 0),
        (said(input_tokens=1_000_000), 2_000_000),
        (said(output_tokens=1_000_000), 10_000_000),
        (said(cache_read_input_tokens=1_000_000), 200_000),
        (said(cache_creation_5m_tokens=1_000_000), 2_500_000),
        (said(cache_creation_1h_tokens=1_000_000), 4_000_000),
        (said(web_search_requests=3), 30_000),
        (said(input_tokens=7, output_tokens=100, cache_read_input_tokens=20_000, cache_creation_1h_tokens=500), 7_014),
        (said("claude-sonnet-5-5", cache_read_input_tokens=1_000_000), 100_000),
        (said("claude-fable-5-1", cache_read_input_tokens=1_000_000), 250_000),
        (said("claude-opus-5-5", input_tokens=1_000_000, output_tokens=1_000_000), 24_000_000),
        (said("claude-haiku-4-5-20251001", input_tokens=1_000_000, output_tokens=1_000_000), 6_000_000),
        (said("claude-opus-5-20260724", input_tokens=1_000_000), 5_000_000),
        (said(cache_creation_input_tokens=100), 250),
        (said(cache_creation_input_tokens=300, cache_creation_5m_tokens=100, cache_creation_1h_tokens=200), 1_050),
        (said(cache_creation_input_tokens=350, cache_creation_5m_tokens=100, cache_creation_1h_tokens=200), 1_175),
        (said(cache_creation_input_tokens=250, cache_creation_5m_tokens=0, cache_creation_1h_tokens=200), 1_000),
        (said(cache_creation_input_tokens=10, cache_creation_5m_tokens=100, cache_creation_1h_tokens=0), 250),
        (said("claude-sonnet-5-5", input_tokens=4, output_tokens=150, cache_read_input_tokens=36,
              cache_creation_5m_tokens=5_600), 15_512),
    ],
)  # fmt: skip
def test_costs_by_hand(usage: Usage, microusd: int) -> None:
    """Each class of tokens costs its own rate, and an undivided cache write the one of its likely lifetime."""
    assert cost(usage, BUNDLED) == microusd


@pytest.mark.parametrize(
    ("usage", "microusd"),
    [
        (said(input_tokens=1_000_000, inference_geo="us"), 2_200_000),
        (said(input_tokens=1_000_000, inference_geo="global", speed="standard"), 2_000_000),
        (said(input_tokens=1_000_000, speed="fast"), 2_000_000),
        (said("claude-opus-5-5", output_tokens=1_000_000, speed="fast"), 40_000_000),
        (said("claude-opus-5-5", output_tokens=1_000_000, speed="fast", inference_geo="us"), 44_000_000),
        (said("claude-opus-4-5", output_tokens=1_000_000, speed="fast", inference_geo="us"), 25_000_000),
        (said(input_tokens=1_000_000, inference_geo="us", web_search_requests=1), 2_210_000),
    ],
)
def test_factors_by_hand(usage: Usage, microusd: int) -> None:
    """Place and speed multiply the tokens of the models that have such a factor, and never the searches."""
    assert cost(usage, BUNDLED) == microusd


@pytest.mark.parametrize(
    ("fields", "microusd"),
    [
        ({"input_tokens": 100_000, "output_tokens": 1000}, 10_500),
        ({"input_tokens": 100_001, "output_tokens": 1000}, 52_501),
        ({"input_tokens": 1, "cache_read_input_tokens": 100_000}, 5_001),
        ({"input_tokens": 0, "cache_read_input_tokens": 60_000, "cache_creation_1h_tokens": 40_000}, 8_600),
        ({"input_tokens": 0, "cache_read_input_tokens": 60_000, "cache_creation_1h_tokens": 40_001}, 43_001),
        ({"input_tokens": 0, "cache_read_input_tokens": 60_000, "cache_creation_input_tokens": 40_001}, 28_001),
    ],
)
def test_long_context_by_hand(fields: dict[str, int], microusd: int) -> None:
    """The whole answer costs the long-context rates as soon as its input, cached or not, is longer than the bound."""
    assert cost(said("claude-haiku-5-5", **fields), BUNDLED) == microusd


@pytest.mark.parametrize(("tokens", "microusd"), [(1, 0), (4, 0), (5, 1), (14, 1), (15, 2), (16, 2)])
def test_half_a_micro_dollar_is_rounded_up(tokens: int, microusd: int) -> None:
    """The sum is rounded once: at a tenth of a micro-dollar a token, five are one."""
    assert cost(said("claude-haiku-5-5", input_tokens=tokens), BUNDLED) == microusd
    both = said("claude-haiku-5-5", input_tokens=tokens - 1, cache_read_input_tokens=10)
    assert cost(both, BUNDLED) == microusd


@pytest.mark.parametrize(
    "usage",
    [
        NOT_SAID,
        said(None, input_tokens=5),
        said("claude-unheard-of", input_tokens=5),
        said("claude-sonnet-5-latest", input_tokens=5),
        said("claude-sonnet-5-2026080", input_tokens=5),
        said("claude-sonnet-5-20260801\n", input_tokens=5),
        said(input_tokens=None),
        said(output_tokens=None),
    ],
)
def test_an_unknown_cost_is_none(usage: Usage) -> None:
    """Without a model, its price or the counts there is no cost, not even nothing."""
    assert cost(usage, BUNDLED) is None


def test_a_missing_rate_matters_only_where_it_is_used() -> None:
    """One price that is not known makes the cost unknown only for answers with tokens of that class."""
    price = Price(rates=Rates(input=1_000_000, output=2_000_000), source="test", stated_on=DAY)
    table = PriceTable(web_search_microusd=10_000, models={"m": price})
    assert cost(said("m", input_tokens=3, cache_read_input_tokens=0), table) == 3
    assert cost(said("m", input_tokens=3, cache_read_input_tokens=1), table) is None
    assert cost(said("m", input_tokens=3, cache_creation_input_tokens=1), table) is None


def test_the_bundled_table_is_consistent() -> None:
    """Cache writes cost 1.25 and 2 times the input for every model; a date in an id changes nothing."""
    for model, price in BUNDLED.models.items():
        for rates in (price.rates, *(tier.rates for tier in price.long_context)):
            assert (rates.cache_write_5m, rates.cache_write_1h) == (rates.input * 5 // 4, rates.input * 2)
            assert rates.cache_read is not None
            assert rates.cache_read in {rates.input // 10, rates.input // 20, rates.input // 40}
        if model[-8:].isdigit():
            assert price.rates == BUNDLED.models[model[:-9]].rates


def test_a_document_of_the_same_prices_changes_only_their_date() -> None:
    """What models.dev lacks is kept: 1-hour writes, long-context rates, factors, and the price of a search."""
    merged = merge(BUNDLED, document(published()), DAY)
    assert merged.web_search_microusd == BUNDLED.web_search_microusd
    for model, price in BUNDLED.models.items():
        assert merged.models[model] == msgspec.structs.replace(price, source="models.dev", stated_on=DAY)


def test_providers_may_stand_one_level_deeper() -> None:
    """Both shapes of the document are read."""
    deeper = json.dumps({"providers": json.loads(document(published()))}).encode()
    assert merge(BUNDLED, deeper, DAY) == merge(BUNDLED, document(published()), DAY)


def test_a_changed_price_takes_with_it_what_hangs_on_it() -> None:
    """1-hour writes and long-context rates keep their proportion to the rates that changed."""
    cheaper = {"input": 0.08, "output": 0.4, "cache_read": 0.008, "cache_write": 0.1}
    price = merge(BUNDLED, document(published(claude_haiku_5_5=cheaper)), DAY).models["claude-haiku-5-5"]
    assert price.rates == Rates(
        input=80_000, output=400_000, cache_read=8_000, cache_write_5m=100_000, cache_write_1h=160_000
    )
    long = Rates(input=400_000, output=2_000_000, cache_read=40_000, cache_write_5m=500_000, cache_write_1h=800_000)
    assert price.long_context == (LongContext(above_input_tokens=100_000, rates=long),)
    assert price.factors_permille == {"inference_geo=us": 1100}


def test_a_new_model_gets_an_hour_price_of_twice_its_input() -> None:
    """Only a new model's 1-hour price is derived; what is not stated of it stays unknown."""
    new = {"input": 0.15, "output": 0.6, "cache_write": 0.1875, "context_over_200k": {"input": 1}, "reasoning": None}
    price = merge(BUNDLED, document(published(claude_new_6=new)), DAY).models["claude-new-6"]
    assert price == Price(
        rates=Rates(input=150_000, output=600_000, cache_write_5m=187_500, cache_write_1h=300_000),
        source="models.dev",
        stated_on=DAY,
    )


def test_a_new_date_of_a_known_model_inherits_what_is_known_of_it() -> None:
    """`claude-haiku-5-5-20270101` is the known model, with its long-context rates; the older dates follow the name."""
    half = {"input": 0.5, "output": 2.5, "cache_read": 0.05, "cache_write": 0.625}
    models = published(claude_haiku_5_5_20270101=half, claude_haiku_4_5=half)
    del models["claude-haiku-4-5-20251001"]
    merged = merge(BUNDLED, document(models), DAY).models
    assert merged["claude-haiku-5-5-20270101"].long_context[0].rates.input == 2_500_000
    assert merged["claude-haiku-4-5-20251001"].rates == merged["claude-haiku-4-5"].rates
    assert merged["claude-haiku-4-5-20251001"].rates.cache_write_1h == 1_000_000


def test_a_model_without_a_price_keeps_the_one_it_has() -> None:
    """No cost, none for input or output, and a model that is gone take nothing away."""
    models = published(claude_opus_5={"input": 0}, claude_sonnet_5={"output": None})
    models["claude-opus-4-8"] = {"id": "claude-opus-4-8"}
    models["claude-free"] = {"cost": {"input": 0, "output": 0}}
    del models["claude-fable-5"]
    merged = merge(BUNDLED, document(models), DAY)
    for model in ("claude-opus-5", "claude-sonnet-5", "claude-opus-4-8", "claude-fable-5"):
        assert merged.models[model] == BUNDLED.models[model]
    assert "claude-free" not in merged.models
    free_reads = merge(BUNDLED, document(published(claude_opus_5={"cache_read": 0})), DAY)
    assert free_reads.models["claude-opus-5"].rates.cache_read == 500_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot be read"),
        (b"<html>", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[]", "cannot be read"),
        (b"{}", "no models"),
        (b'{"anthropic": {}}', "cannot be read"),
        (b'{"anthropic": {"models": []}}', "cannot be read"),
        (document({}), "no models"),
        (document({"m": {"cost": 5}}), "cannot be read"),
        (document({"m": {"cost": {"input": 1, "output": 1}}}), "0 of"),
        (document({"x" * 300: {}}), "very long name"),
        (document({f"m{number}": {} for number in range(1001)}), "too many models"),
        (document(dict(list(published().items())[:8])), "known models"),
        (document(published(claude_opus_5={"input": -1})), "'-1' as input of claude-opus-5"),
        (document(published(claude_opus_5={"input": "5"})), "'5' as input"),
        (document(published(claude_opus_5={"input": True})), "'True' as input"),
        (document(published(claude_opus_5={"cache_write": [5]})), "as cache_write"),
        (document(published(claude_opus_5={"output": 10_001})), "'10001' as output"),
        (document(published(claude_opus_5={"output": 1e300})), "as output"),
        (document(published()).replace(b'"output": 25.0', b'"output": NaN'), "cannot be read"),
        (document(published()).replace(b'"output": 25.0', b'"output": 1e999'), "the fetched prices"),
        (document(published(claude_opus_5={"output": 251})), "change output of claude-opus-5"),
        (document(published(claude_opus_5={"cache_read": 0.049})), "change cache_read of claude-opus-5"),
    ],
)  # fmt: skip
def test_a_document_that_is_not_to_be_believed_is_refused(data: bytes, reason: str) -> None:
    """One absurd value, or a table that shrank, and nothing of the document is taken."""
    with pytest.raises(ValueError, match=reason):
        merge(BUNDLED, data, DAY)


def test_what_was_stated_last_is_what_may_not_shrink() -> None:
    """Models that left the document long ago are no reason to refuse it for ever."""
    few = dict(list(published().items())[:15])
    once = merge(BUNDLED, document(few), DAY)
    fewer = dict(list(few.items())[:9])
    assert merge(once, document(fewer), "2026-12-02").models.keys() == BUNDLED.models.keys()
    with pytest.raises(ValueError, match="known models"):
        merge(BUNDLED, document(fewer), "2026-12-02")


def test_a_kept_table_comes_back_as_it_was() -> None:
    """Writing and reading a table changes nothing."""
    merged = merge(BUNDLED, document(published(claude_new_6={"input": 1, "output": 2})), DAY)
    assert decode_table(encode_table(merged)) == merged


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version": 1', b'"version": 2'),
        (b'"input": 2000000', b'"input": -2000000'),
        (b'"input": 2000000', b'"input": 0'),
        (b'"input": 2000000', b'"input": 2000000.5'),
        (b'"input": 2000000', b'"input": 99999999999'),
        (b'"input": 2000000,', b""),
        (b'"inference_geo=us": 1100', b'"inference_geo=us": 0'),
        (b'"web_search_microusd": 10000', b'"web_search_microusd": -1'),
        (b"2026-11-22", b"yesterday"),
        (b"}", b""),
        (b"claude", b"\xff"),
    ],
)
def test_a_kept_table_is_not_trusted_blindly(old: bytes, new: bytes) -> None:
    """A damaged file is an error with a sentence, never a price."""
    data = encode_table(BUNDLED)
    assert old in data
    with pytest.raises(ValueError, match="kept price table"):
        decode_table(data.replace(old, new))


def test_a_kept_table_needs_models_in_order() -> None:
    """An empty table, and tiers in disorder, are refused."""
    with pytest.raises(ValueError, match="no models"):
        decode_table(encode_table(msgspec.structs.replace(BUNDLED, models={})))
    price = BUNDLED.models["claude-haiku-5-5"]
    twice = msgspec.structs.replace(price, long_context=price.long_context * 2)
    with pytest.raises(ValueError, match="disordered"):
        decode_table(encode_table(msgspec.structs.replace(BUNDLED, models={"m": twice})))


def test_a_kept_table_does_not_hide_what_a_newer_program_knows() -> None:
    """Later statements of price win; tiers, factors and searches are the program's; unknown models are kept."""
    kept = merge(BUNDLED, document(published(claude_opus_5={"input": 4}, claude_new_6={"input": 1, "output": 2})), DAY)
    plain = {model: msgspec.structs.replace(price, factors_permille={}) for model, price in kept.models.items()}
    plain["claude-fable-5"] = msgspec.structs.replace(plain["claude-opus-5"], stated_on="2025-01-01")
    together = overlay(BUNDLED, PriceTable(web_search_microusd=5, models=plain))
    assert together.web_search_microusd == 10_000
    assert together.models["claude-opus-5"] == kept.models["claude-opus-5"]
    assert together.models["claude-fable-5"] == BUNDLED.models["claude-fable-5"]
    assert together.models["claude-new-6"] == kept.models["claude-new-6"]
