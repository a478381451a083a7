"""What the commands print: data to stdout, talk to stderr, colour only for people who want it."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime

Row = Mapping[str, object]

_COLOURS = {
    "active": 32, "paused": 33, "rate_limited": 33, "expired": 31, "auth_failed": 31, "WARN": 33, "ERROR": 31,
}  # fmt: skip
_NARROWEST = 16
"""Characters that the last column keeps while other columns can be left out."""
_LONGEST = 28
"""Characters that any other column of text keeps as long: hardly a name is longer."""
_WHOLE = frozenset({"id", "time"})
"""Columns that are never cut: a part of these is worth nothing."""
_LEAST = 6
"""Characters that every column of text keeps, whatever the terminal."""
_SMALL = 0.01
"""Numbers below it are shown by their digits, so that none reads as zero."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?%?", re.ASCII)
_KEY = re.compile(r"(sk-ant-|ccf_)[A-Za-z0-9_-]+")


def say(message: object) -> None:
    """Tell the person at the terminal something, on one line of stderr."""
    print(clean(message), file=sys.stderr)


def complain(message: object) -> None:
    """Say what went wrong, on one line of stderr; a key that was typed in the wrong place is not repeated."""
    masked = _KEY.sub(r"\1***", str(message))
    say(f"ccflare: {masked}")


def clean(value: object) -> str:
    """Return a value as text that cannot steer a terminal: unprintable characters become `?`."""
    text = " ".join(str(value).split("\n"))
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def instant(at_ms: int | None) -> str | None:
    """Return an instant as ISO 8601 in UTC, None for none."""
    if at_ms is None:
        return None
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(at_ms)  # beyond the calendar: what another program has stored


def print_json(value: object) -> None:
    """Print data for programs."""
    print(json.dumps(value, indent=2))


def print_json_line(value: object) -> None:
    """Print a struct for programs that read line by line."""
    import msgspec

    print(json.dumps(msgspec.to_builtins(value)))


def print_fields(fields: Row) -> None:
    """Print names and values below each other; what is None is left out."""
    shown = {name: _cell(value) for name, value in fields.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        print(f"{name.ljust(width)}  {text}")


def print_table(rows: Sequence[Row], columns: Sequence[str], *, spare: Sequence[str] = ()) -> None:
    """Print aligned columns under their names; what is None shows as `-`, numbers stand to the right.

    On a terminal that is too narrow the `spare` columns are left out, first to last, until the rest fits, and what
    is too long is cut, wherever it stands. A table without `spare` is the last word on something and stays whole.
    """
    cells = [{name: _cell(row[name]) for name in columns} for row in rows]
    width = {name: max(len(name), *(len(row[name]) for row in cells)) for name in columns}
    right = {name for name in columns if width[name] <= _LONGEST and _is_numeric([row[name] for row in rows])}
    if spare and sys.stdout.isatty():
        columns = _fitting(columns, spare, width, right)
    for row in [{name: name for name in columns}, *cells]:
        line = [
            paint(row[name].rjust(width[name]) if name in right else _cut(row[name], width[name]).ljust(width[name]))
            for name in columns
        ]
        print("  ".join(line).rstrip())


def paint(cell: str) -> str:
    """Colour a word that has a colour, when a terminal shows it and nobody objects."""
    colour = _COLOURS.get(cell.strip())
    wanted = colour and sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[{colour}m{cell}\033[0m" if wanted else cell


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _decimal(value) if isinstance(value, float) else clean(value)


def _decimal(value: float) -> str:
    """Return a number with four places, a small one with two digits wherever they stand, zero as itself."""
    if not value or abs(value) >= _SMALL:
        return f"{value:.4f}" if value else "0"
    from decimal import Decimal  # for small numbers only: it would slow down every command

    return f"{Decimal(f'{value:.2g}'):f}"


def _is_numeric(values: Sequence[object]) -> bool:
    """Say whether a column has numbers and nothing else."""
    known = [value for value in values if value is not None]
    return bool(known) and all(_NUMBER.fullmatch(_cell(value)) for value in known)


def _fitting(columns: Sequence[str], spare: Sequence[str], width: dict[str, int], right: Set[str]) -> Sequence[str]:
    """Return the columns that a terminal has room for; the widths of those of text shrink to what is left."""
    room = shutil.get_terminal_size().columns
    last, whole = columns[-1], right | _WHOLE
    least = {
        name: width[name] if name in whole else min(width[name], _NARROWEST if name == last else _LONGEST)
        for name in columns
    }
    for name in (None, *spare):
        columns = [each for each in columns if each != name]
        if _line(least, columns) <= room:
            break
    else:
        least |= {name: min(width[name], max(_LEAST, len(name))) for name in columns if name not in whole}
    while _line(width, columns) > room:
        widest = max((name for name in columns if width[name] > least[name]), key=width.__getitem__, default=None)
        if widest is None:
            break
        width[widest] -= 1
    return columns


def _line(width: Mapping[str, int], columns: Sequence[str]) -> int:
    """Return how long a line of these columns is."""
    return sum(width[name] + 2 for name in columns) - 2


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
