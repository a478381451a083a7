"""Where clients come in: open, or shut while no descriptor is left to take one in with.

An event loop that may not accept is told of waiting clients again and again, or drops them without a word. So the doors
are shut: clients wait in the system's queue, and are taken in as soon as something was closed.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence

from ccflare.clock import Clock
from ccflare.listening import BACKLOG

log = logging.getLogger("ccflare.Server")

LOOK_EVERY_S = 0.25
SPARE = 4
"""Descriptors that must be free for the doors to be open: one client, its upstream, and what those need."""


class Doors:
    """The listening sockets of a server; `make` makes the protocol of each connection."""

    def __init__(self, sockets: Sequence[socket.socket], make: Callable[[], asyncio.Protocol]) -> None:
        self._sockets = sockets
        self._make = make
        self._servers: list[asyncio.Server] = []
        self._closed = False

    async def open(self) -> None:
        """Take clients in."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            # A copy, because a server closes its own: what waits in the queue is kept by the one that stays.
            self._servers.append(await loop.create_server(self._make, sock=sock.dup(), backlog=BACKLOG))

    def close(self) -> None:
        """Take nobody in any more."""
        self._closed = True
        self._shut()
        for sock in self._sockets:
            sock.close()

    async def watch(self, clock: Clock) -> None:
        """Shut the doors while there are no descriptors, and open them again."""
        while not self._closed:
            await clock.sleep(LOOK_EVERY_S)
            free = self._has_descriptors()
            if self._servers and not free:
                log.error("Too many open files: new clients wait until others have left (see ulimit -n)")
                self._shut()
            elif not self._servers and free and not self._closed:
                await self.open()
                log.info("There are descriptors again: clients are taken in")

    def _shut(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _has_descriptors(self) -> bool:
        copies: list[int] = []
        try:
            copies.extend(os.dup(self._sockets[0].fileno()) for _ in range(SPARE))
        except OSError:
            return False
        finally:
            for copy in copies:
                os.close(copy)
        return True
