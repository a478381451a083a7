"""Written log lines as values again: for who reads a log through ccflare instead of with `tail` and `grep`.

Both forms of lines give the same entries. What is in a file may have been put there by anyone: a line that is
none of ours is an entry too, masked and escaped like all others.
"""

import re
from typing import Final, get_args

import msgspec

from ccflare.logs.intake import Level
from ccflare.logs.lines import escaped, redacted

_LONGEST = 64 * 1024
_PRETTY = re.compile(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)\] ([A-Z]+): \[([^\]]*)\] (.*)")
_SEVERITY: Final[dict[str | None, int]] = {name: number for number, name in enumerate(get_args(Level))}


class LogEntry(msgspec.Struct, frozen=True):
    """One log record. A line that ccflare has not written is all message."""

    ts: str | None
    """ISO 8601 in UTC."""
    level: Level | None
    component: str | None
    message: str
    """One line, and behind it the indented lines of a traceback if there is one."""


class _JsonLine(msgspec.Struct):
    ts: str
    level: str
    component: str
    message: str
    error: str | None = None
    traceback: str | None = None


_JSON_LINE = msgspec.json.Decoder(_JsonLine)


def entry_of(text: str) -> LogEntry:
    """Return what a line says, together with the continuation lines behind it."""
    head, _, more = text.removesuffix("\n").partition("\n")
    ts, level, component, message = None, None, None, head
    if found := _PRETTY.fullmatch(head):
        ts, level, component, message = found.groups()
    elif line := _json_line(head):
        ts, level, component = line.ts, line.level, line.component
        message = f"{line.message}: {line.error}" if line.error else line.message
        more = "".join(f"    {each}\n" for each in (line.traceback or "").splitlines())
    lines = (message, *more.splitlines())
    return LogEntry(
        ts and escaped(ts),
        level if level in _SEVERITY else None,  # type: ignore[arg-type]  # the keys are the levels
        component and escaped(component),
        "\n".join(redacted(escaped(each)) for each in lines)[:_LONGEST],
    )


def matches(entry: LogEntry, *, level: Level | None = None, text: str | None = None) -> bool:
    """Say whether an entry is at least of that level and contains the text, whatever its case."""
    if level is not None and _SEVERITY.get(entry.level, -1) < _SEVERITY[level]:
        return False
    return text is None or text.lower() in f"{entry.component or ''} {entry.message}".lower()


def _json_line(text: str) -> _JsonLine | None:
    if not text.startswith("{"):
        return None
    try:
        return _JSON_LINE.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
