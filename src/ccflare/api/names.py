"""The accounts' names, for what is shown many times a second."""

import math
from collections.abc import Mapping

from ccflare.clock import Clock
from ccflare.pool import Pool


class Names:
    """The names of the accounts that routing knows, a second old at most: to ask for every event would cost more."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._names: Mapping[str, str] = {}
        self._good_until = -math.inf

    def now(self) -> Mapping[str, str]:
        """Return the names by the accounts' ids."""
        now_s = self._clock.monotonic()
        if now_s >= self._good_until:
            self._good_until = now_s + 1
            standings = self._pool.states(int(self._clock.now() * 1000))
            self._names = {standing.account.id: standing.account.name for standing in standings}
        return self._names
