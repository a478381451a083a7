"""Chores beside the traffic, as plain coroutines: each runs until it is cancelled."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

from ccflare.clock import Clock
from ccflare.errors import InvalidSetting
from ccflare.settings import Loaded, changed, load, stamp

log = logging.getLogger("ccflare.Server")

SETTINGS_EVERY_S = 1.0
CHANGES_EVERY_S = 0.1


async def watch_settings(
    loaded: Loaded, flags: Mapping[str, object], clock: Clock, apply: Callable[[Loaded], None]
) -> None:
    """Take over edits of the settings file within a second; say what needs a restart."""
    current = loaded
    seen = loaded.stamp
    while True:
        await clock.sleep(SETTINGS_EVERY_S)
        found = await asyncio.to_thread(stamp, current.path)
        if found == seen:
            continue
        seen = found
        try:
            fresh = await asyncio.to_thread(load, flags, os.environ, create=False)
        except InvalidSetting as error:
            log.warning("%s", error)
            continue
        for problem in fresh.problems:
            log.warning("%s", problem)
        if fresh.broken:
            continue
        current = _take_over(loaded, current, fresh, apply)


def _take_over(started: Loaded, current: Loaded, fresh: Loaded, apply: Callable[[Loaded], None]) -> Loaded:
    names = changed(current.settings, fresh.settings)
    if names.live:
        apply(fresh)
        log.info("Settings changed: %s", ", ".join(names.live))
    waiting = changed(started.settings, fresh.settings).restart
    if names.restart and waiting:
        log.warning("Settings that apply at the next start: %s", ", ".join(waiting))
    return fresh


async def save_changes(save: Callable[[], None], clock: Clock) -> None:
    """Hand what routing has learned to the journal, so that a restart remembers it."""
    while True:
        await clock.sleep(CHANGES_EVERY_S)
        save()
