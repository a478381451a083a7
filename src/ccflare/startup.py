"""What a process does before it serves or supervises: limits of the machine, the log, the database."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

from ccflare import logs
from ccflare.settings import Settings
from ccflare.store import open_store
from ccflare.vault import Keys

OPEN_FILES = 65_536
OWN_FILES = 64
"""Descriptors for everything but clients and upstream: database, log, listeners, look-ups."""


SWITCH_S = 0.00002
"""With the default of 5 ms a busy event loop starves the writer thread: batches took seconds, now a tenth of one."""


def share_interpreter() -> None:
    """Have threads that wait for the interpreter get it soon. Threads that are started later wait in the same way.

    One asks for it when nobody has given it away for `SWITCH_S`. Linux adds 50 us to so short a wait, unless told not
    to; a busy loop gives it away, and takes it back, more often than that. Then nobody ever asked: a batch that takes
    15 ms took 2 to 5 s beside a loop that was never idle on a core of its own.
    """
    sys.setswitchinterval(SWITCH_S)
    with contextlib.suppress(OSError):  # other systems have no such file, some containers do not let it be written
        Path("/proc/self/timerslack_ns").write_text("1")


def allow_many_connections() -> None:
    """Raise the soft limit of open files: every stream takes two, and systems begin with 256 or 1024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems have a lower limit that they do not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_clients() -> int:
    """Return for how many clients there are descriptors: each stream takes a second one upstream."""
    if sys.platform == "win32":
        return OPEN_FILES
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES if soft == resource.RLIM_INFINITY else soft
    return max(8, (files - OWN_FILES) // 2)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop of a process that serves."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def begin_log(settings: Settings) -> logs.Log:
    """Begin to log as the settings say, and to standard error."""
    return logs.start(
        settings.log_dir,
        level=settings.log_level,
        line_format=settings.log_format,
        debug=settings.debug,
        console=sys.stderr,
    )


def open_first(settings: Settings, keys: Keys) -> None:
    """Make, upgrade or encrypt the database before anything begins; what is done to it is logged. Raises StoreError."""
    with contextlib.closing(open_store(settings.db_path, keys=keys)) as store:
        store.unlock()
