"""How long to wait before a worker that has died is replaced. Pure."""

from typing import Final

FIRST_S: Final = 0.1
LONGEST_S: Final = 30.0
SOUND_S: Final = 60.0
"""A worker that has lived so long has not died of its start."""


class Backoff:
    """The pause grows with every worker that dies young, and starts anew behind one that has lived."""

    def __init__(self) -> None:
        self._deaths = 0

    def pause_s(self, lived_s: float) -> float:
        """Return how long to wait after a worker that has lived so long."""
        if lived_s >= SOUND_S:
            self._deaths = 0
        pause_s = min(FIRST_S * 2.0 ** min(self._deaths, 20), LONGEST_S)
        self._deaths += 1
        return pause_s
