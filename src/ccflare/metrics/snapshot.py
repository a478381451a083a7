"""The values of all metrics at one moment, and how those of several workers become one answer."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import add
from typing import Final, TypeAlias

import msgspec

from ccflare.metrics.table import METRICS, Merge, Metric

Labels: TypeAlias = tuple[str, ...]
"""The values of a metric's labels, in the order of its row; behind them the worker, where there are several."""
Numbers: TypeAlias = Sequence[int | float]
"""One number; of a histogram the count of each bucket, and behind them the sum."""

WORKER: Final = "worker"

_BY_NAME: Final = {metric.name: metric for metric in METRICS}
_MERGES: Final[dict[Merge, Callable[[float, float], float]]] = {"sum": add, "max": max, "min": min}


class Snapshot:
    """What every metric says. Filled once, then only read."""

    def __init__(self) -> None:
        self.values: defaultdict[str, dict[Labels, Numbers]] = defaultdict(dict)

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """Set the value of a counter or gauge."""
        self.values[metric.name][labels] = (value,)

    def add(self, metric: Metric, numbers: Numbers, labels: Labels = ()) -> None:
        """Add to what equal labels have already: of two accounts that had the same name, for example."""
        values = self.values[metric.name]
        before = values.get(labels)
        values[labels] = numbers if before is None else tuple(map(add, before, numbers))

    def encode(self, worker: int = 0) -> bytes:
        """Return the form in which a worker tells it to another."""
        told = [(name, labels, numbers) for name, values in self.values.items() for labels, numbers in values.items()]
        return msgspec.msgpack.encode(_Told(worker, told))

    def _merge(self, rule: Merge, metric: Metric, labels: Labels, numbers: Numbers) -> None:
        values = self.values[metric.name]
        before = values.get(labels)
        values[labels] = numbers if before is None else tuple(map(_MERGES[rule], before, numbers))


class _Told(msgspec.Struct, frozen=True, array_like=True):
    worker: int
    values: list[tuple[str, Labels, Numbers]]


def merged(told: Iterable[bytes], *, apart: bool) -> Snapshot:
    """Return what workers have told as one snapshot, each metric by the rule in its row.

    `apart`: there are several, so that what is each one's own needs its number, whoever has answered. What a worker
    of another version tells is left out where this one does not know it.
    """
    whole = Snapshot()
    for each in (msgspec.msgpack.decode(one, type=_Told) for one in told):
        for name, labels, numbers in each.values:
            metric = _BY_NAME.get(name)
            if metric is None or len(labels) != len(metric.labels) or len(numbers) != _length(metric):
                continue
            if metric.merge != "each":
                whole._merge(metric.merge, metric, labels, numbers)  # noqa: SLF001  # same module
            else:
                whole.values[name][(*labels, str(each.worker)) if apart else labels] = numbers
    return whole


def _length(metric: Metric) -> int:
    return len(metric.bounds) + 2 if metric.kind == "histogram" else 1
