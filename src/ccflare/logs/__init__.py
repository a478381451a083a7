"""Logs: loggers by component, lines for people or programs, one rotated file that nobody waits for."""

from ccflare.logs.file import tail
from ccflare.logs.intake import Level, logger
from ccflare.logs.lines import Format, redacted
from ccflare.logs.writer import Log, start

__all__ = ["Format", "Level", "Log", "logger", "redacted", "start", "tail"]
