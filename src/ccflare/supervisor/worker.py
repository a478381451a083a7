"""A worker as its supervisor sees it: a process, and its seat at the bus."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ccflare.bus.orders import Begin, End
from ccflare.supervisor.hub import Hub, Seat

_WITHOUT_CURRENT_DIRECTORY = "-P"
"""Where a server is started must not decide which code it runs."""


class Worker:
    """A running worker."""

    def __init__(self, process: asyncio.subprocess.Process, seat: Seat, started: float) -> None:
        self.seat = seat
        self.number = seat.number
        self.started = started
        """Loop time."""
        self._process = process

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def end(self, *, at_once: bool = False, replaced: bool = False) -> None:
        """Tell it to stop; see `orders.End`."""
        self.seat.ending = True
        self.seat.order(End(at_once, replaced))

    def kill(self) -> None:
        """End the process whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> int:
        """Wait for the end of the process; return its exit status, negative for a signal."""
        status = await self._process.wait()
        self.seat.close()
        return status


async def start_worker(
    hub: Hub, number: int, listening: Sequence[socket.socket], flags: Mapping[str, Any], started_at: float
) -> Worker:
    """Start a worker that accepts from these sockets. Raises OSError."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptors = [sock.fileno() for sock in listening]
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            _WITHOUT_CURRENT_DIRECTORY,
            "-m",
            "ccflare.serve.worker",
            str(theirs.fileno()),
            pass_fds=[theirs.fileno(), *descriptors],
            stdin=asyncio.subprocess.DEVNULL,
            env=os.environ,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    _, seat = await loop.create_unix_connection(lambda: Seat(hub, number), sock=ours)
    seat.order(Begin(number, hub.workers, descriptors, dict(flags), started_at))
    return Worker(process, seat, loop.time())
