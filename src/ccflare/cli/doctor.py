"""`ccflare doctor`: what is wrong, what to do, and everything that somebody who helps will ask for."""

import os
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from ccflare.cli.output import clean, print_json

if TYPE_CHECKING:
    from ccflare.doctor import Report

_COLOURS = {"error": 31, "warning": 33, "note": 36, "ok": 32}
_INDENT = "  "
_NO_AMOUNTS = frozenset({"pid", "port", "ports", "value"})
"""Names of numbers that are written without separators: they tell what something is, not how much."""
_HEADERS = {"free_bytes": {"bytes": "free bytes on its disk"}}
"""What stands over a column of a list, where its own name says too little."""


def examine_installation(*, as_json: bool, names: bool, port: int | None) -> int:
    """Print the report; return 1 when something keeps requests from being served."""
    from ccflare.doctor import examine

    report = examine(os.environ, {"port": port}, names=names)
    if as_json:
        findings = [
            {"severity": each.severity, "message": each.message, "advice": each.advice} for each in report.findings
        ]
        print_json({"taken_at": report.taken_at, "ok": report.ok, "findings": findings, **report.parts})
    else:
        for line in _lines(report):
            print(line)
    return 0 if report.ok else 1


def _lines(report: "Report") -> Iterator[str]:
    yield f"ccflare doctor, {report.taken_at}"
    yield ""
    for finding in report.findings:
        advice = f" -> {clean(finding.advice)}" if finding.advice else ""
        yield f"{_painted(finding.severity.ljust(7), finding.severity)}  {clean(finding.message)}{advice}"
    if not report.findings:
        yield _painted("Nothing is wrong.", "ok")
    for name, facts in report.parts.items():
        yield ""
        yield name.replace("_", " ").capitalize()
        yield from _part(facts)


def _part(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a part's single facts under each other, then its lists."""
    before = facts.get("previous")
    if isinstance(before, dict):
        yield from _table(_compared({name: value for name, value in facts.items() if name != "previous"}, before))
        return
    single = dict(_single(facts))
    width = max(map(len, single), default=0)
    for name, value in single.items():
        yield f"{_INDENT}{name.ljust(width)}  {value}"
    for name, value in facts.items():
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            yield from _table(value, _HEADERS.get(name, {}))
    if not facts or all(isinstance(value, list) and not value for value in facts.values()):
        yield f"{_INDENT}none"


def _single(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        words = name.replace("_", " ")
        match value:
            case dict():
                told = {
                    clean(key): each for key, each in value.items() if each is not None and not isinstance(each, dict)
                }
                yield words, ", ".join(f"{key} {_shown(each, key)}" for key, each in told.items()) or "-"
            case list():
                if value and not any(isinstance(each, dict) for each in value):
                    yield words, _shown(value, name)
            case _:
                yield words, _shown(value, name)


def _compared(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is known of the last hour beside what is of the hour before, a row for each fact."""
    known = dict(_flat(before))
    return [
        {"": name.replace("_", " "), "last hour": _shown(value, name), "hour before": _shown(known.get(name), name)}
        for name, value in _flat(now)
        if value is not None or known.get(name) is not None
    ]


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield name, value


def _table(rows: list[dict[str, Any]], headers: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """Yield one line for each row: its values in columns, those that all rows lack left out."""
    columns = [name for name in rows[0] if any(row.get(name) not in (None, "", []) for row in rows)]
    cells = [[_shown(row.get(name), name) for name in columns] for row in rows]
    heads = [headers.get(name, name) for name in columns]
    widths = [max(len(head), *(len(row[at]) for row in cells)) for at, head in enumerate(heads)]
    for line in [heads, *cells]:
        yield f"{_INDENT}{'  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))}".rstrip()


def _shown(value: object, name: str = "") -> str:
    """Return a value as people read it; `name` is what it is called."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if name not in _NO_AMOUNTS:
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{Decimal(f'{value:.4g}'):,f}"
        case list():
            return ", ".join(_window(each) if isinstance(each, dict) else _shown(each, name) for each in value) or "-"
    return clean(value)


def _window(window: Mapping[str, Any]) -> str:
    used = window.get("utilization")
    return f"{_shown(window.get('name'))} {'-' if used is None else f'{used:.0%}'}"


def _painted(text: str, kind: str) -> str:
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[{_COLOURS[kind]}m{text}\033[0m" if wanted else text


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--names", is_flag=True, help="Show names of accounts and hosts as they are.")
@click.option("--port", type=int, metavar="N", help="Ask the server on this port.")
def doctor(as_json: bool, names: bool, port: int | None) -> int:
    """Say what is wrong and what to do; the report can be pasted in public."""
    return examine_installation(as_json=as_json, names=names, port=port)
