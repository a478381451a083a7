"""The order in which accounts serve new sessions, kept between changes: a choice costs the same however many there are.

A heap with one entry per account that counts, and old entries that are dropped when they come up. What changes about
an account only marks it; its place is computed at the next choice. Accounts that wait lie in a second heap, by the
instant at which they are ready.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import TypeAlias

from ccflare.pool.member import NEVER, Member

_Entry: TypeAlias = tuple[int, int, int, int, str, Member]
"""What `strategy.rank` sorts by, and the member; ids are unique, so that members are never compared."""

_entry = attrgetter("priority", "bucket", "in_flight", "idle_rank", "id")
_SPARE = 64
"""So many old entries are too few to clear away."""


class Ranking:
    """Members by `strategy.rank`. Whoever changes what it looks at, or `ready_at_ms`, calls `touch`."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._current: dict[str, _Entry] = {}
        """The entries that count. Who is not here waits, or is not usable."""
        self._waiting: list[tuple[int, str, Member]] = []
        self._ready_at: dict[str, int] = {}
        """For when a member was put there last."""
        self._touched: set[Member] = set()
        self.touch = self._touched.add
        """Have a member's place computed anew before the next choice."""

    def __len__(self) -> int:
        return len(self._heap) + len(self._waiting)

    def replace(self, members: Iterable[Member]) -> None:
        """Begin anew with these members."""
        self._heap, self._current, self._waiting, self._ready_at = [], {}, [], {}
        self._touched.clear()
        self._touched.update(members)

    def first_two(self, model: str | None, now_ms: int, without: Member | None) -> tuple[Member | None, Member | None]:
        """Return the first member that can serve a model now, and the one behind it; `without` is not meant."""
        self._catch_up(now_ms)
        heap, passed, found = self._heap, list[_Entry](), list[Member]()
        while heap and len(found) < 2:
            entry = heap[0]
            member = entry[5]
            if self._current.get(member.id) is not entry:
                heappop(heap)
            elif member.ready_at_ms > now_ms:
                self._wait(member)
            else:
                passed.append(heappop(heap))
                if member is not without and member.opens_at(model) <= now_ms:
                    found.append(member)
        for entry in passed:
            heappush(heap, entry)
        return (found[0] if found else None), (found[1] if len(found) == 2 else None)

    def _wait(self, member: Member) -> None:
        """Take the first member out until it is ready."""
        heappop(self._heap)
        del self._current[member.id]
        if member.ready_at_ms < NEVER and self._ready_at.get(member.id) != member.ready_at_ms:
            self._ready_at[member.id] = member.ready_at_ms
            heappush(self._waiting, (member.ready_at_ms, member.id, member))

    def _catch_up(self, now_ms: int) -> None:
        """Give those that were touched, and those that have become ready, their place."""
        waiting, touched = self._waiting, self._touched
        while waiting and waiting[0][0] <= now_ms:
            ready = heappop(waiting)[2]
            self._ready_at.pop(ready.id, None)
            touched.add(ready)
        if not touched:
            return
        current, heap = self._current, self._heap
        for member in touched:
            entry: _Entry = (*_entry(member), member)
            if current.get(member.id) != entry:
                current[member.id] = entry
                heappush(heap, entry)
        touched.clear()
        if len(heap) > 2 * len(current) + _SPARE:
            self._heap = list(current.values())
            heapify(self._heap)
