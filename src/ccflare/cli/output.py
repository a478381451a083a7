"""What the commands print: data to stdout, talk to stderr, colour only for people who want it."""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

Row = Mapping[str, object]

_COLOURS = {"active": 32, "paused": 33, "rate_limited": 33, "expired": 31, "auth_failed": 31}
_KEY = re.compile(r"sk-ant-[A-Za-z0-9_-]+")


def say(message: object) -> None:
    """Tell the person at the terminal something, on one line of stderr."""
    print(clean(message), file=sys.stderr)


def complain(message: object) -> None:
    """Say what went wrong, on one line of stderr; a key that was typed in the wrong place is not repeated."""
    say(f"ccflare: {_KEY.sub('sk-ant-***', str(message))}")


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


def print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print aligned columns under their names; what is None shows as `-`, numbers stand to the right."""
    right = {name for name in columns if rows and all(isinstance(row[name], int) for row in rows)}
    cells = [{name: "-" if row[name] is None else clean(row[name]) for name in columns} for row in rows]
    width = {name: max(len(name), *(len(row[name]) for row in cells)) for name in columns}
    paint = _painter()
    for row in [{name: name for name in columns}, *cells]:
        line = [
            paint(row[name].rjust(width[name]) if name in right else row[name].ljust(width[name])) for name in columns
        ]
        print("  ".join(line).rstrip())


def _painter() -> Callable[[str], str]:
    """Return what colours a cell; it leaves it alone unless a terminal shows it and nobody objects."""
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return _coloured if wanted else str


def _coloured(cell: str) -> str:
    colour = _COLOURS.get(cell.strip())
    return f"\033[{colour}m{cell}\033[0m" if colour else cell
