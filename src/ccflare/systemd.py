"""What a service manager tells a server, and is told by it: sockets it has opened, and how the service is doing.

The two protocols of systemd that other managers speak too (sd_listen_fds(3), sd_notify(3)), without its library.
Both are found in the environment, and taken out of it: what is meant for this process is not for its children.
"""

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

PATIENCE_S: Final = 0.5
_FIRST_DESCRIPTOR: Final = 3


def passed_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that were passed to this process; none is the usual case.

    Raises ValueError, in words for the operator, when something was passed that no client can connect to.
    """
    told = {name: environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if told["LISTEN_PID"] != str(os.getpid()) or not told["LISTEN_FDS"].isdecimal():
        return []
    found: list[socket.socket] = []
    try:
        for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(told["LISTEN_FDS"])):
            found.append(_listening(descriptor))  # noqa: PERF401  # what was found is closed when the next one is wrong
    except BaseException:
        for sock in found:
            sock.close()
        raise
    return found


def _listening(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError:
        raise ValueError(f"descriptor {descriptor} is no socket") from None
    listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family not in {socket.AF_INET, socket.AF_INET6} or not listens:
        sock.close()
        raise ValueError(f"descriptor {descriptor} is no TCP socket that listens")
    sock.setblocking(False)
    return sock


class ServiceState:
    """Tells the service manager how the service is doing; tells nobody when it was started by hand.

    Every call is one datagram. A manager that does not take it in is waited for `PATIENCE_S`; for a sign of life it is
    not waited at all, because there is another one soon.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        name = environ.pop("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of Linux's abstract names.
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self.watchdog_s = _watchdog_s(environ)
        """How often the manager wants to hear that the service lives, at the least; None: not at all."""

    def ready(self) -> None:
        """Tell that requests are served."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Tell that settings are read again; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Tell that nothing more is accepted."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Tell that the service does its work."""
        self._tell("WATCHDOG=1", 0.0)

    def _tell(self, message: str, patience_s: float = PATIENCE_S) -> None:
        if not self._address:
            return
        # The manager has gone, or its queue is full: there is nothing a service could do about it.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(patience_s)
            sock.sendto(message.encode(), self._address)


def _watchdog_s(environ: MutableMapping[str, str]) -> float | None:
    told, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not told.isdecimal() or int(told) == 0 or pid not in {"", str(os.getpid())}:
        return None
    return int(told) / 1_000_000
