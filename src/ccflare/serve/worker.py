"""One of several processes that serve: `python -m ccflare.serve.worker DESCRIPTOR`, started by the supervisor.

What it serves with comes over the socket that the descriptor names, so that a process list shows nothing of it. It
ends when it is told to, by SIGTERM, or when its supervisor is gone; a SIGINT is the supervisor's affair, because a
terminal sends it to both.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

from ccflare import startup
from ccflare.bus.link import Link, read_begin
from ccflare.bus.orders import Begin, End, Ending, Ready, Reread, ToWorker
from ccflare.errors import CcflareError
from ccflare.logs import Log
from ccflare.serve.life import Given, serve
from ccflare.serve.orders import Orders
from ccflare.settings import Loaded, load
from ccflare.vault import Keys

log = logging.getLogger("ccflare.Server")


def main(arguments: Sequence[str]) -> int:
    """Serve until the end; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sock = socket.socket(fileno=int(arguments[0]))
    try:
        begin, rest = read_begin(sock)
    except (EOFError, OSError):
        return 1  # the supervisor has gone before it began: there is nobody to tell
    startup.allow_many_connections()
    startup.share_interpreter()
    try:
        loaded = load(begin.flags, os.environ, create=False)
    except CcflareError as error:
        sys.stderr.write(f"ccflare: worker {begin.number}: {error}\n")
        return 1
    with asyncio.Runner(loop_factory=startup.loop_factory()) as runner:
        log_writer = startup.begin_log(loaded.settings)
        try:
            runner.run(_serve(begin, rest, sock, loaded, log_writer))
        except CcflareError as error:
            log.error("Worker %d cannot serve: %s", begin.number, error)
            return 1
        finally:
            log_writer.close()
    return 0


async def _serve(begin: Begin, rest: bytes, sock: socket.socket, loaded: Loaded, log_writer: Log) -> None:
    loop, orders = asyncio.get_running_loop(), Orders()

    def obey(order: ToWorker | None) -> None:
        match order:
            case None:
                if not orders.stop.is_set():
                    log.warning("Worker %d stops: its supervisor has gone", begin.number)
                orders.end()
            case End(at_once, replaced):
                orders.end(at_once=at_once, replaced=replaced)
            case Reread():
                orders.reread.set()

    link = Link(begin, rest, obey)
    await loop.create_unix_connection(lambda: link, sock=sock)
    loop.add_signal_handler(signal.SIGTERM, orders.ask_to_stop)
    sockets = [socket.socket(fileno=descriptor) for descriptor in begin.listening]

    def ready() -> None:
        log.info("Worker %d serves", begin.number)
        link.tell(Ready())

    def ending() -> None:
        link.tell(Ending())

    keys = Keys(loaded.settings.secret_key)
    given = Given(
        loaded,
        begin.flags,
        sockets,
        log_writer,
        keys,
        ready,
        ending,
        orders,
        colleagues=link,
    )
    await serve(given)
    log.info("Worker %d has stopped", begin.number)
    link.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
