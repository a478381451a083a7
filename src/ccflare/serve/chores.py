"""What goes on beside the traffic of a server, each as a coroutine that runs until it is cancelled."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence

from ccflare import logs, renewal
from ccflare.app import App
from ccflare.clock import Clock
from ccflare.pricing import PriceTable
from ccflare.systemd import ServiceState

log = logging.getLogger("ccflare.Server")


def save(app: App, clock: Clock) -> None:
    """Hand what routing has learnt to the journal."""
    for line in app.pool.read_heard():
        log.info("%s", line)
    changes, windows = app.pool.take_changes(), app.pool.take_windows(int(clock.now() * 1000))
    used = app.client_keys.take_used()
    app.journal.put_changes(changes.accounts, changes.bindings, changes.owners, windows, used)


def follow_log(app: App, log_writer: logs.Log, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Have people who follow the log see what is written; return what ends that."""

    def pass_on(entries: Sequence[logs.LogEntry], missed: int) -> None:
        loop.call_soon_threadsafe(app.log_lines.tell, "log", entries, missed)

    return log_writer.follow(pass_on)


def renew_prices(app: App, clock: Clock, may_fetch: Callable[[], bool]) -> Coroutine[None, None, None]:
    """Have newer prices used when there are some."""

    def use(table: PriceTable) -> None:
        app.proxy.prices = table

    rng = random.Random()  # noqa: S311  # spreads what several servers do; nothing secret comes of it
    parts = renewal.Parts(app.transport, clock, rng, app.desks.changes, may_fetch)
    return renewal.renew_prices(parts, lambda: app.proxy.settings, use)


async def show_life(service: ServiceState, clock: Clock) -> None:
    """Tell a service manager that wants to know that the event loop turns."""
    while service.watchdog_s is not None:
        service.alive()
        await clock.sleep(service.watchdog_s / 2)


async def run(begin: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a chore until it has nothing more to do; after a defect it is told and begun again."""
    while True:
        try:
            await begin()
        except Exception:
            log.exception("A chore ended by a defect; it begins again")
            await asyncio.sleep(1)
        else:
            return
