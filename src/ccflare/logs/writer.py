"""From the loggers to the file without making anyone wait: records queue up, a thread writes them.

A log call costs its caller one record and one append, a `Message` less. The queue is bounded: when the disk
cannot keep up, DEBUG and INFO records are dropped first, and a line says how many were. When the file cannot be
written, lines go to standard error; logging never stops the program. Records hold their arguments until they are
written, about 50 ms: log values, not things that change.
"""

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ccflare.logs.file import LogFile
from ccflare.logs.intake import Level, install, set_level
from ccflare.logs.lines import LINES, ROOT, Format, Note, Said
from ccflare.logs.live import Follower, Followers

CAPACITY = 10_000
"""Records that may wait."""
RESERVE = 1_000
"""Room beyond the capacity, for WARN and ERROR only."""

_GATHER_S = 0.05
_REOPEN_S = 10.0
_BATCH_CHARACTERS = 256 * 1024


class Log:
    """The running log. Made by `start`; `close` it once."""

    def __init__(self, file: LogFile, line_format: Format, *, debug: bool, console: TextIO | None) -> None:
        self._file = file
        self._line = LINES[line_format]
        self._debug = debug
        self._console = console
        self._trouble = ""
        self._reopen_at = 0.0
        self._total_lost = 0
        self._closed = False
        self._uninstall: Callable[[], None] | None = None
        self._begin()

    def _begin(self) -> None:
        """Set up what a thread works with; a forked child does it again, for it has no thread."""
        self._queue: deque[Said | threading.Event] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._followers = Followers()
        self._lost = 0

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self._file.path

    @property
    def lost(self) -> int:
        """How many records were dropped since the start."""
        return self._total_lost + self._lost

    def put(self, record: Said) -> None:
        """Queue a record. Never waits for the disk."""
        waiting = len(self._queue)
        if waiting >= CAPACITY and (record.levelno < logging.WARNING or waiting >= CAPACITY + RESERVE):
            with self._lock:
                self._lost += 1
            return
        self._queue.append(record)
        if not self._wake.is_set():
            self._rouse()

    def set_level(self, level: Level, *, debug: bool) -> None:
        """Change what is logged, and whether tracebacks are, while running."""
        self._debug = debug
        set_level("DEBUG" if debug else level)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Call `follower` with every batch of entries, in the writer's thread; return what ends that.

        The entries are those that reading the file gives. A follower that raises is not called again.
        """
        return self._followers.add(follower)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything logged so far is written. False: it was not within the time."""
        written = threading.Event()
        self._queue.append(written)
        self._hurry.set()
        self._rouse()
        return written.wait(timeout_s)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write what is queued, stop, and leave `logging` as it was. False: not all was written in time."""
        if self._closed:
            return True
        if self._uninstall is not None:
            self._uninstall()
        atexit.unregister(self.close)
        self._closed = True
        self._hurry.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        self._drain()
        self._file.close()
        return True

    def _rouse(self) -> None:
        """Wake the thread, or start it: it begins with the first record, here and in a forked child."""
        with self._lock:
            self._wake.set()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="ccflare-log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._hurry.wait(_GATHER_S)
            # Cleared before the queue is emptied, so that a record that comes during that wakes us again.
            self._wake.clear()
            self._hurry.clear()
            try:
                self._drain()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next batch must be tried
                self._to_console(f"Cannot write logs: {type(error).__name__}: {error}\n")

    def _drain(self) -> None:
        """Format and write everything that is queued."""
        lines: list[str] = []
        characters = 0
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, threading.Event):
                self._write(lines)
                item.set()
            else:
                lines.append(self._line(item, self._debug))
                characters += len(lines[-1])
                if characters < _BATCH_CHARACTERS:
                    continue
                self._write(lines)
            lines, characters = [], 0
        self._write(lines)

    def _write(self, lines: list[str]) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
            self._total_lost += lost
        if lost:
            message = "%d log records were dropped because writing them could not keep up"
            note = Note(time.time(), f"{ROOT}.Logs", logging.WARNING, message, (lost,))
            lines.append(self._line(note, self._debug))
        if lines:
            text = "".join(lines)
            if not self._to_file(text) or self._console is not None:
                self._to_console(text)
            self._followers.tell(lines)

    def _to_file(self, text: str) -> bool:
        """Append to the file; while that fails, try again every few seconds and say once why."""
        if self._trouble and time.monotonic() < self._reopen_at:
            return False
        try:
            self._file.append(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self.cannot_write(error)
            return False
        self._trouble = ""
        return True

    def cannot_write(self, error: OSError) -> None:
        """Go over to standard error for a while, saying so in one line unless it was said before."""
        why = error.strerror or str(error)
        self._reopen_at = time.monotonic() + _REOPEN_S
        if why != self._trouble:
            self._trouble = why
            where = "they go to standard error (CCFLARE_LOG_DIR names another place)"
            self._to_console(f"Cannot write logs to {self.path}: {why}; {where}\n")

    def _to_console(self, text: str) -> None:
        stream = self._console or sys.stderr
        # Standard error may be absent, closed or a broken pipe; then there is nobody left to tell.
        with suppress(OSError, ValueError, AttributeError):
            stream.write(text)
            stream.flush()


_running: "weakref.WeakSet[Log]" = weakref.WeakSet()


def _after_fork() -> None:
    for log in _running:
        log._begin()  # noqa: SLF001  # same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def start(
    directory: Path,
    *,
    level: Level = "INFO",
    line_format: Format = "pretty",
    debug: bool = False,
    console: TextIO | None = None,
) -> Log:
    """Begin to log to `<directory>/app.log`, and to `console` too when one is given.

    Never fails: when the file cannot be written, one line on standard error says why and the log goes there.
    """
    log = Log(LogFile(directory), line_format, debug=debug, console=console)
    try:
        log._file.open()  # noqa: SLF001  # same module
    except OSError as error:
        log.cannot_write(error)
    log._uninstall = install(log.put, "DEBUG" if debug else level)  # noqa: SLF001  # same module
    atexit.register(log.close)
    _running.add(log)
    return log
