"""How long something has been failing, when to try again, and when to say so."""

import logging
from typing import Literal, TypeAlias

from ccflare.errors import DiskFull, StoreBusy

log = logging.getLogger("ccflare.async-db-writer")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
PATIENCE_S = 0.3
"""A failure that is over by then is not worth a line."""
PATIENCE_WITH_LOCKS_S = 5.0
REPORT_EVERY_S = 60.0


TroubleKind: TypeAlias = Literal["locked", "disk full", "unavailable"]


def kind_of(error: Exception) -> TroubleKind:
    """Say in a word what is wrong with a store: no path, nothing that was to be written."""
    if isinstance(error, DiskFull):
        return "disk full"
    return "locked" if isinstance(error, StoreBusy) else "unavailable"


class Trouble:
    """The present run of failures, if there is one. Instants are monotonic seconds."""

    def __init__(self) -> None:
        self.error: str | None = None
        self.kind: TroubleKind | None = None
        self.retry_at = 0.0
        self._since: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._report_at = 0.0
        self._reported = False

    def __bool__(self) -> bool:
        return self._since is not None

    def lasting_s(self, now: float) -> float:
        """Return for how long nothing has worked; 0 when all is well."""
        since = self._since  # read once: another thread may end the trouble meanwhile
        return 0.0 if since is None else now - since

    def hit(self, error: Exception, now: float, waiting: str) -> None:
        """Note a failure, put off the next try, report what lasts. `waiting` says what is put off."""
        if self._since is None:
            self._since, self._pause_s, self._reported = now, FIRST_PAUSE_S, False
            self._report_at = now + (PATIENCE_WITH_LOCKS_S if isinstance(error, StoreBusy) else PATIENCE_S)
        else:
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self.error, self.kind = str(error), kind_of(error)
        self.retry_at = now + self._pause_s
        if now >= self._report_at:
            self._report_at, self._reported = now + REPORT_EVERY_S, True
            log.error("Failed to execute DB job: %s; %s", error, waiting)

    def over(self, now: float) -> None:
        """Note that something has worked."""
        if self._since is None:
            return
        if self._reported:
            log.info("DB jobs are executed again after %.1f s", now - self._since)
        self._since, self.error, self.kind, self.retry_at = None, None, None, 0.0
