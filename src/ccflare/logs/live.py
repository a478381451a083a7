"""Log entries for followers in this process, as they are written."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ccflare.logs.entries import LogEntry, entry_of
from ccflare.logs.lines import ROOT

Follower: TypeAlias = Callable[[list[LogEntry], int], None]
"""Is called with the entries of a batch, and the number of older ones that were left out of it."""

MOST_AT_ONCE = 200
"""Entries of a batch that followers get: a flood of lines must not become a flood of work for them."""

_log = logging.getLogger(f"{ROOT}.Logs")


class Followers:
    """Who is told what was written. They come and go in any thread; they are told in the writer's."""

    def __init__(self) -> None:
        self._all: tuple[Follower, ...] = ()
        self._lock = threading.Lock()

    def add(self, follower: Follower) -> Callable[[], None]:
        """Begin to tell someone; return what ends it."""
        with self._lock:
            self._all += (follower,)
        return lambda: self._remove(follower)

    def tell(self, lines: Sequence[str]) -> None:
        """Hand the newest of the lines on as entries. Who raises is not told again."""
        if not self._all:
            return
        entries = [entry_of(line) for line in lines[-MOST_AT_ONCE:]]
        for follower in self._all:
            try:
                follower(entries, len(lines) - len(entries))
            except Exception as error:  # noqa: BLE001  # whatever a follower does, the log goes on
                self._remove(follower)
                _log.warning("A follower of the log has failed and is not told any more: %s", type(error).__name__)

    def _remove(self, follower: Follower) -> None:
        with self._lock:
            self._all = tuple(each for each in self._all if each is not follower)
