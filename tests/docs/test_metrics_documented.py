"""The page about metrics, the example dashboard and the example alerts name metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ccflare.metrics import METRICS
from ccflare.metrics.page import metrics_page

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana.json"
ALERTS = ROOT / "deploy" / "alerts.yml"

OWN_NAMES = re.compile(r"\b(?:ccflare|process)_\w+")
LABELS_USED = re.compile(r"\bby \(([^)]*)\)|(\w+)\s*(?:=~|!~|!=|=)\s*\"")
NOT_OURS = {"le", "job", "instance"}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield where an expression stands, and the expression."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def exposed() -> dict[str, set[str]]:
    """Return the names of all samples that are exposed, with their labels."""
    found: dict[str, set[str]] = {}
    for metric in METRICS:
        names = [metric.name]
        if metric.kind == "histogram":
            names = [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")]
        labels = {*metric.labels, *(["le"] if metric.kind == "histogram" else [])}
        found |= dict.fromkeys(names, labels)
    return found


def test_the_page_is_written_from_the_table() -> None:
    """docs/metrics.md equals what the table gives now."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == metrics_page(), "run: python -m ccflare.metrics > docs/metrics.md"


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda value: str(value)[:40])
def test_dashboard_and_alerts_use_what_is_exposed(where: str, expression: str) -> None:
    """Every metric that an expression names is exposed, and has the labels that it is divided or filtered by."""
    known = exposed()
    names = set(OWN_NAMES.findall(expression))
    assert names, where
    assert names <= known.keys(), where
    used = {label.strip() for groups in LABELS_USED.findall(expression) for label in ",".join(groups).split(",")} - {""}
    assert used - NOT_OURS <= set().union(*(known[name] for name in names)), where


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    """Panels have their own ids, a place within Grafana's 24 columns, a title, a unit, and the chosen data source."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert dashboard["__inputs"][0]["name"] == "DS_PROMETHEUS"
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}", panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_alerts_say_what_to_do() -> None:
    """Every rule has a severity, waits before it fires, and says what is the matter and what to look at."""
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
            assert rule["for"], rule["alert"]
            assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
