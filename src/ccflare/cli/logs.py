"""The log on the command line: its last entries, and what is added to it."""

import io
import select
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ccflare.cli.context import load_settings
from ccflare.cli.numbers import Between
from ccflare.cli.output import paint, print_json_line, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ccflare.logs import Level, LogEntry

LAST = 50
"""Entries that are shown unless a number is given."""
NUMBER = Between(0, 1_000_000)


def show_logs(
    last: int, *, follow: bool, level: "Level | None" = None, text: str | None = None, as_json: bool = False
) -> None:
    """Print the last entries, and go on with those that are added when they are to be followed."""
    from ccflare import logs

    directory = load_settings().settings.log_dir
    if not logs.has_begun(directory):
        say(f"There is no log in {directory} yet{'; waiting for it to begin' if follow else ''}.")

    def entries() -> "Iterable[LogEntry]":
        if follow:
            return logs.follow_file(directory, last=last, level=level, text=text, wait=_wait)
        return logs.history(directory, limit=last, level=level, text=text)

    for entry in _read(entries):
        _show(entry, as_json=as_json)
        if follow:
            sys.stdout.flush()


def _read(entries: "Callable[[], Iterable[LogEntry]]") -> "Iterator[LogEntry]":
    """Yield the entries. Raises OperatorError when the log cannot be read."""
    from ccflare.errors import OperatorError

    try:
        yield from entries()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OperatorError(f"Cannot read the log: {error.strerror or error} ({error.filename})") from error


def _show(entry: "LogEntry", *, as_json: bool) -> None:
    if as_json:
        print_json_line(entry)
    elif entry.ts is None:
        print(entry.message)
    else:
        print(f"[{entry.ts}] {paint(entry.level or '-')}: [{entry.component}] {entry.message}")


def _wait(seconds: float) -> None:
    """Wait, unless whoever reads the output goes: then raise BrokenPipeError, for there may be nothing to write."""
    try:
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)
    except (AttributeError, io.UnsupportedOperation):  # no such call on this system; not a real file
        time.sleep(seconds)
        return
    if watched.poll(seconds * 1000):
        raise BrokenPipeError


@click.command("logs")
@click.option("-n", "last", metavar="N", type=NUMBER, default=LAST, help=f"How many entries (default {LAST}).")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "--level",
    type=click.Choice(["DEBUG", "INFO", "WARN", "ERROR"], case_sensitive=False),
    help="Only entries of this level or a graver one.",
)
@click.option("--text", metavar="TEXT", help="Only entries that contain this, in whatever case.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each entry, on a line of its own.")
def logs(last: int, **options: Any) -> None:
    """Show the server's log. (ccflare --logs [N] is the same as ccflare logs -f [-n N].)"""
    show_logs(last, **options)
