"""A snapshot as text: Prometheus' format 0.0.4, and OpenMetrics 1.0 for who asks for it.

The formats differ in the name of a counter's family and in the last line; numbers and labels are written alike.
"""

import math
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from ccflare.metrics.snapshot import WORKER, Labels, Numbers, Snapshot
from ccflare.metrics.table import METRICS, Metric

PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_WEIGHT = re.compile(r";\s*q=([01](?:\.[0-9]{0,3})?)")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def media_type(accept: str) -> str:
    """Choose the format by an `Accept` field (RFC 9110 §12.5.1): OpenMetrics where it is wanted at least as much."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.lower().split(","):
        name, _, parameters = part.strip().partition(";")
        if name.strip() in weights:
            weight = _WEIGHT.search(f";{parameters}")
            weights[name.strip()] = float(weight[1]) if weight else 1.0
    wanted = weights["application/openmetrics-text"]
    return OPENMETRICS if wanted and wanted >= weights["text/plain"] else PROMETHEUS


def render(snapshot: Snapshot, media_type: str) -> bytes:
    """Return the text in one of the two formats. What has no value has no line."""
    is_open = media_type == OPENMETRICS
    lines: list[str] = []
    for metric in METRICS:
        values = snapshot.values.get(metric.name)
        if values:
            family = metric.name.removesuffix("_total") if is_open else metric.name
            lines += (f"# HELP {family} {metric.help}", f"# TYPE {family} {metric.kind}")
            for labels, numbers in sorted(values.items()):
                lines += _lines(metric, labels, numbers)
    if is_open:
        lines.append("# EOF")
    return "\n".join([*lines, ""]).encode(errors="replace")


def _lines(metric: Metric, labels: Labels, numbers: Numbers) -> Iterator[str]:
    names = metric.labels if len(labels) == len(metric.labels) else (*metric.labels, WORKER)
    pairs = [f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, labels, strict=True)]
    if metric.kind != "histogram":
        yield f"{metric.name}{_braces(pairs)} {_number(numbers[0])}"
        return
    *counts, total = numbers
    up_to = list(accumulate(counts))
    for bound, count in zip((*metric.bounds, math.inf), up_to, strict=True):
        bucket = f'le="{_number(bound)}"'
        yield f"{metric.name}_bucket{_braces([*pairs, bucket])} {_number(count)}"
    yield f"{metric.name}_count{_braces(pairs)} {_number(up_to[-1])}"
    yield f"{metric.name}_sum{_braces(pairs)} {_number(total)}"


def _braces(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(value)
