"""Questions about a period: what is told, what is told apart, and what stays unknown."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccflare.analytics import RANGES, Measures, Question, RangeName, analyse, totals
from ccflare.analytics.measures import measures_of
from ccflare.histogram import RELATIVE_ERROR
from ccflare.records import Account, Credentials, Exchange, Secret
from ccflare.store import Store
from ccflare.store.sums import DAY_MS, HOUR_MS, MINUTE_MS
from ccflare.usage import Usage
from history_kit import T0, database, exchange, exchanges, opened, sums_of, write

NOW_MS = T0 + 400 * DAY_MS + 10 * HOUR_MS + 37 * MINUTE_MS + 12_345
"""10:37:12 on some day."""
SAID = Usage(input_tokens=100, cache_read_input_tokens=300, cache_creation_input_tokens=100, output_tokens=50)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "ccflare.db") as one:
        yield one


def ago(number: int, ms: int, **fields: object) -> Exchange:
    return exchange(number, timestamp_ms=NOW_MS - ms, **fields)


def measured(rows: list[Exchange]) -> Measures:
    """Tell about rows the slow way."""
    return Measures(**measures_of(sums_of(rows)))


def plain(told: Measures) -> Measures:
    """Leave only what is told of anything."""
    return Measures(**{name: getattr(told, name) for name in Measures.__struct_fields__})


# What is told.


def test_an_overview(store: Store) -> None:
    """Counts, shares, durations, tokens, cost and speed of the period, and the same of the one before."""
    write(
        store,
        ago(1, 0, usage=SAID, cost_microusd=2_000_000, response_time_ms=1000, first_byte_ms=200, streamed=True,
            output_tokens_per_second=50.0),
        ago(2, 5 * MINUTE_MS, account_id="b", usage=SAID, response_time_ms=3000, output_tokens_per_second=25.0),
        ago(3, HOUR_MS, status_code=429, success=False, account_id=None, response_time_ms=10),
        ago(4, 2 * HOUR_MS, status_code=500, success=False, response_time_ms=20),
        ago(5, 25 * HOUR_MS, usage=SAID, cost_microusd=5),
    )  # fmt: skip
    told = analyse(store, Question(range="24h"), NOW_MS).overview
    assert (told.requests, told.successful_requests, told.failed_requests, told.rate_limited_requests) == (4, 2, 2, 1)
    assert (told.success_rate, told.error_rate, told.rate_limited_rate) == (0.5, 0.5, 0.25)
    assert told.active_accounts == 2
    assert (told.avg_response_time_ms, told.avg_first_byte_ms) == (1007.5, 200)
    assert told.p50_response_time_ms == pytest.approx(20, rel=RELATIVE_ERROR)
    assert told.p95_response_time_ms == told.p99_response_time_ms == pytest.approx(3000, rel=RELATIVE_ERROR)
    assert (told.tokens.total_tokens, told.tokens.input_tokens, told.tokens.cache_read_input_tokens) == (1100, 200, 600)
    assert (told.tokens.cache_creation_input_tokens, told.tokens.output_tokens) == (200, 100)
    assert (told.cost_usd, told.cost_microusd, told.unpriced) == (2.0, 2_000_000, 1)
    assert told.output_tokens_per_second == pytest.approx(100 / 3)  # 50 tokens in 1 s, 50 in 2 s
    assert told.cache_hit_rate == 0.6
    assert told.streamed_requests == 1
    assert (told.previous.requests, told.previous.cost_microusd, told.previous.success_rate) == (1, 5, 1.0)


def test_what_is_not_known_is_null(store: Store) -> None:
    """Of a period in which nothing happened, or nobody said anything, no number is made up."""
    empty = analyse(store, Question(range="1h"), NOW_MS)
    counts = {"requests", "successful_requests", "failed_requests", "rate_limited_requests", "streamed_requests"}
    counts |= {"failover_attempts", "unpriced", "request_bytes", "response_bytes", "active_accounts"}
    for told in (empty.overview, empty.overview.previous, *empty.time_series):
        fields = msgspec.to_builtins(told)
        others = {name: fields[name] for name in Measures.__struct_fields__ if name not in counts | {"tokens"}}
        assert all(fields[name] == 0 for name in counts & fields.keys())
        assert set(others.values()) == set(fields["tokens"].values()) == {None}
    tables = [*empty.models, *empty.accounts, *empty.costs.by_model, *empty.costs.by_account]
    assert tables == []
    write(store, ago(1, 0))
    silent = analyse(store, Question(range="1h"), NOW_MS).overview
    assert (silent.tokens.total_tokens, silent.cost_usd, silent.unpriced, silent.cache_hit_rate) == (
        None,
        None,
        0,
        None,
    )


def test_models_and_accounts_are_told_apart(store: Store) -> None:
    """Each with its own measures, the most used first; accounts by name, removed ones too; none is null."""
    store.add_account(Account(id="a", name="primary", created_at_ms=1), Credentials("a", Secret("sk-x")))
    store.add_account(Account(id="b", name="former", created_at_ms=1), Credentials("b", Secret("sk-y")))
    store.remove_account("b")
    write(
        store,
        ago(1, 0, model="m1", usage=SAID, cost_microusd=5),
        ago(2, 1, model="m1", account_id="b", usage=SAID, cost_microusd=7, response_time_ms=9000),
        ago(3, 2, model="m2", account_id="b", usage=SAID, cost_microusd=900),
        ago(4, 3, model=None, account_id=None, success=False, status_code=401),
        ago(5, 4, model="m3", account_id="c"),
        ago(6, 5, model="m1", account_id="b"),
    )
    told = analyse(store, Question(), NOW_MS)
    assert [(each.model, each.requests, each.cost_microusd) for each in told.models] == [
        ("m1", 3, 12), (None, 1, None), ("m2", 1, 900), ("m3", 1, None)
    ]  # fmt: skip
    assert told.models[0].p99_response_time_ms == pytest.approx(9000, rel=RELATIVE_ERROR)
    assert {(each.id, each.name, each.requests) for each in told.accounts} == {
        ("a", "primary", 1), ("b", "former", 3), ("c", None, 1), (None, None, 1)
    }  # fmt: skip
    assert [each.model for each in told.costs.by_model][:2] == ["m2", "m1"]
    assert [(each.name, each.cost_microusd) for each in told.costs.by_account][:2] == [("former", 907), ("primary", 5)]
    assert {each.cost_usd for each in told.costs.by_account if each.id in {None, "c"}} == {None}
    assert told.token_breakdown == told.overview.tokens


def test_a_filter_restricts_everything(store: Store) -> None:
    """Overview, previous period, series and tables are about the same exchanges; a family of models is one filter."""
    write(
        store,
        ago(1, 0, model="claude-3-opus-20240229"),
        ago(2, 0, model="claude-3-opus-20240229", success=False, status_code=500),
        ago(3, 0, model="claude-x"),
        ago(4, 90 * MINUTE_MS, model="claude-3-opus"),
    )
    told = analyse(store, Question(range="1h", model="claude-3-opus", status="success"), NOW_MS)
    assert (told.overview.requests, told.overview.previous.requests) == (1, 1)
    assert [each.requests for each in told.time_series if each.requests] == [1]
    assert [each.model for each in told.models] == ["claude-3-opus-20240229"]
    assert analyse(store, Question(range="1h", account_id="nobody"), NOW_MS).overview.requests == 0
    assert analyse(store, Question(range="1h", status=500), NOW_MS).overview.requests == 1


# Periods.


@pytest.mark.parametrize("name", RANGES)
def test_a_series_has_a_point_for_each_bucket(store: Store, name: RangeName) -> None:
    """Points follow each other without gap up to now, at multiples of their length, and tell of the whole period."""
    told_range = RANGES[name]
    write(store, *(ago(n, n * told_range.length_ms // 50, usage=SAID, cost_microusd=n) for n in range(120)))
    told = analyse(store, Question(range=name), NOW_MS)
    begins = [point.ts for point in told.time_series]
    assert begins == list(range(begins[0], told.to_ms, told.bucket_ms))
    assert begins[0] % told.bucket_ms == 0
    assert begins[0] <= told.from_ms < begins[0] + told.bucket_ms
    assert NOW_MS < told.to_ms <= NOW_MS + MINUTE_MS
    assert told_range.length_ms <= told.to_ms - told.from_ms < told_range.length_ms + told_range.grain_ms
    assert sum(point.requests for point in told.time_series) == told.overview.requests
    assert sum(point.cost_microusd or 0 for point in told.time_series) == told.overview.cost_microusd
    assert told.time_series[-1].partial
    assert told.time_series[0].partial == (begins[0] < told.from_ms)
    assert not any(point.partial for point in told.time_series[1:-1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(exchanges, st.integers(0, 800 * DAY_MS) | st.sampled_from([n * HOUR_MS for n in range(60)])),
        max_size=12,
    ),
    st.sampled_from(list(RANGES)),
)
def test_a_period_is_exact(made: list[tuple[Exchange, int]], name: RangeName) -> None:
    """It and the one before have the exchanges that arrived in them, no other; also when fine sums were forgotten."""
    rows = [msgspec.structs.replace(each, timestamp_ms=NOW_MS - age) for each, age in made]
    with database() as path, opened(path) as store:
        store.rollups.fold_after = 2
        for each in rows:
            write(store, each)
        store.rollups.forget(NOW_MS)
        told = analyse(store, Question(range=name), NOW_MS)
    before_ms = told.from_ms - RANGES[name].length_ms
    assert plain(told.overview) == measured([each for each in rows if told.from_ms <= each.timestamp_ms < told.to_ms])
    assert told.overview.previous == measured([each for each in rows if before_ms <= each.timestamp_ms < told.from_ms])


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_a_period_are_kept_as_long_as_they_are_asked_for(store: Store, name: RangeName) -> None:
    """However many fine sums were forgotten, exchanges around both ends of it and of the one before are told apart."""
    store.rollups.fold_after = 1
    ends = [number * RANGES[name].length_ms for number in (0, 1, 2)]
    ages = [end + minutes * MINUTE_MS for end in ends for minutes in (-100, -61, -38, -37, -1, 0, 1, 22, 23, 61, 100)]
    rows = [ago(number, age) for number, age in enumerate(ages) if age >= 0]
    write(store, *rows)
    while store.rollups.forget(NOW_MS):
        pass
    told = analyse(store, Question(range=name), NOW_MS)
    before_ms = told.from_ms - RANGES[name].length_ms
    assert told.overview.requests == len([each for each in rows if told.from_ms <= each.timestamp_ms < told.to_ms])
    assert told.overview.previous.requests == len(
        [each for each in rows if before_ms <= each.timestamp_ms < told.from_ms]
    )


# Modes.


def test_cumulative_points_are_about_everything_so_far(store: Store) -> None:
    """Sums run, means and shares are those of all up to the point; the overview stays as it is."""
    write(
        store,
        ago(1, 30 * MINUTE_MS, usage=SAID, cost_microusd=5),
        ago(2, 10 * MINUTE_MS, usage=SAID, cost_microusd=7, success=False, status_code=500),
    )
    told = analyse(store, Question(range="1h", mode="cumulative"), NOW_MS)
    assert [point.requests for point in told.time_series] == [0] * 29 + [1] * 20 + [2] * 11
    assert [told.time_series[n].cost_microusd for n in (0, 30, 59)] == [None, 5, 12]
    assert told.time_series[-1].success_rate == 0.5
    assert plain(told.time_series[-1]) == plain(told.overview)
    assert told.models_over_time is None


def test_models_over_time(store: Store) -> None:
    """The ten most used models have a series each, the others one together; the sums are those of the one for all."""
    write(store, *(ago(100 * n + each, n * MINUTE_MS, model=f"m{n:02d}") for n in range(14) for each in range(20 - n)))
    told = analyse(store, Question(range="1h", mode="per_model"), NOW_MS)
    assert told.models_over_time is not None
    assert [each.model for each in told.models_over_time] == [f"m{n:02d}" for n in range(10)] + ["(other)"]
    for number, point in enumerate(told.time_series):
        assert sum(each.points[number].requests for each in told.models_over_time) == point.requests
    assert analyse(store, Question(range="1h", by_model=True), NOW_MS).models_over_time == told.models_over_time
    running = analyse(store, Question(range="1h", by_model=True, mode="cumulative"), NOW_MS).models_over_time
    assert running is not None
    assert running[0].points[-1].requests == 20


def test_many_models_are_a_bounded_answer(store: Store) -> None:
    """Beyond a hundred they are one, and nothing is lost in it."""
    write(store, *(ago(n, 0, model=f"m{n}") for n in range(250)))
    told = analyse(store, Question(), NOW_MS)
    assert len(told.models) == len(told.costs.by_model) == 101
    assert sum(each.requests for each in told.models) == sum(each.requests for each in told.costs.by_model) == 250
    assert told.models[-1].model == "(other)"


# Everything.


def test_totals_outlive_their_rows(store: Store) -> None:
    """All there ever was, whatever has been forgotten since; the accounts that can be used; the latest errors."""
    store.add_account(Account(id="a", name="primary", created_at_ms=1), Credentials("a", Secret("sk-x")))
    store.add_account(Account(id="p", name="paused", created_at_ms=1, paused=True), Credentials("p", Secret("sk-y")))
    write(store, ago(0, 399 * DAY_MS, usage=SAID, cost_microusd=3))
    write(store, *(ago(n, n, success=False, status_code=529, error_message=f"e{n}") for n in range(1, 13)))
    store.history.forget(NOW_MS - DAY_MS)
    told = totals(store, NOW_MS)
    assert (told.requests, told.successful_requests, told.cost_microusd) == (13, 1, 3)
    assert (told.accounts, told.active_accounts) == (2, 1)
    assert told.since_ms == (NOW_MS - 399 * DAY_MS) // DAY_MS * DAY_MS
    assert [each.error_message for each in told.recent_errors] == [f"e{n}" for n in range(1, 11)]
    assert {each.outcome for each in told.recent_errors} == {"overloaded"}
    assert [(each.model, each.requests) for each in told.top_models] == [("claude-x", 13)]
    assert [(each.name, each.requests) for each in told.by_account] == [("primary", 13)]


def test_totals_of_nothing(store: Store) -> None:
    """A new database has totals too."""
    told = totals(store, NOW_MS)
    assert (told.requests, told.since_ms, told.success_rate, told.recent_errors) == (0, None, None, [])


def test_an_answer_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written while it is put together is in all of it or in nothing."""
    with opened(tmp_path / "ccflare.db") as reader, opened(tmp_path / "ccflare.db") as writer:
        write(writer, ago(1, 0))
        asked = reader.rollups.sums
        number = iter(range(2, 99))

        def interrupted(*given: object) -> object:
            write(writer, ago(next(number), 0))
            return asked(*given)  # type: ignore[arg-type]  # passed on

        reader.history.account_names()
        monkeypatch.setattr(reader.rollups, "sums", interrupted)
        told = analyse(reader, Question(range="1h"), NOW_MS)
    assert told.overview.requests == sum(point.requests for point in told.time_series)


def test_answers_are_json_in_snake_case(store: Store) -> None:
    """Every key is lower case with underscores, and the parts that users know are there."""
    write(store, ago(1, 0, usage=SAID))
    told = msgspec.json.decode(msgspec.json.encode(analyse(store, Question(mode="per_model"), NOW_MS)))
    assert {"overview", "time_series", "token_breakdown", "models", "accounts", "costs"} <= told.keys()
    keys = [*told, *told["overview"], *told["time_series"][0], *told["models"][0], *told["accounts"][0]]
    keys += msgspec.to_builtins(totals(store, NOW_MS))
    assert all(key == key.lower() and key.isidentifier() for key in keys)
