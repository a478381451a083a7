"""The log: what was written, and what is being written."""

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare import logs
from ccflare.api.parts import Parts
from ccflare.api.streams import After, Stream
from ccflare.errors import OperatorError
from ccflare.feed import Event
from ccflare.logs import Level, LogEntry

LeastLevel = Annotated[Level | None, Meta(description="Entries of at least this level.")]
Text = Annotated[str | None, Meta(description="Entries that contain this text, whatever its case.")]


class LogQuestion(msgspec.Struct, frozen=True):
    """Which entries."""

    limit: Annotated[int, Meta(ge=1, le=5000, description="At most so many; the latest.")] = 200
    level: LeastLevel = None
    text: Text = None


class LogListening(msgspec.Struct, frozen=True):
    """Which entries to hear."""

    level: LeastLevel = None
    text: Text = None
    after: After | None = None


class LogHistory(msgspec.Struct, frozen=True):
    """Log entries, oldest first."""

    entries: list[LogEntry]


async def show_log(parts: Parts, asked: LogQuestion) -> LogHistory:
    """Show the latest log entries, oldest first; rotated files are read where they are needed."""

    def read() -> list[LogEntry]:
        return logs.history(parts.log_dir, limit=asked.limit, level=asked.level, text=asked.text)

    try:
        return LogHistory(await asyncio.to_thread(read))
    except OSError as error:
        raise OperatorError(f"The log cannot be read: {error.strerror or type(error).__name__}") from None


async def follow_log(parts: Parts, asked: LogListening) -> Stream[LogEntry]:
    """Tell log entries as they are written, each as an event `log`."""

    def wanted(event: Event) -> bool:
        entry = event.thing
        return isinstance(entry, LogEntry) and logs.matches(entry, level=asked.level, text=asked.text)

    return Stream(parts.log_lines, _shown, asked.after, wanted)


def _shown(event: Event) -> LogEntry:
    entry = event.thing
    if not isinstance(entry, LogEntry):
        raise TypeError(f"the log feed tells of {type(entry).__name__}")
    return entry
