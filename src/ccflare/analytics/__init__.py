"""Questions about the history, answered from sums: the cost depends on the period, not on how much happened in it.

A period ends with the current minute. One of up to a day begins at a minute, one of up to 30 days at an hour, a longer
one at a day (UTC): so far back finer sums are not kept.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from ccflare.analytics.answers import (
    AccountCost,
    AccountMeasures,
    Analytics,
    Costs,
    KeyCost,
    KeyMeasures,
    Mode,
    ModelCost,
    ModelMeasures,
    ModelSeries,
    Overview,
    Point,
    Question,
    RangeName,
    RecentError,
    Totals,
)
from ccflare.analytics.measures import Measures, Tokens, measures_of, tokens_of, usd
from ccflare.records import ClientKey, outcome_of, state_of
from ccflare.store import Store
from ccflare.store.rollups import Divided, Rollups
from ccflare.store.series import OTHER, Filter
from ccflare.store.sums import DAY_MS, EVER, HOUR_MS, MINUTE_MS, Sums, spans, total

__all__ = [
    "RANGES", "Analytics", "Measures", "Mode", "Point", "Question", "RangeName", "Tokens", "Totals",
    "analyse", "totals",
]  # fmt: skip

_K = TypeVar("_K", int, str)

_MODELS_SHOWN = 100
_MODELS_OVER_TIME = 10
_TOP_MODELS = 10
_ERRORS_SHOWN = 10

_account: Callable[[tuple[Any, ...]], str] = itemgetter(0)
_model: Callable[[tuple[Any, ...]], str] = itemgetter(1)
_client_key: Callable[[tuple[Any, ...]], str] = itemgetter(2)
_time: Callable[[tuple[Any, ...]], int] = itemgetter(0)
"""What is where in the keys of sums."""


class Range(NamedTuple):
    """How a period is looked at: its length, the length of a bucket, and what its begin is a multiple of."""

    length_ms: int
    bucket_ms: int
    grain_ms: int


RANGES: Mapping[RangeName, Range] = {
    "1h": Range(HOUR_MS, MINUTE_MS, MINUTE_MS),
    "6h": Range(6 * HOUR_MS, 5 * MINUTE_MS, MINUTE_MS),
    "24h": Range(DAY_MS, HOUR_MS, MINUTE_MS),
    "7d": Range(7 * DAY_MS, HOUR_MS, HOUR_MS),
    "30d": Range(30 * DAY_MS, DAY_MS, HOUR_MS),
    "90d": Range(90 * DAY_MS, DAY_MS, DAY_MS),
    "365d": Range(365 * DAY_MS, DAY_MS, DAY_MS),
}


class Period(NamedTuple):
    """From a first instant up to one that does not belong to it."""

    from_ms: int
    to_ms: int


def analyse(store: Store, question: Question, now_ms: int) -> Analytics:
    """Answer a question about the time up to now."""
    asked = RANGES[question.range]
    period, before = _periods(asked, now_ms)
    line = _Line(period, asked.bucket_ms, now_ms, cumulative=question.mode == "cumulative")
    separate = question.by_model or question.mode == "per_model"
    with store.snapshot():
        groups, over_time, previous = _read(store.rollups, question, (period, before), separate=separate)
        names, living = store.history.account_names(), {account.id for account in store.accounts()}
        keys = {key.id: key for key in store.client_keys.all()}
    by_model, by_account, by_key = (_grouped(groups, part) for part in (_model, _account, _client_key))
    everything = total(groups.values())
    return Analytics(
        range=question.range,
        mode=question.mode,
        from_ms=period.from_ms,
        to_ms=period.to_ms,
        bucket_ms=asked.bucket_ms,
        overview=Overview(
            active_accounts=len([each for each in by_account if each]),
            previous=Measures(**measures_of(total(previous.values()))),
            **measures_of(everything),
        ),
        time_series=line.points(_grouped(over_time, _time)),
        models_over_time=_models_over_time(over_time, by_model, line) if separate else None,
        token_breakdown=tokens_of(everything),
        models=_models(by_model, _MODELS_SHOWN),
        accounts=_accounts(by_account, names, living),
        client_keys=_client_keys(by_key, keys),
        costs=Costs(
            by_model=_model_costs(by_model),
            by_account=[
                AccountCost(id=each or None, name=names.get(each), **cost) for each, cost in _costs(by_account)
            ],
            by_key=[KeyCost(id=each or None, name=_key_name(keys, each), **cost) for each, cost in _costs(by_key)],
        ),
    )


def totals(store: Store, now_ms: int) -> Totals:
    """Tell about everything since the beginning."""
    with store.snapshot():
        groups = store.rollups.sums(Filter(), ("account", "model"), EVER)
        accounts, names = store.accounts(), store.history.account_names()
        since_ms, errors = store.rollups.since_ms(), _recent_errors(store)
    return Totals(
        accounts=len(accounts),
        active_accounts=len([each for each in accounts if state_of(each, now_ms) == "active"]),
        since_ms=since_ms,
        top_models=_models(_grouped(groups, _model), _TOP_MODELS),
        by_account=_accounts(_grouped(groups, _account), names, {each.id for each in accounts}),
        recent_errors=errors,
        **measures_of(total(groups.values())),
    )


def _read(
    rollups: Rollups, question: Question, periods: tuple[Period, Period], *, separate: bool
) -> tuple[Divided, Divided, Divided]:
    """Return the sums by account, model and client key, those by time (and model), and those of the period before."""
    wanted = Filter(
        account_id=question.account_id,
        model=question.model,
        status=question.status,
        client_key_id=question.client_key_id,
    )
    period, before = periods
    bucket_ms = RANGES[question.range].bucket_ms
    return (
        rollups.sums(wanted, ("account", "model", "client_key"), spans(*period)),
        rollups.sums(wanted, ("time", "model") if separate else ("time",), spans(*period, bucket_ms), bucket_ms),
        rollups.sums(wanted, (), spans(*before)),
    )


def _recent_errors(store: Store) -> list[RecentError]:
    return [
        RecentError(
            id=each.id,
            timestamp_ms=each.timestamp_ms,
            account_id=each.account_id,
            model=each.model,
            status_code=each.status_code,
            outcome=outcome_of(each.status_code, each.success),
            error_message=each.error_message,
        )
        for each in store.history.page(Filter(status="error"), at_most=_ERRORS_SHOWN)
    ]


def _periods(asked: Range, now_ms: int) -> tuple[Period, Period]:
    """Return the period that is meant and the one before it."""
    to_ms = (now_ms // MINUTE_MS + 1) * MINUTE_MS
    from_ms = (to_ms - asked.length_ms) // asked.grain_ms * asked.grain_ms
    return Period(from_ms, to_ms), Period(from_ms - asked.length_ms, from_ms)


def _grouped(cells: Divided, key: Callable[[tuple[Any, ...]], _K]) -> dict[_K, Sums]:
    """Add what has the same key; the most requests first."""
    groups: defaultdict[_K, list[Sums]] = defaultdict(list)
    for each, sums in cells.items():
        groups[key(each)].append(sums)
    added = {each: total(parts) for each, parts in groups.items()}
    return dict(sorted(added.items(), key=lambda item: (-item[1].requests, item[0])))


# Series.


class _Line(NamedTuple):
    """How points are made of sums by time."""

    period: Period
    bucket_ms: int
    now_ms: int
    cumulative: bool

    def points(self, by_time: Mapping[int, Sums]) -> list[Point]:
        """Return a point for each bucket of the period, also where nothing happened."""
        points, so_far = [], Sums()
        for ts in range(self.period.from_ms // self.bucket_ms * self.bucket_ms, self.period.to_ms, self.bucket_ms):
            here = by_time.get(ts, Sums())
            so_far = total([so_far, here]) if self.cumulative else here
            partial = ts < self.period.from_ms or ts + self.bucket_ms > self.now_ms
            points.append(Point(ts=ts, bucket_ms=self.bucket_ms, partial=partial, **measures_of(so_far)))
        return points


def _models_over_time(parts: Divided, by_model: Iterable[str], line: _Line) -> list[ModelSeries]:
    shown = list(by_model)[:_MODELS_OVER_TIME]
    told = {key: key[1] if key[1] in shown else OTHER for key in parts}
    names = [*shown, *([OTHER] if OTHER in told.values() and OTHER not in shown else [])]
    return [
        ModelSeries(
            model=name or None,
            points=line.points(_grouped({key: sums for key, sums in parts.items() if told[key] == name}, _time)),
        )
        for name in names
    ]


# Tables.


def _models(by_model: Mapping[str, Sums], at_most: int) -> list[ModelMeasures]:
    """Return the most used models, and all others as one."""
    shown = _told_apart(by_model, at_most)
    return [ModelMeasures(model=model or None, **measures_of(sums)) for model, sums in shown.items()]


def _told_apart(by_model: Mapping[str, Sums], at_most: int) -> dict[str, Sums]:
    first = dict(list(by_model.items())[:at_most])
    rest = [sums for model, sums in by_model.items() if model not in first]
    if rest:
        first[OTHER] = total([*rest, first.get(OTHER, Sums())])
    return first


def _accounts(by_account: Mapping[str, Sums], names: Mapping[str, str], living: Set[str]) -> list[AccountMeasures]:
    return [
        AccountMeasures(
            id=each or None, name=names.get(each), removed=bool(each) and each not in living, **measures_of(sums)
        )
        for each, sums in by_account.items()
    ]


def _client_keys(by_key: Mapping[str, Sums], keys: Mapping[str, ClientKey]) -> list[KeyMeasures]:
    return [
        KeyMeasures(
            id=each or None,
            name=_key_name(keys, each),
            revoked=each in keys and keys[each].revoked_at_ms is not None,
            **measures_of(sums),
        )
        for each, sums in by_key.items()
    ]


def _key_name(keys: Mapping[str, ClientKey], key_id: str) -> str | None:
    return keys[key_id].name if key_id in keys else None


def _model_costs(by_model: Mapping[str, Sums]) -> list[ModelCost]:
    return [ModelCost(model=each or None, **cost) for each, cost in _costs(_told_apart(by_model, _MODELS_SHOWN))]


def _costs(groups: Mapping[str, Sums]) -> list[tuple[str, dict[str, Any]]]:
    """Return what each has cost, the dearest first."""
    return [(each, _cost(sums)) for each, sums in _dearest_first(groups)]


def _dearest_first(groups: Mapping[str, Sums]) -> Sequence[tuple[str, Sums]]:
    return sorted(groups.items(), key=lambda item: -(item[1].cost_microusd or 0))


def _cost(sums: Sums) -> dict[str, Any]:
    return {
        "cost_usd": usd(sums.cost_microusd),
        "cost_microusd": sums.cost_microusd,
        "unpriced": sums.unpriced,
        "requests": sums.requests,
    }
