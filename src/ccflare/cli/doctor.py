"""`ccflare doctor`: what is wrong, what to do, and everything that somebody who helps will ask for."""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ccflare.cli.output import clean, print_json

if TYPE_CHECKING:
    from ccflare.doctor import Report

_COLOURS = {"error": 31, "warning": 33, "note": 36, "ok": 32}
_INDENT = "  "


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
    single = dict(_single(facts))
    width = max(map(len, single), default=0)
    for name, value in single.items():
        yield f"{_INDENT}{name.ljust(width)}  {value}"
    for value in facts.values():
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            yield from _table(value)
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
                yield words, ", ".join(f"{key} {_shown(each)}" for key, each in told.items()) or "-"
            case list():
                if value and not any(isinstance(each, dict) for each in value):
                    yield words, ", ".join(map(_shown, value))
            case _:
                yield words, _shown(value)


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield one line for each row: its values in columns, those that all rows lack left out."""
    columns = [name for name in rows[0] if any(row.get(name) not in (None, "", []) for row in rows)]
    cells = [[_shown(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(columns)]
    for line in [columns, *cells]:
        yield f"{_INDENT}{'  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))}".rstrip()


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(_window(each) if isinstance(each, dict) else _shown(each) for each in value) or "-"
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
