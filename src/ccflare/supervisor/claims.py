"""Who serves what nobody serves yet: the first to claim a key decides its value, as long as somebody holds it. Pure."""

from collections import Counter
from typing import Final

AT_MOST: Final = 100_000
"""Keys; of more the oldest is forgotten: a session may then be split."""


class _Claimed:
    __slots__ = ("holders", "value")

    def __init__(self, value: str) -> None:
        self.value = value
        self.holders: Counter[int] = Counter()


class Claims:
    """The keys that are claimed, their values, and which worker holds each how often."""

    def __init__(self, at_most: int = AT_MOST) -> None:
        self._at_most = at_most
        self._claimed: dict[str, _Claimed] = {}

    def __len__(self) -> int:
        return len(self._claimed)

    def claim(self, worker: int, key: str, value: str, instead_of: str = "") -> str:
        """Hold a key; return its value: the given one when nobody held it, or it had the value that has failed."""
        claimed = self._claimed.get(key)
        if claimed is None:
            if len(self._claimed) >= self._at_most:
                del self._claimed[next(iter(self._claimed))]
            claimed = self._claimed[key] = _Claimed(value)
        elif claimed.value == instead_of:
            claimed.value = value
        claimed.holders[worker] += 1
        return claimed.value

    def reclaim(self, key: str, value: str) -> None:
        """Give a key that is held another value."""
        claimed = self._claimed.get(key)
        if claimed is not None:
            claimed.value = value

    def release(self, worker: int, key: str) -> None:
        """Hold a key once less."""
        claimed = self._claimed.get(key)
        if claimed is None or not claimed.holders[worker]:
            return
        claimed.holders[worker] -= 1
        if not claimed.holders.total():
            del self._claimed[key]

    def forget(self, worker: int) -> None:
        """Release everything that a worker holds: it has ended."""
        for key, claimed in list(self._claimed.items()):
            if claimed.holders.pop(worker, 0) and not claimed.holders.total():
                del self._claimed[key]
