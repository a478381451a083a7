"""How many clients may be connected at once, so that descriptors are left for what serves them."""

import logging

log = logging.getLogger("ccflare.Server")

TELL_EVERY_S = 10.0


class Crowd:
    """Counts who is turned away, and says so now and then.

    Without a bound of our own, a process whose descriptors are used up has none for upstream, the database and the
    log, and its event loop drops new clients without a word.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        """Connections of clients at once."""
        self._turned_away = 0
        self._tell_at = 0.0

    def turn_away(self, now: float) -> str:
        """Note that one more client finds no room, and return what it is told."""
        self._turned_away += 1
        if now >= self._tell_at:
            self._tell_at = now + TELL_EVERY_S
            log.warning(
                "Too many connections: %d clients were turned away because %d are connected, which is all that the "
                "limit of open files allows (ulimit -n)",
                self._turned_away,
                self.most,
            )
            self._turned_away = 0
        return "Too many connections"
