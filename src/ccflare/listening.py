"""The sockets that clients connect to: bound here, or passed by the service manager."""

import errno
import socket
from collections.abc import MutableMapping, Sequence
from typing import Final

from ccflare.errors import AddressInUse, OperatorError
from ccflare.settings import Settings
from ccflare.systemd import passed_sockets

BACKLOG: Final = 2048


def sockets(settings: Settings, environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets to accept from: those that were passed to this process, else new ones.

    Raises AddressInUse or OperatorError with one clear line.
    """
    try:
        passed = passed_sockets(environ)
    except ValueError as error:
        raise OperatorError(f"What the service manager passed cannot be used: {error}") from None
    for sock in passed:
        _check_private(sock, settings)
    return passed or listen(settings)


def _check_private(sock: socket.socket, settings: Settings) -> None:
    """Refuse a passed socket that other machines reach while the settings take everybody for local."""
    address = str(sock.getsockname()[0])
    private = address.startswith("127.") or address == "::1"
    if not private and settings.is_private:
        raise OperatorError(
            f"The service manager passed a socket on {address}, by which other machines could use the accounts "
            "without a key: bind it to 127.0.0.1, or set host to the same address, so that keys are asked for"
        )


def listen(settings: Settings) -> list[socket.socket]:
    """Bind the addresses. Raises AddressInUse or OperatorError with one clear line."""
    bound: list[socket.socket] = []
    port = settings.port
    try:
        for address in settings.addresses:
            sock = _bind(address, port, optional=bool(bound))
            if sock is not None:
                bound.append(sock)
                port = sock.getsockname()[1]
    except BaseException:
        close(bound)
        raise
    return bound


def close(bound: Sequence[socket.socket]) -> None:
    """Close all of them."""
    for sock in bound:
        sock.close()


def addresses(bound: Sequence[socket.socket]) -> frozenset[tuple[str, int]]:
    """Return the addresses and their ports."""
    return frozenset((str(sock.getsockname()[0]), int(sock.getsockname()[1])) for sock in bound)


def described(bound: Sequence[socket.socket]) -> tuple[int, str]:
    """Return the port, and all addresses for a person."""
    return bound[0].getsockname()[1], ", ".join(str(sock.getsockname()[0]) for sock in bound)


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
