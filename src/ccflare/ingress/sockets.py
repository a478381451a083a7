"""What the event loop's transports do not offer: who is there, whether it has hung up, and a reset."""

import asyncio
import os
import select
import socket
import struct

_HUNG_UP = getattr(select, "POLLRDHUP", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


def peer(transport: asyncio.Transport) -> str:
    """Return the address of the other side without its port; empty where there is none."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def hung_up(transport: asyncio.Transport) -> bool:
    """Tell whether the other side has ended the connection, without reading from it (where the system can say so)."""
    own = transport.get_extra_info("socket")
    if own is None or not hasattr(select, "poll"):
        return False
    return _polled(own, _HUNG_UP)


def readable(transport: asyncio.Transport) -> bool:
    """Tell whether something has come that was not read yet (where the system can say so)."""
    own = transport.get_extra_info("socket")
    return _polled(own, select.POLLIN) if own is not None and hasattr(select, "poll") else False


def _polled(own: socket.socket, what: int) -> bool:
    poll = select.poll()
    poll.register(own.fileno(), what)
    return bool(poll.poll(0))


def reset(transport: asyncio.Transport) -> None:
    """End the connection with a TCP reset: the one end that no client takes for a clean one."""
    own = transport.get_extra_info("socket")
    if own is not None and own.family in {socket.AF_INET, socket.AF_INET6}:
        with socket.socket(fileno=os.dup(own.fileno())) as handle:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
