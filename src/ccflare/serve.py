"""The life of a server: listen, serve, stop without cutting anyone off."""

import asyncio
import contextlib
import errno
import gc
import logging
import random
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from ccflare import __version__, logs, renewal, upkeep
from ccflare.app import App, build
from ccflare.clock import Clock, SystemClock
from ccflare.errors import AddressInUse, OperatorError
from ccflare.feed import GAP
from ccflare.ingress import IngressSettings
from ccflare.oauth import without_client
from ccflare.pricing import PriceTable
from ccflare.settings import Loaded, Settings
from ccflare.store import Store, open_store
from ccflare.vault import Keys

log = logging.getLogger("ccflare.Server")

BACKLOG = 2048
OPEN_FILES = 65_536
OBJECTS_KNOWN = 100_000
"""Objects, the latest used, whose owners are known from the start."""
TOKENS_S = 10.0
"""Longest wait at the end for tokens that are being refreshed: they must come to the disk."""
FLUSH_S = 10.0
"""Longest wait for the database at the end."""


def run(loaded: Loaded, flags: Mapping[str, object]) -> int:
    """Serve until SIGINT or SIGTERM. Returns the exit status. Raises OperatorError when it cannot start."""
    settings, keys = loaded.settings, Keys(loaded.settings.secret_key)
    _allow_many_connections()
    sockets = listen(settings)
    # With the default of 5 ms a busy event loop starves the writer thread: batches took seconds, now a tenth of one.
    sys.setswitchinterval(0.00002)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        log_writer = logs.start(
            settings.log_dir,
            level=settings.log_level,
            line_format=settings.log_format,
            debug=settings.debug,
            console=sys.stderr,
        )
        try:
            for problem in loaded.problems:
                log.warning("%s", problem)
            _open_first(settings, keys, sockets)
            runner.run(_serve(loaded, flags, sockets, log_writer, keys))
        finally:
            log_writer.close()
    return 0


def _open_first(settings: Settings, keys: Keys, sockets: Sequence[socket.socket]) -> None:
    """Make, upgrade or encrypt the database before anything begins; what is done to it is logged. Raises StoreError."""
    try:
        with contextlib.closing(open_store(settings.db_path, keys=keys)) as store:
            store.unlock()
    except BaseException:
        for sock in sockets:
            sock.close()
        raise


def _allow_many_connections() -> None:
    """Raise the soft limit of open files: every stream takes two, and systems begin with 256 or 1024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems have a lower limit that they do not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def listen(settings: Settings) -> list[socket.socket]:
    """Bind the addresses. Raises AddressInUse or OperatorError with one clear line."""
    sockets: list[socket.socket] = []
    port = settings.port
    try:
        for address in settings.addresses:
            sock = _bind(address, port, optional=bool(sockets))
            if sock is not None:
                sockets.append(sock)
                port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(address: str, port: int, *, optional: bool) -> socket.socket | None:
    """Return a listening socket. `optional`: None where the machine has no such address family."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        if optional:
            return None
        raise
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"Address already in use: {address} port {port}. Stop the program that listens there "
                f"(lsof -i :{port} names it), or choose another port: ccflare --serve --port {port + 1}"
            ) from None
        if optional and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            return None
        raise OperatorError(f"Cannot listen on {address} port {port}: {error.strerror}") from None
    return sock


async def _serve(
    loaded: Loaded, flags: Mapping[str, object], sockets: Sequence[socket.socket], log_writer: logs.Log, keys: Keys
) -> None:
    settings, clock, loop = loaded.settings, SystemClock(), asyncio.get_running_loop()
    app = build(settings, clock, lambda: open_store(settings.db_path, busy_timeout_s=1.0, keys=keys), flags)
    with contextlib.closing(open_store(settings.db_path, keys=keys)) as store:
        _remember(app, store, int(clock.now() * 1000))
    stop = _stop_signals(loop)

    def apply(fresh: Loaded) -> None:
        app.apply(fresh.settings)
        log_writer.set_level(fresh.settings.log_level, debug=fresh.settings.debug)

    in_force = upkeep.SettingsInForce(loaded, apply)
    app.configuration.take_over = in_force.take_over
    unfollow = _follow_log(app, log_writer, loop)
    app.journal.start()
    ingress = IngressSettings(app.proxy.serve, app.asgi, app.gate, loop)
    servers = [await loop.create_server(ingress.connection, sock=sock) for sock in sockets]
    gc.collect()
    gc.freeze()  # what was made at start lives as long as the process: no collection need look at it again
    _announce(sockets)
    chores = [
        asyncio.create_task(_chore(begin))
        for begin in (
            lambda: upkeep.watch_settings(in_force, flags, clock),
            lambda: upkeep.save_changes(lambda: _save(app, clock), clock),
            lambda: _renew_prices(app, clock),
            app.refresher.keep_fresh,
        )
    ]
    await stop.first.wait()
    unfollow()
    app.exchanges.close()
    app.log_lines.close()
    await _stop(app, ingress, servers, stop, app.proxy.settings.shutdown_timeout_ms / 1000)
    for chore in chores:
        chore.cancel()
    await asyncio.gather(*chores, return_exceptions=True)
    _save(app, clock)
    await app.journal.close(FLUSH_S)
    for desk in app.desks:
        await asyncio.to_thread(desk.close)
    log.info("Stopped")


