"""Metrics: what is counted, how workers become one, and that both text formats say what was put in."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from api_kit import exchange
from ccflare.metrics import METRICS, OPENMETRICS, PROMETHEUS, Snapshot, Tally, media_type, merged, render, table, tally
from ccflare.records import Attempt
from ccflare.usage import Usage

READERS: dict[str, Any] = {PROMETHEUS: read_prometheus, OPENMETRICS: read_openmetrics}

Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(families: Iterable[Family]) -> dict[Sample, float]:
    """Return every sample by its name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def parsed(snapshot: Snapshot, kind: str) -> list[Family]:
    """Return what Prometheus' own parser reads in the text of a snapshot."""
    return list(READERS[kind](render(snapshot, kind).decode()))


def read(counted: Tally, **names: str) -> dict[Sample, float]:
    """Return what a tally has counted, as a scraper reads it."""
    snapshot = Snapshot()
    counted.read(snapshot, names)
    return samples(parsed(snapshot, PROMETHEUS))


def sample(name: str, **labels: str) -> Sample:
    return name, tuple(sorted(labels.items()))


def everything(value: float = 3.0) -> Snapshot:
    """Return a snapshot in which every metric of the table has a value."""
    snapshot = Snapshot()
    for metric in METRICS:
        labels = tuple(f'{name} "quoted" \\ and\nbroken' for name in metric.labels)
        numbers = (value,) * (len(metric.bounds) + 2) if metric.kind == "histogram" else (value,)
        snapshot.add(metric, numbers, labels)
    return snapshot


def test_names_and_help_follow_the_conventions() -> None:
    """Counters, and only they, end in `_total`; times are in seconds; every row has help, and no name comes twice."""
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 30
    for metric in METRICS:
        assert metric.name.startswith(("ccflare_", "process_")), metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        assert not {"le", "quantile", "job", "instance"} & set(metric.labels), metric.name
        assert "_ms" not in metric.name
        assert bool(metric.bounds) == (metric.kind == "histogram"), metric.name
        assert list(metric.bounds) == sorted(set(metric.bounds))


@pytest.mark.parametrize("kind", READERS)
def test_both_formats_are_read_by_the_reference_parser(kind: str) -> None:
    """Every metric, with labels that have to be escaped, comes out of Prometheus' own parser as it was put in."""
    told = {family.name: family for family in parsed(everything(), kind)}
    for metric in METRICS:
        family = told[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert all(set(metric.labels) <= set(each.labels) for each in family.samples)
    labels = told[table.EXCHANGES.name.removesuffix("_total")].samples[0].labels
    assert labels["model"] == 'model "quoted" \\ and\nbroken'


def test_a_histogram_is_cumulative() -> None:
    """Buckets count everything up to their bound, the last one everything; count and sum are those of the seconds."""
    delays = tally.Distribution(table.LOOP_DELAY)
    for seconds in (0.0005, 0.0006, 99.0):
        delays.add(seconds)
    snapshot = Snapshot()
    snapshot.add(table.LOOP_DELAY, delays.numbers())
    found = samples(parsed(snapshot, OPENMETRICS))
    name = table.LOOP_DELAY.name
    assert found[sample(f"{name}_bucket", le="0.0005")] == 1
    assert found[sample(f"{name}_bucket", le="2.5")] == 2
    assert found[sample(f"{name}_bucket", le="+Inf")] == found[sample(f"{name}_count")] == 3
    assert math.isclose(found[sample(f"{name}_sum")], 99.0011)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/plain", PROMETHEUS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
        ("application/openmetrics-text; q=0.2, text/plain; q=0.9", PROMETHEUS),
        ("application/openmetrics-text;q=0", PROMETHEUS),
    ],
)
def test_the_caller_chooses_the_format(accept: str, expected: str) -> None:
    """OpenMetrics is for who wants it at least as much as plain text; everybody else gets Prometheus' own format."""
    assert media_type(accept) == expected


def test_an_exchange_is_counted_under_its_labels() -> None:
    """Outcome, tokens of each class, cost, times and attempts of an exchange stand under its account and model."""
    counted = Tally(lambda _model: True)
    usage = Usage(input_tokens=10, output_tokens=20, cache_read_input_tokens=5, cache_creation_input_tokens=7)
    attempts = (Attempt("b", "next", 529, 10), Attempt("a", "deliver", 200, 100))
    counted.add([exchange(1, account_id="a", usage=usage, cost_microusd=1_500_000, attempts=attempts)])
    counted.add([exchange(2, account_id="a", success=False, status_code=429, usage=Usage(), cost_microusd=None)])
    found = read(counted, a="work", b="home")
    whose = {"account": "work", "model": "claude-sonnet-5-5"}
    assert found[sample("ccflare_exchanges_total", **whose, outcome="success")] == 1
    assert found[sample("ccflare_exchanges_total", **whose, outcome="rate_limited")] == 1
    tokens = {key: found[sample("ccflare_tokens_total", **whose, **{"class": key})] for key in ("input", "output")}
    assert tokens == {"input": 10, "output": 20}
    assert found[sample("ccflare_tokens_total", **whose, **{"class": "cache_read"})] == 5
    assert found[sample("ccflare_tokens_total", **whose, **{"class": "cache_write_5m"})] == 7
    assert found[sample("ccflare_cost_dollars_total", **whose)] == 1.5
    assert found[sample("ccflare_attempts_total", account="home", verdict="next")] == 1
    assert found[sample("ccflare_exchange_overhead_seconds_count")] == 2
    assert found[sample("ccflare_exchange_duration_seconds_count", model="claude-sonnet-5-5")] == 1
    assert found[sample("ccflare_exchange_first_byte_seconds_sum", model="claude-sonnet-5-5")] == 0.05
    assert found[sample("ccflare_unpriced_exchanges_total", model="claude-sonnet-5-5")] == 0


