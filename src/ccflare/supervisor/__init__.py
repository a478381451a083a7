"""Several processes that serve as one: `ccflare --serve --workers N`.

The supervisor binds the sockets and lets its workers inherit them, so that the system itself hands each connection to
one that has time, port 0 is one port for all, a busy port is found once, and a connection that nobody has accepted yet
outlives any worker. It starts a new worker for one that has died, replaces all of them one by one on SIGHUP, and stops
them with itself. It serves nothing and keeps nothing: what workers tell each other only passes through.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping

from ccflare import __version__, listening, startup
from ccflare.errors import OperatorError
from ccflare.settings import Loaded
from ccflare.supervisor.life import Supervisor
from ccflare.systemd import ServiceState
from ccflare.vault import Keys

log = logging.getLogger("ccflare.Server")


def run(loaded: Loaded, flags: Mapping[str, object]) -> int:
    """Serve with workers until SIGINT or SIGTERM; return the exit status. Raises OperatorError when it cannot start."""
    if sys.platform == "win32":
        raise OperatorError("workers: more than one needs a system on which processes can inherit sockets")
    settings, service = loaded.settings, ServiceState(os.environ)
    startup.allow_many_connections()
    sockets = listening.sockets(settings, os.environ)
    with asyncio.Runner() as runner:
        log_writer = startup.begin_log(settings)
        try:
            for problem in loaded.problems:
                log.warning("%s", problem)
            startup.open_first(settings, Keys(settings.secret_key))
            supervisor = Supervisor(loaded, flags, sockets, service, log_writer)
            port, addresses = listening.described(sockets)

            def announce() -> None:
                log.info("ccflare %s listens on port %d (%s)", __version__, port, addresses)
                log.info("Point clients at it: ANTHROPIC_BASE_URL=http://localhost:%d", port)

            loop = runner.get_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, supervisor.ask_to_stop)
            loop.add_signal_handler(signal.SIGHUP, supervisor.reload.set)
            runner.run(supervisor.run(announce))
            log.info("Stopped")
        finally:
            listening.close(sockets)
            log_writer.close()
    return 0
