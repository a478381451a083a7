"""What accounts have little left of, kept true while resets pass: only those are looked at whose reset has passed."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from heapq import heapify, heappop, heappush

from ccflare.pool.member import NEVER, Member

_SPARE = 64
"""So many old entries are too few to clear away."""


class Shortage:
    """Follows members' `family_buckets` and `stale_at_ms`; `touch` is called with each one that was computed anew."""

    def __init__(self, touch: Callable[[Member], object]) -> None:
        self.touch = touch
        """Have a member's place in the order computed anew."""
        self._members: Mapping[str, Member] = {}
        self._families: Counter[str] = Counter()
        """How many members have little left in a window of these families."""
        self._stale: list[tuple[int, str]] = []
        """A heap of the instants at which what is left is another, and of whose."""

    def replace(self, members: Mapping[str, Member]) -> None:
        """Follow these members from now on."""
        self._members = members
        self._families = Counter(family for member in members.values() for family in member.family_buckets)
        self._collect()

    def follow(self, member: Member, change: Callable[[], None]) -> None:
        """Carry out what computes anew what is left of a member's windows."""
        families, stale_at_ms = member.family_buckets, member.stale_at_ms
        change()
        self.touch(member)
        if families or member.family_buckets:
            self._families.subtract(families.keys())
            self._families.update(member.family_buckets.keys())
            self._families = +self._families  # without those that nobody is short of any more
        if member.stale_at_ms not in {stale_at_ms, NEVER}:
            heappush(self._stale, (member.stale_at_ms, member.id))
            if len(self._stale) > 2 * len(self._members) + _SPARE:
                self._collect()

    def refresh(self, now_ms: int) -> None:
        """Compute anew what depends on resets that have passed."""
        stale = self._stale
        while stale and stale[0][0] <= now_ms:
            member = self._members.get(heappop(stale)[1])
            if member is not None and member.stale_at_ms <= now_ms:
                self.follow(member, partial(member.refresh, now_ms))
                stale = self._stale

    def families_of(self, model: str | None) -> list[str]:
        """Return the families of a model in which some account has little left; nearly always none."""
        if model is None or not self._families:
            return []
        words = model.split("-")
        return [family for family in self._families if family in words]

    def _collect(self) -> None:
        self._stale = [(each.stale_at_ms, each.id) for each in self._members.values() if each.stale_at_ms < NEVER]
        heapify(self._stale)
