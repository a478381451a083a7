"""The results for a person, and for a program."""

import json
from collections.abc import Mapping, Sequence

from bench.rows import ROWS, Results, Row
from bench.servers import CCFLARE, DIRECT, NGINX

_WORDS = {"", "unit", "target"}
"""Columns of words; the others are aligned to the right."""


def text(results: Results, setting: Mapping[str, object]) -> str:
    """Return the table, followed by what it was measured with and what went wrong."""
    headings = ("", "unit", *_targets(results), "against", "target", "met")
    lines = [headings, *(_cells(row, results, setting) for row in ROWS)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    shown = ["  ".join(_aligned(line, widths, headings)).rstrip() for line in lines]
    shown.insert(1, "  ".join("-" * width for width in widths))
    about = ", ".join(f"{name} {value}" for name, value in setting.items())
    return "\n".join([*shown, "", f"measured with: {about}", *(f"remark: {remark}" for remark in results.remarks)])


def as_json(results: Results, setting: Mapping[str, object]) -> str:
    """Return everything that was measured, round by round."""
    targets = _targets(results)
    rows = [
        {
            "row": row.key,
            "title": row.title.format_map(setting).strip(),
            "unit": row.unit,
            "values": {target: results.values(row.key, target) for target in targets},
            "median": {target: results.median(row.key, target) for target in targets},
            "ratio_to_nginx": results.ratio(row.key),
            "added_to_direct": {target: results.added(row.key, target) for target in targets[1:]},
            "target": row.target or None,
            "met": row.met(results),
        }
        for row in ROWS
    ]
    return json.dumps({"setting": dict(setting), "rows": rows, "remarks": results.remarks}, indent=2) + "\n"


def _targets(results: Results) -> tuple[str, ...]:
    return DIRECT, NGINX, CCFLARE, *results.peers


def _cells(row: Row, results: Results, setting: Mapping[str, object]) -> tuple[str, ...]:
    met = row.met(results)
    return (
        row.title.format_map(setting),
        row.unit,
        *(_value(row, results, target) for target in _targets(results)),
        _against(row, results),
        row.target,
        "" if not row.target else "-" if met is None else "yes" if met else "NO",
    )


def _value(row: Row, results: Results, target: str) -> str:
    middle, spread = results.median(row.key, target), results.spread(row.key, target)
    if middle is None:
        return "-"
    around = "" if spread is None else " ±>99%" if spread > 0.99 else f" ±{spread:.0%}"
    return f"{middle:.{row.digits}f}{around}"


def _against(row: Row, results: Results) -> str:
    match row.against:
        case "ratio to nginx":
            ratio = results.ratio(row.key)
            return "-" if ratio is None else f"{ratio:.2f}x nginx"
        case "added to direct":
            ours, nginx = results.added(row.key, CCFLARE), results.added(row.key, NGINX)
            beside = "" if nginx is None else f" (nginx {nginx:+.{row.digits}f})"
            return "-" if ours is None else f"{ours:+.{row.digits}f}{beside}"
        case "ratio to another row":
            ratio = results.ratio_of_rows(row.key, row.other)
            return "-" if ratio is None else f"{ratio:.2f}x {row.other_words}"
    return ""


def _aligned(cells: Sequence[str], widths: Sequence[int], headings: Sequence[str]) -> list[str]:
    columns = zip(cells, widths, headings, strict=True)
    return [cell.ljust(width) if heading in _WORDS else cell.rjust(width) for cell, width, heading in columns]
