"""The life of one process that serves, alone or as one of several: begin, serve, stop without cutting anyone off."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from ccflare import listening, logs, renewal, startup, upkeep
from ccflare.addresses import url_trouble
from ccflare.app import App, build
from ccflare.bus import Alone, Colleagues
from ccflare.clock import SystemClock
from ccflare.ingress import Crowd, IngressSettings
from ccflare.oauth import without_client
from ccflare.serve import chores
from ccflare.serve.doors import Doors
from ccflare.serve.orders import Orders
from ccflare.serve.stopping import drain, stop
from ccflare.settings import Loaded
from ccflare.settings.kinds import without_user
from ccflare.sharing import Sharing
from ccflare.store import Store, open_store
from ccflare.systemd import ServiceState
from ccflare.vault import Keys

log = logging.getLogger("ccflare.Server")

OBJECTS_KNOWN = 100_000
"""Objects, the latest used, whose owners are known from the start."""
TRACES_S = 3.0
"""Longest wait at the end for a collector of traces: nobody needs it to serve."""
YOUNG_OBJECTS = 50_000
"""So many objects more, and the interpreter looks for cycles. With its own 700 it did so at every fifth exchange, for a
tenth of the loop's time: what waits to be written are thousands, and an exchange leaves no cycle behind."""
FLUSH_S = 10.0
"""Longest wait for the database at the end."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a server is given by whoever starts it."""

    loaded: Loaded
    flags: Mapping[str, object]
    sockets: Sequence[socket.socket]
    """Listening; it closes them."""
    log_writer: logs.Log
    keys: Keys
    on_ready: Callable[[], None]
    on_ending: Callable[[], None]
    """Called when nothing more is accepted."""
    orders: Orders = field(default_factory=Orders)
    service: ServiceState = field(default_factory=lambda: ServiceState({}))
    colleagues: Colleagues = field(default_factory=Alone)


async def serve(given: Given) -> None:
    """Serve until it is told to stop, and come to the end."""
    settings, clock, loop = given.loaded.settings, SystemClock(), asyncio.get_running_loop()
    app = build(
        settings,
        clock,
        lambda: open_store(settings.db_path, busy_timeout_s=1.0, keys=given.keys),
        given.flags,
        given.colleagues,
    )
    with contextlib.closing(open_store(settings.db_path, keys=given.keys)) as store:
        _remember(app, store, int(clock.now() * 1000))
    in_force = _in_force(app, given)
    unfollow = chores.follow_log(app, given.log_writer, loop)
    app.journal.start()
    if app.traces is not None:
        app.traces.start()
    ingress = IngressSettings(app.proxy.serve, app.asgi, app.gate, loop, crowd=Crowd(startup.most_clients()))
    app.transport.stay_away_from(listening.addresses(given.sockets))
    doors = Doors(given.sockets, ingress.connection)
    await doors.open()
    _look_for_cycles_seldom()
    sharing = Sharing(app, given.colleagues, clock, given.orders.reread.set) if given.colleagues.number else None
    app.readiness.listening = True
    given.on_ready()
    running = [asyncio.create_task(chores.run(begin)) for begin in _chores(app, given, in_force, doors)]
    if sharing is not None:
        running.append(asyncio.create_task(chores.run(sharing.share_load)))
    await given.orders.stop.wait()
    await drain(app, given.orders)
    given.on_ending()
    unfollow()
    app.exchanges.close()
    app.log_lines.close()
    await stop(app, ingress, doors, given.orders)
    for chore in running:
        chore.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    chores.save(app, clock)
    await app.journal.close(FLUSH_S)
    if app.traces is not None:
        await asyncio.to_thread(app.traces.close, TRACES_S)
    for desk in app.desks:
        await asyncio.to_thread(desk.close)


def _look_for_cycles_seldom() -> None:
    gc.collect()
    gc.freeze()  # what was made at start lives as long as the process: no collection need look at it again
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)


def _in_force(app: App, given: Given) -> upkeep.SettingsInForce:
    """Connect what takes over changed settings with what they are for."""

    def apply(fresh: Loaded) -> None:
        app.apply(fresh.settings)
        given.log_writer.set_level(fresh.settings.log_level, debug=fresh.settings.debug)

    in_force = upkeep.SettingsInForce(given.loaded, apply)
    app.configuration.take_over = in_force.take_over
    return in_force


def _chores(
    app: App, given: Given, in_force: upkeep.SettingsInForce, doors: Doors
) -> tuple[Callable[[], Coroutine[None, None, None]], ...]:
    clock = SystemClock()

    async def reread() -> None:
        while True:
            await given.orders.reread.wait()
            given.orders.reread.clear()
            given.service.reloading()
            await upkeep.reread_settings(in_force, given.flags)
            given.service.ready()

    return (
        lambda: upkeep.watch_settings(in_force, given.flags, clock),
        reread,
        lambda: upkeep.save_changes(lambda: chores.save(app, clock), app.vitals.delays.add, clock),
        lambda: upkeep.return_memory(lambda: app.proxy.in_flight, clock, upkeep.memory_trim()),
        lambda: chores.renew_prices(app, clock, lambda: given.colleagues.leads),
        lambda: doors.watch(clock),
        lambda: upkeep.watch_clock(app.pool.clock_set_back, clock),
        lambda: chores.show_life(given.service, clock),
        app.refresher.keep_fresh,
    )


def _remember(app: App, store: Store, now_ms: int) -> None:
    """Begin with what an earlier run has left: accounts, their limits, sessions."""
    accounts = store.accounts()
    for account in accounts:
        if account.base_url and (reason := url_trouble(account.base_url, app.transport.reach)):
            log.warning("Account %s cannot be used at %s: %s", account.name, without_user(account.base_url), reason)
    app.load(accounts, store.credentials())
    app.client_keys.load(store.client_keys.admission())
    if trouble := without_client(app.proxy.settings.client_id, accounts):
        log.warning("%s", trouble)
    if app.client_keys.is_shut():
        log.warning("There is no client key, so nobody is let in: make one (ccflare keys create NAME)")
    app.pool.restore(store.bindings(bound_since_ms=now_ms - app.pool.session_ms), now_ms)
    app.pool.restore_windows(store.windows.all().values(), now_ms)
    app.pool.restore_owners(store.owners.load(OBJECTS_KNOWN))
    app.proxy.prices = renewal.remembered(store.prices.kept())
