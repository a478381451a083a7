"""Chores beside the traffic, as plain coroutines: each runs until it is cancelled."""

import asyncio
import ctypes
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial

from ccflare.clock import Clock
from ccflare.errors import InvalidSetting
from ccflare.settings import Loaded, changed, load, stamp

log = logging.getLogger("ccflare.Server")

SETTINGS_EVERY_S = 1.0
CHANGES_EVERY_S = 0.1
CLOCK_EVERY_S = 1.0
CLOCK_JUMP_S = 5.0
"""Less than this is a clock that is being put right slowly."""
MEMORY_EVERY_S = 1.0
MANY_EXCHANGES = 64
"""Fewer at once leave nothing behind that is worth looking for."""


class SettingsInForce:
    """What a running server goes by: the settings it was started with, and what it has taken over since."""

    def __init__(self, started: Loaded, apply: Callable[[Loaded], None]) -> None:
        self.started = started
        self.current = started
        self.seen = started.stamp
        """The state of the file that was looked at last."""
        self._apply = apply

    def take_over(self, fresh: Loaded) -> None:
        """Apply what differs and can be applied now; say what needs a restart."""
        names = changed(self.current.settings, fresh.settings)
        self.current = fresh
        if names.live:
            self._apply(fresh)
            log.info("Settings changed: %s", ", ".join(names.live))
        waiting = changed(self.started.settings, fresh.settings).restart
        if names.restart and waiting:
            log.warning("Settings that apply at the next start: %s", ", ".join(waiting))


async def watch_settings(in_force: SettingsInForce, flags: Mapping[str, object], clock: Clock) -> None:
    """Take over edits of the settings file within a second."""
    while True:
        await clock.sleep(SETTINGS_EVERY_S)
        if await asyncio.to_thread(stamp, in_force.started.path) != in_force.seen:
            await reread_settings(in_force, flags)


async def reread_settings(in_force: SettingsInForce, flags: Mapping[str, object]) -> None:
    """Take over the settings as they are now; what cannot be used is told, and changes nothing."""
    in_force.seen = await asyncio.to_thread(stamp, in_force.started.path)
    try:
        fresh = await asyncio.to_thread(load, flags, os.environ, create=False)
    except InvalidSetting as error:
        log.warning("%s", error)
        return
    for problem in fresh.problems:
        log.warning("%s", problem)
    if not fresh.broken:
        in_force.take_over(fresh)


async def save_changes(save: Callable[[], None], late: Callable[[float], None], clock: Clock) -> None:
    """Hand what routing has learned to the journal, so that a restart remembers it.

    `late` is told how many seconds later than asked the event loop came back: that is how busy it is.
    """
    while True:
        due_at = clock.monotonic() + CHANGES_EVERY_S
        await clock.sleep(CHANGES_EVERY_S)
        late(max(0.0, clock.monotonic() - due_at))
        save()


async def watch_clock(set_back: Callable[[int], None], clock: Clock) -> None:
    """Notice when the wall clock jumps; `set_back` is told by how many milliseconds it went back.

    What was to end in a minute would end in an hour and a minute then. A jump ahead needs nothing: what ends too early
    is found out by asking upstream.
    """
    before = clock.now() - clock.monotonic()
    while True:
        await clock.sleep(CLOCK_EVERY_S)
        now = clock.now() - clock.monotonic()
        jump, before = now - before, now
        if jump <= -CLOCK_JUMP_S:
            log.warning("The clock was set back by %.0f s: limits end as much earlier", -jump)
            set_back(round(-jump * 1000))
        elif jump >= CLOCK_JUMP_S:
            log.info("The clock went ahead by %.0f s: it was set, or the machine has slept", jump)


async def return_memory(in_flight: Callable[[], int], clock: Clock, trim: Callable[[], object] | None) -> None:
    """Give back to the system what a burst has left, once it is over: less than a quarter is in flight.

    The C library keeps what was freed: after 1,500 bodies of 150 KB at once 396 MB stayed resident, of which 90 were
    in use. A trim takes 0.3 ms when there is nothing to give back, and up to 50 ms, in its own thread, when there is
    much: so it is not done while there is work. `trim` None: this system's library has no such function.
    """
    most = 0
    while True:
        await clock.sleep(MEMORY_EVERY_S)
        now = in_flight()
        most = max(most, now)
        if trim is not None and most >= MANY_EXCHANGES and now <= most // 4:
            most = now
            await asyncio.to_thread(trim)


def memory_trim() -> Callable[[], object] | None:
    """Return what gives freed memory back to the system, where the C library has it (glibc)."""
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return partial(found, 0)
