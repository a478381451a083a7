"""Metrics for Prometheus: the table of them, what is counted, and the text that is served."""

from ccflare.metrics.exposition import OPENMETRICS, PROMETHEUS, media_type, render
from ccflare.metrics.snapshot import Snapshot, merged
from ccflare.metrics.table import METRICS, Metric
from ccflare.metrics.tally import Distribution, Tally

__all__ = [
    "METRICS",
    "OPENMETRICS",
    "PROMETHEUS",
    "Distribution",
    "Metric",
    "Snapshot",
    "Tally",
    "media_type",
    "merged",
    "render",
]
