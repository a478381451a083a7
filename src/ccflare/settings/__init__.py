"""Settings: one typed table, and the only place that knows which environment variables mean what."""

from ccflare.settings.file import Problem, Stamp, stamp
from ccflare.settings.load import Loaded, Origin, load, rows
from ccflare.settings.rules import CONNECTED
from ccflare.settings.table import TABLE, Changes, Format, Level, Setting, Settings, changed

__all__ = [
    "CONNECTED",
    "TABLE",
    "Changes",
    "Format",
    "Level",
    "Loaded",
    "Origin",
    "Problem",
    "Setting",
    "Settings",
    "Stamp",
    "changed",
    "load",
    "rows",
    "stamp",
]
