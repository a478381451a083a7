"""What happens now, for everyone who follows it on the same event loop.

One ring of the latest events serves all followers: a follower holds nothing but its position, so that a slow one
costs no memory and delays nobody. Whoever falls behind the ring is told how much it has missed, and goes on.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

GAP = "gap"
"""The kind of the event that stands for missed ones; its thing is their number, None when that is unknown."""


class Event(NamedTuple):
    """Something that happened."""

    id: int
    """Rises by one from event to event; that of a gap is the last missed one's."""
    kind: str
    thing: object


class Feed:
    """Belongs to one event loop, in whose thread all of its methods are called.

    `first_id` tells the runs of a program apart, so that who resumes after a restart is not taken for someone who
    is up to date: microseconds since the epoch rise faster than events can.
    """

    def __init__(self, kept: int = 1000, *, first_id: int = 1) -> None:
        self._ring: list[tuple[str, object]] = [("", None)] * kept
        self._first = self._next = first_id
        self._closed = False
        self._news = asyncio.Event()
        self._followers = weakref.WeakSet[_Follower]()
        self.on_follow: Callable[[], None] | None = None
        """Called when somebody begins to follow."""
        self.pass_on: Callable[[str, Sequence[object], int], None] | None = None
        """Called with what has happened here, for followers elsewhere: its kind, the things, and how many more."""

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    @property
    def last_id(self) -> int:
        """The id of the latest event, or the one before the first: behind it is what happens from now on."""
        return self._next - 1

    def publish(self, kind: str, thing: object) -> None:
        """Add an event. It takes the place of the oldest one."""
        ring = self._ring
        ring[self._next % len(ring)] = kind, thing
        self._next += 1
        self._news.set()

    def tell(self, kind: str, things: Sequence[object], missed: int = 0) -> None:
        """Publish what has happened here, behind a gap for what is left out; followers elsewhere hear of it too."""
        self.take_in(kind, things, missed)
        if self.pass_on is not None:
            self.pass_on(kind, things, missed)

    def take_in(self, kind: str, things: Sequence[object], missed: int = 0) -> None:
        """Publish what has happened elsewhere."""
        if missed:
            self.publish(GAP, missed)
        for thing in things:
            self.publish(kind, thing)

    def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Return what is published from now on, or behind the event with the id `after`.

        A wait for the next event may be cancelled, and the iterator used again: nothing is lost by it. An id that
        this run has not given begins with a gap of unknown size.
        """
        known = after is None or self._first - 1 <= after < self._next
        follower = _Follower(self, (self._next if after is None else after + 1) if known else None)
        self._followers.add(follower)
        if self.on_follow is not None:
            self.on_follow()
        return follower

    def close(self) -> None:
        """End all followers, those to come too."""
        self._closed = True
        self._news.set()

    async def _read(self, position: int | None) -> Event | None:
        """Return the event at a position once there is one, or the gap there; None when the feed is closed."""
        while position == self._next and not self._closed:
            self._news.clear()
            await self._news.wait()
        if self._closed:
            return None
        oldest = max(self._first, self._next - len(self._ring))
        if position is None or position < oldest:
            return Event(oldest - 1, GAP, None if position is None else oldest - position)
        return Event(position, *self._ring[position % len(self._ring)])


class _Follower:
    """A position in a feed."""

    def __init__(self, feed: Feed, position: int | None) -> None:
        self._feed = feed
        self._position = position

    def __aiter__(self) -> "_Follower":
        return self

    async def __anext__(self) -> Event:
        event = await self._feed._read(self._position)  # noqa: SLF001  # same module
        if event is None:
            raise StopAsyncIteration
        self._position = event.id + 1
        return event