def _save(app: App, clock: Clock) -> None:
    """Hand what routing has learnt to the journal."""
    for line in app.pool.read_heard():
        log.info("%s", line)
    changes, windows = app.pool.take_changes(), app.pool.take_windows(int(clock.now() * 1000))
    app.journal.put_changes(changes.accounts, changes.bindings, changes.owners, windows)


def _follow_log(app: App, log_writer: logs.Log, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Have people who follow the log see what is written; return what ends that."""

    def tell(entries: Sequence[logs.LogEntry], missed: int) -> None:
        if missed:
            app.log_lines.publish(GAP, missed)
        for entry in entries:
            app.log_lines.publish("log", entry)

    def pass_on(entries: Sequence[logs.LogEntry], missed: int) -> None:
        loop.call_soon_threadsafe(tell, entries, missed)

    return log_writer.follow(pass_on)


def _renew_prices(app: App, clock: Clock) -> Coroutine[None, None, None]:
    def use(table: PriceTable) -> None:
        app.proxy.prices = table

    rng = random.Random()  # noqa: S311  # spreads what several servers do; nothing secret comes of it
    parts = renewal.Parts(app.transport, clock, rng, app.desks.changes)
    return renewal.renew_prices(parts, lambda: app.proxy.settings, use)


async def _chore(begin: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a chore for ever; after a defect it is told and begun again."""
    while True:
        try:
            await begin()
        except Exception:
            log.exception("A chore ended by a defect; it begins again")
        await asyncio.sleep(1)


def _remember(app: App, store: Store, now_ms: int) -> None:
    """Begin with what an earlier run has left: accounts, their limits, sessions."""
    accounts = store.accounts()
    app.load(accounts, store.credentials())
    if trouble := without_client(app.proxy.settings.client_id, accounts):
        log.warning("%s", trouble)
    app.pool.restore(store.bindings(bound_since_ms=now_ms - app.pool.session_ms), now_ms)
    app.pool.restore_windows(store.windows.all().values(), now_ms)
    app.pool.restore_owners(store.owners.load(OBJECTS_KNOWN))
    app.proxy.prices = renewal.remembered(store.prices.kept())


def _announce(sockets: Sequence[socket.socket]) -> None:
    port = sockets[0].getsockname()[1]
    where = ", ".join(str(sock.getsockname()[0]) for sock in sockets)
    log.info("ccflare %s listens on port %d (%s)", __version__, port, where)
    log.info("Point clients at it: ANTHROPIC_BASE_URL=http://localhost:%d", port)


@dataclass(frozen=True, slots=True)
class _Stop:
    """Asked to stop once: gently. Asked twice: at once."""

    first: asyncio.Event = field(default_factory=asyncio.Event)
    second: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


def _stop_signals(loop: asyncio.AbstractEventLoop) -> _Stop:
    stop = _Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.ask)
    return stop


async def _stop(
    app: App, ingress: IngressSettings, servers: Sequence[asyncio.Server], stop: _Stop, limit_s: float
) -> None:
    """Accept nothing more, let running exchanges finish within the limit, then cancel what is left."""
    for server in servers:
        server.close()
    for connection in tuple(ingress.connections):
        connection.shutdown()
    if ingress.tasks:
        log.info("Stopping: %d requests are still running", len(ingress.tasks))
    app.desks.quick.stop()
    app.desks.slow.stop()
    gentle = asyncio.ensure_future(_finished(ingress))
    at_once = asyncio.ensure_future(stop.second.wait())
    await asyncio.wait((gentle, at_once), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    gentle.cancel()
    at_once.cancel()
    running = tuple(ingress.tasks)
    if running:
        log.warning("Stopping: %d requests are cut off", len(running))
    for task in running:
        task.cancel()
    await asyncio.gather(gentle, at_once, *running, return_exceptions=True)
    await asyncio.gather(app.refresher.close(TOKENS_S), app.sign_in.close(TOKENS_S))
    await app.transport.aclose()


async def _finished(ingress: IngressSettings) -> None:
    """Wait until no request runs and every answer has left."""
    while ingress.tasks:
        await asyncio.wait(tuple(ingress.tasks))
    while ingress.connections:  # noqa: ASYNC110  # a stop may be 20 ms late; an event would cost every connection
        await asyncio.sleep(0.02)