def test_tokens_without_a_price_are_told() -> None:
    """An exchange with tokens and no known cost is counted as unpriced, and adds nothing to the cost."""
    counted = Tally(lambda _model: True)
    counted.add([exchange(1, cost_microusd=None, account_id=None)])
    found = read(counted)
    assert found[sample("ccflare_unpriced_exchanges_total", model="claude-sonnet-5-5")] == 1
    assert found[sample("ccflare_cost_dollars_total", account="(none)", model="claude-sonnet-5-5")] == 0


def test_names_that_clients_make_up_get_no_label() -> None:
    """A model that nobody knows has a label once it was answered with success; until then it counts as other."""
    counted = Tally(lambda model: model == "known")
    failed: dict[str, Any] = {"success": False, "status_code": 404, "account_id": None}
    counted.add([exchange(n, model=f"made-up-{n}", **failed) for n in range(50)])
    counted.add([exchange(60, model="known", **failed), exchange(61, model=None, **failed)])
    counted.add([exchange(62, model="new", account_id=None), exchange(63, model="new", **failed)])
    models = {dict(labels)["model"] for name, labels in read(counted) if name == "ccflare_exchanges_total"}
    assert models == {"(other)", "known", "(none)", "new"}


@pytest.mark.parametrize("bad", ["x" * 101, "line\nbreak", "nul\x00"])
def test_unprintable_and_endless_names_get_no_label(bad: str) -> None:
    """What could not be read in a list of labels counts as other, even after a success."""
    counted = Tally(lambda _model: True)
    counted.add([exchange(1, model=bad)])
    assert {dict(labels).get("model", "(other)") for _, labels in read(counted)} == {"(other)"}


def test_labels_are_bounded() -> None:
    """However many models are answered, at most 100 and `(other)` are told apart, and nothing gets lost."""
    counted = Tally(lambda _model: True)
    counted.add(exchange(n, model=f"m-{n}", account_id="a") for n in range(1000))
    found = read(counted, a="work")
    told = {labels: value for (name, labels), value in found.items() if name == "ccflare_exchanges_total"}
    assert len(told) == tally.MODELS + 1
    assert sum(told.values()) == 1000


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound of combinations, further ones share the label `(other)` of the model."""
    monkeypatch.setattr(tally, "SERIES", 10)
    counted = Tally(lambda _model: True)
    counted.add(exchange(n, model=f"m-{n % 10}", account_id=f"a-{n // 10}") for n in range(30))
    found = read(counted, **{f"a-{n}": f"a-{n}" for n in range(3)})
    told = {labels: value for (name, labels), value in found.items() if name == "ccflare_exchanges_total"}
    assert len(told) == 12
    assert sum(told.values()) == 30


def test_a_removed_account_keeps_its_counts() -> None:
    """Counters never fall: what an account has served stays under its name, and goes on under one of the same name."""
    counted = Tally(lambda _model: True)
    counted.add([exchange(1, account_id="a")])
    read(counted, a="work")
    counted.add([exchange(2, account_id="b")])
    found = read(counted, b="work")
    whose = {"account": "work", "model": "claude-sonnet-5-5", "outcome": "success"}
    assert found[sample("ccflare_exchanges_total", **whose)] == 2


def test_workers_become_one() -> None:
    """What belongs to all workers is merged by its row's rule; what is each one's own stands there with its number."""
    whole = merged([everything(3.0).encode(1), everything(5.0).encode(2)], apart=True)
    for metric in METRICS:
        values = whole.values[metric.name]
        if metric.merge == "each":
            assert {labels[-1]: set(numbers) for labels, numbers in values.items()} == {"1": {3.0}, "2": {5.0}}
            continue
        [numbers] = values.values()
        assert set(numbers) == {{"sum": 8.0, "max": 5.0, "min": 3.0}[metric.merge]}, metric.name
    for kind in READERS:
        found = samples(parsed(whole, kind))
        assert found[sample("process_cpu_seconds_total", worker="2")] == 5
        assert found[sample("ccflare_workers")] == 8


def test_counters_of_workers_are_never_added() -> None:
    """A sum of counters would fall when a worker goes, which counts as traffic."""
    assert {metric.merge for metric in METRICS if metric.kind != "gauge"} == {"each"}


def test_one_worker_needs_no_label() -> None:
    """A server of one process tells its numbers without a worker's number."""
    assert render(merged([everything().encode(7)], apart=False), PROMETHEUS) == render(everything(), PROMETHEUS)


def test_a_worker_of_another_version_does_no_harm() -> None:
    """During a rolling restart, what the other version calls or shapes differently is left out."""
    other = Snapshot()
    other.put(table.Metric("ccflare_of_tomorrow", "gauge", "New."), 1)
    other.put(table.Metric(table.IN_FLIGHT.name, "gauge", "Reshaped.", ("account",)), 1, "work")
    other.add(table.OVERHEAD, (1, 2, 3))
    other.put(table.WORKERS, 1)
    [told] = parsed(merged([other.encode()], apart=False), PROMETHEUS)
    assert told.name == table.WORKERS.name
