"""Logs: loggers by component, lines for people or programs, one rotated file that nobody waits for."""

from ccflare.logs.entries import LogEntry, matches
from ccflare.logs.intake import Level, Message, logger
from ccflare.logs.lines import Format, redacted
from ccflare.logs.reading import follow_file, has_begun, history
from ccflare.logs.writer import Log, start

__all__ = [
    "Format",
    "Level",
    "Log",
    "LogEntry",
    "Message",
    "follow_file",
    "has_begun",
    "history",
    "logger",
    "matches",
    "redacted",
    "start",
]
