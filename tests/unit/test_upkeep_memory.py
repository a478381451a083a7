"""Memory is given back when a burst is over, and not while there is work."""

import asyncio
from contextlib import suppress

from ccflare.upkeep import MANY_EXCHANGES, memory_trim, return_memory


class Seconds:
    """A clock whose sleeps end at once, until there is nothing more to see."""

    def __init__(self, in_flight: list[int]) -> None:
        self.left = in_flight
        self.now_in_flight = 0

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        if not self.left:
            raise asyncio.CancelledError
        self.now_in_flight = self.left.pop(0)


async def trims(*in_flight: int) -> list[int]:
    """Return how many exchanges were in flight at each trim, when so many are each second."""
    clock, found = Seconds(list(in_flight)), list[int]()
    with suppress(asyncio.CancelledError):
        await return_memory(lambda: clock.now_in_flight, clock, lambda: found.append(clock.now_in_flight))
    return found


async def test_a_burst_is_cleared_away_once() -> None:
    """When a quarter of the most there were is left, memory is given back, and again only when that has become less."""
    assert await trims(10, 900, 1000, 600, 251, 250, 100, 3, 0, 0, 800, 0) == [250, 3, 0]


async def test_nothing_is_done_for_little() -> None:
    """A server that never has many exchanges at once, or has as many all the time, gives nothing back."""
    many = MANY_EXCHANGES
    assert await trims(0, many - 1, 0, many - 1, 0) == []
    assert await trims(many, many, 2 * many, many, many) == []


def test_this_system_can_give_memory_back() -> None:
    """Where the C library is glibc, what gives memory back is found and can be called."""
    trim = memory_trim()
    assert trim is None or trim() in {0, 1}
