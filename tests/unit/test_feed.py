"""The feed: everyone gets everything in order, the slow are told what they missed, nobody costs the publisher."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from ccflare.feed import GAP, Event, Feed


async def read(follower: AsyncIterator[Event], count: int) -> list[Event]:
    """The next events, which have to be there at once."""
    async with asyncio.timeout(5):
        return [await anext(follower) for _ in range(count)]


async def nothing(follower: AsyncIterator[Event]) -> None:
    """Nothing is there for a follower now."""
    waiting = asyncio.ensure_future(anext(follower))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_every_follower_gets_every_event_from_when_it_began() -> None:
    """Also the one that is published between the beginning and the first wait; what was before is not told."""
    feed = Feed(first_id=100)
    feed.publish("request", "before")
    early = feed.follow()
    feed.publish("request", "one")
    late = feed.follow()
    feed.publish("log", "two")

    assert await read(early, 2) == [Event(101, "request", "one"), Event(102, "log", "two")]
    assert await read(late, 1) == [Event(102, "log", "two")]
    await nothing(early)
    await nothing(late)


async def test_all_who_wait_are_woken() -> None:
    """One event ends all waits, and whoever waits again is woken again."""
    feed = Feed()
    followers = [feed.follow() for _ in range(3)]
    for number in (1, 2):
        waits = [asyncio.ensure_future(anext(follower)) for follower in followers]
        await asyncio.sleep(0)
        feed.publish("n", number)
        async with asyncio.timeout(5):
            assert [event.thing for event in await asyncio.gather(*waits)] == [number] * 3


async def test_a_cancelled_wait_loses_nothing() -> None:
    """A follower whose wait ended at a deadline goes on where it was, and others do not notice."""
    feed = Feed()
    one, other = feed.follow(), feed.follow()
    waiting = asyncio.ensure_future(anext(other))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(one), 0.001)
    feed.publish("n", 1)
    feed.publish("n", 2)

    assert [event.thing for event in await read(one, 2)] == [1, 2]
    async with asyncio.timeout(5):
        assert (await waiting).thing == 1


async def test_who_falls_behind_is_told_how_much_was_missed_and_goes_on() -> None:
    """The gap has the missed number; behind it come the events that are still kept, in order."""
    feed = Feed(kept=3, first_id=10)
    slow = feed.follow()
    for number in range(8):
        feed.publish("n", number)

    events = await read(slow, 4)

    assert events[0] == Event(14, GAP, 5)
    assert [(event.id, event.thing) for event in events[1:]] == [(15, 5), (16, 6), (17, 7)]
    await nothing(slow)


async def test_a_follower_resumes_behind_the_last_event_it_knows() -> None:
    """Nothing is repeated or left out, whether it knows all, some or none of what is kept."""
    feed = Feed(kept=3, first_id=10)
    for number in range(5):
        feed.publish("n", number)  # ids 10 to 14, of which 12 to 14 are kept

    assert [event.id for event in await read(feed.follow(after=12), 2)] == [13, 14]
    assert [event.id for event in await read(feed.follow(after=11), 3)] == [12, 13, 14]
    assert await read(feed.follow(after=9), 1) == [Event(11, GAP, 2)]
    await nothing(feed.follow(after=14))


async def test_a_gap_can_be_resumed_from() -> None:
    """The id of a gap is a place like any other: the event behind it is the next."""
    feed = Feed(kept=2)
    for number in range(5):
        feed.publish("n", number)
    gap = (await read(feed.follow(after=0), 1))[0]

    assert [event.thing for event in await read(feed.follow(after=gap.id), 2)] == [3, 4]


@pytest.mark.parametrize("after", [-1, 8, 13, 5_000])
async def test_an_id_of_another_run_begins_with_a_gap_of_unknown_size(after: int) -> None:
    """After a restart a follower is told that it has missed something, and gets what this run has kept."""
    feed = Feed(first_id=10)
    for number in range(3):
        feed.publish("n", number)

    events = await read(feed.follow(after=after), 4)

    assert events[0] == Event(9, GAP, None)
    assert [event.id for event in events[1:]] == [10, 11, 12]


async def test_a_resumption_right_after_the_start_waits_for_the_first_event() -> None:
    """Nothing has happened yet in this run: the gap comes at once, then the first event."""
    feed = Feed(first_id=10)
    follower = feed.follow(after=4)
    assert await read(follower, 1) == [Event(9, GAP, None)]
    await nothing(follower)
    feed.publish("n", 1)
    assert await read(follower, 1) == [Event(10, "n", 1)]


async def test_closing_ends_all_followers() -> None:
    """Those that wait, those that have something left to read, and those that come later."""
    feed = Feed()
    waiting, behind = feed.follow(), feed.follow()
    feed.publish("n", 1)
    await read(waiting, 1)
    ended = asyncio.ensure_future(anext(waiting, None))
    await asyncio.sleep(0)

    feed.close()

    async with asyncio.timeout(5):
        assert await ended is None
        for follower in (waiting, behind, feed.follow(), feed.follow(after=0)):
            assert [event async for event in follower] == []


async def test_only_so_much_is_kept() -> None:
    """What is published goes when newer things have come, however many followers are behind."""

    class Thing:
        alive = 0

        def __init__(self) -> None:
            Thing.alive += 1

        def __del__(self) -> None:
            Thing.alive -= 1

    feed = Feed(kept=10)
    followers = [feed.follow() for _ in range(3)]
    for _ in range(1000):
        feed.publish("n", Thing())

    assert Thing.alive == 10
    assert [(await read(follower, 1))[0].thing for follower in followers] == [990] * 3


def test_publishing_for_nobody_costs_next_to_nothing() -> None:
    """It is compared with appending a tuple to a list, which happens on the same machine at the same time."""

    def cost(times: int, publish: bool) -> float:
        feed, plain = Feed(), list[tuple[int, str, object]]()
        began = time.process_time()
        for number in range(times):
            if publish:
                feed.publish("n", None)
            else:
                plain.append((number, "n", None))
        return time.process_time() - began

    ratio = min(cost(20_000, True) / cost(20_000, False) for _ in range(5))
    assert ratio < 30
