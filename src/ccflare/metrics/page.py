"""The documentation of the metrics, written from their table."""

from ccflare.metrics.table import METRICS, Metric
from ccflare.metrics.tally import MODELS, NONE, OTHER, SERIES

_INTRODUCTION = """# Metrics

<!-- Written by `python -m ccflare.metrics > docs/metrics.md`: edit src/ccflare/metrics/. -->

`GET /metrics` answers in Prometheus' text format, and as OpenMetrics for who asks for that. Nothing has to be switched
on. `/health` says how the accounts are, `/ready` whether this server is to be sent requests ([API](api.md#health)).

```yaml
scrape_configs:
  - job_name: ccflare
    static_configs:
      - targets: ["localhost:8080"]
    # Where client keys are needed, one of role admin:
    # authorization: {{credentials_file: /etc/prometheus/ccflare.key}}
```

`deploy/grafana.json` is a dashboard to import into Grafana, `deploy/alerts.yml` are alerting rules for Prometheus.

What is counted of requests is counted from their records, by the thread that writes the history: within about a tenth
of a second of their end (while the database cannot be written, within five seconds), and also when a record is lost.
The way of a request has no part in it. All other numbers are read from the server's state when they are asked for.
Counters begin at 0 with the process.

Labels are bounded. `account` is the name of an account, `{none}` where no account served, `{other}` for those that were
removed before anybody asked for these numbers since the start: their names are not known any more. `model` is the one
that answered, else the one that was asked for; names that the price table does not know and that upstream never
answered with success, and all models beyond the first {models}, share the label `{other}`, and so do the models of
further combinations of account, model and outcome beyond {series}. `outcome` is one of `success`, `disconnected` (the
client left), `rate_limited`, `overloaded`, `client_error`, `server_error`, `interrupted` (began well, broke off) and
`other`.

With several workers one answer is about all of them. What is theirs together is merged, the last column says how; the
rest stands there once for `each`, with the label `worker`, so that a worker's restart is no fall of a counter. Whoever
sums (`sum by (model) (rate(...))`) need not care.

## All metrics

| name | type | labels | what it says | workers |
|---|---|---|---|---|
"""


def metrics_page() -> str:
    """Return `docs/metrics.md`."""
    introduction = _INTRODUCTION.format(none=NONE, other=OTHER, models=MODELS, series=f"{SERIES:,}")
    return introduction + "".join(map(_row, METRICS))


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | {metric.merge} |\n"
