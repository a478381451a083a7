"""What is counted of exchanges, from their records and after their end: the request path has no part in it."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Final, TypeAlias

from ccflare.metrics import table
from ccflare.metrics.snapshot import Snapshot
from ccflare.metrics.table import Metric
from ccflare.pricing import cache_writes
from ccflare.records import Exchange, outcome_of

MODELS: Final = 100
"""Models with a label of their own: clients choose the names."""
LONGEST_MODEL: Final = 100
SERIES: Final = 5_000
"""Combinations of account, model and outcome that are told apart."""

NONE: Final = "(none)"
"""The label where there is no account, or no model; no account can have this name."""
OTHER: Final = "(other)"
"""The label of all models without one, and of accounts that were removed before anyone asked for their name."""

_Key: TypeAlias = tuple[str | None, str, str]
"""Account id, model label, outcome."""


class Distribution:
    """Seconds counted in the buckets of a histogram."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, metric: Metric) -> None:
        self._bounds = metric.bounds
        self._counts = [0] * (len(metric.bounds) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def numbers(self) -> tuple[float, ...]:
        """Return the count of each bucket, and behind them the sum."""
        return (*self._counts, self._sum)


class _Usage:
    """What the answers of one account and model have said of themselves."""

    __slots__ = ("cache_read", "cost", "input", "output", "unpriced", "write_1h", "write_5m")

    def __init__(self) -> None:
        self.input = self.output = self.cache_read = self.write_5m = self.write_1h = 0
        self.cost = self.unpriced = 0

    def by_class(self) -> tuple[tuple[str, int], ...]:
        """Return the tokens of each class."""
        return (
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_write_5m", self.write_5m),
            ("cache_write_1h", self.write_1h),
        )


class Tally:
    """Counts since the start of the process. Any thread may use it; who reads waits for one batch at most.

    `is_known` tells the models there are from names that a client has made up. A made-up one gets no label, unless
    upstream has answered it with success, so that nobody can use up the labels.
    """

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        self._is_known = is_known
        self._lock = Lock()
        self._models: dict[str | None, str] = {None: NONE}
        self._exchanges: dict[_Key, int] = {}
        self._usage: dict[tuple[str | None, str], _Usage] = {}
        self._attempts: dict[tuple[str | None, str], int] = {}
        self._overhead = Distribution(table.OVERHEAD)
        self._first_bytes: dict[str, Distribution] = {}
        self._durations: dict[str, Distribution] = {}
        self._names: dict[str | None, str] = {None: NONE}

    def add(self, exchanges: Iterable[Exchange]) -> None:
        """Count exchanges."""
        with self._lock:
            for exchange in exchanges:
                self._add(exchange)

    def _add(self, exchange: Exchange) -> None:
        model = self._models.get(exchange.model) or self._label(exchange)
        account_id, outcome = exchange.account_id, outcome_of(exchange.status_code, exchange.success)
        key = account_id, model, outcome
        count = self._exchanges.get(key, 0)
        if not count and len(self._exchanges) >= SERIES:
            model = OTHER
            key = account_id, model, outcome
            count = self._exchanges.get(key, 0)
        self._exchanges[key] = count + 1
        if exchange.success:
            self._time(model, exchange)
        if exchange.own_ms is not None:
            self._overhead.add(exchange.own_ms / 1000)
        usage = exchange.usage
        if usage.output_tokens is not None or usage.input_tokens is not None:
            self._meter(account_id, model, exchange)
        for attempt in exchange.attempts:
            tried = attempt.account_id, attempt.verdict
            self._attempts[tried] = self._attempts.get(tried, 0) + 1

    def _meter(self, account_id: str | None, model: str, exchange: Exchange) -> None:
        usage, of = exchange.usage, (account_id, model)
        sums = self._usage.get(of)
        if sums is None:
            sums = self._usage[of] = _Usage()
        sums.input += usage.input_tokens or 0
        sums.output += usage.output_tokens or 0
        sums.cache_read += usage.cache_read_input_tokens or 0
        short, long = cache_writes(usage)
        sums.write_5m += short
        sums.write_1h += long
        sums.cost += exchange.cost_microusd or 0
        sums.unpriced += exchange.cost_microusd is None

    def _time(self, model: str, exchange: Exchange) -> None:
        durations = self._durations.get(model)
        if durations is None:
            durations = self._durations[model] = Distribution(table.DURATION)
            self._first_bytes[model] = Distribution(table.FIRST_BYTE)
        durations.add(exchange.response_time_ms / 1000)
        if exchange.first_byte_ms is not None:
            self._first_bytes[model].add(exchange.first_byte_ms / 1000)

    def _label(self, exchange: Exchange) -> str:
        """Return the label of a model that has none yet, its own one from now on where there is room."""
        model = exchange.model
        if (
            model is None
            or len(self._models) > MODELS
            or len(model) > LONGEST_MODEL
            or not model.isprintable()
            or not (exchange.success or self._is_known(model))
        ):
            return OTHER
        self._models[model] = model
        return model

    def read(self, snapshot: Snapshot, names: Mapping[str, str]) -> None:
        """Put what was counted into a snapshot. `names`: the accounts' by their ids; those of removed ones stay."""
        with self._lock:
            self._names.update(names)
            name = self.name
            for (account_id, model, outcome), count in self._exchanges.items():
                snapshot.add(table.EXCHANGES, (count,), (name(account_id), model, outcome))
            for (account_id, model), usage in self._usage.items():
                _read_usage(snapshot, name(account_id), model, usage)
            for (account_id, verdict), count in self._attempts.items():
                snapshot.add(table.ATTEMPTS, (count,), (name(account_id), verdict))
            snapshot.add(table.OVERHEAD, self._overhead.numbers())
            for metric, by_model in ((table.FIRST_BYTE, self._first_bytes), (table.DURATION, self._durations)):
                for model, distribution in by_model.items():
                    snapshot.add(metric, distribution.numbers(), (model,))

    def name(self, account_id: str | None) -> str:
        """Return the label of an account whose name was told to `read` at any time."""
        return self._names.get(account_id, OTHER)


def _read_usage(snapshot: Snapshot, account: str, model: str, usage: _Usage) -> None:
    for kind, count in usage.by_class():
        snapshot.add(table.TOKENS, (count,), (account, model, kind))
    snapshot.add(table.COST, (usage.cost / 1_000_000,), (account, model))
    snapshot.add(table.UNPRICED, (usage.unpriced,), (model,))
