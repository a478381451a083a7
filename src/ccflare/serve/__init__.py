"""A server that is one process: listen, serve, stop. Several processes have a `supervisor`, and run `serve.worker`."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping

from ccflare import __version__, listening, startup
from ccflare.serve.life import Given, serve
from ccflare.serve.orders import Orders
from ccflare.settings import Loaded
from ccflare.systemd import ServiceState
from ccflare.vault import Keys

log = logging.getLogger("ccflare.Server")


def run(loaded: Loaded, flags: Mapping[str, object]) -> int:
    """Serve until SIGINT or SIGTERM. Returns the exit status. Raises OperatorError when it cannot start."""
    settings, keys, service = loaded.settings, Keys(loaded.settings.secret_key), ServiceState(os.environ)
    startup.allow_many_connections()
    sockets = listening.sockets(settings, os.environ)
    startup.share_interpreter()
    with asyncio.Runner(loop_factory=startup.loop_factory()) as runner:
        log_writer = startup.begin_log(settings)
        try:
            for problem in loaded.problems:
                log.warning("%s", problem)
            startup.open_first(settings, keys)

            def ready() -> None:
                announce(*listening.described(sockets))
                service.ready()

            orders = Orders()
            given = Given(loaded, flags, sockets, log_writer, keys, ready, service.stopping, orders, service)
            runner.get_loop().call_soon(_obey_signals, runner.get_loop(), orders)
            runner.run(serve(given))
            log.info("Stopped")
        finally:
            listening.close(sockets)
            log_writer.close()
    return 0


def announce(port: int, addresses: str) -> None:
    """Log where the server is."""
    log.info("ccflare %s listens on port %d (%s)", __version__, port, addresses)
    log.info("Point clients at it: ANTHROPIC_BASE_URL=http://localhost:%d", port)


def _obey_signals(loop: asyncio.AbstractEventLoop, orders: Orders) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, orders.ask_to_stop)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, orders.reread.set)
