"""TCP connections to a host with several addresses: the first that answers wins (RFC 8305, "happy
eyeballs")."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from ccflare.transport.resolver import Address

ATTEMPT_DELAY_S = 0.25
"""How long one address may keep the next one waiting (RFC 8305 §5)."""

_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A dead path is noticed after two minutes, and stateful firewalls see traffic every minute."""


async def dial(addresses: Sequence[Address]) -> socket.socket:
    """Return a connected socket. Raises OSError: the first address's, when none can be reached."""
    if len(addresses) == 1:
        return await _attempt(addresses[0])
    waiting = list(reversed(interleaved(addresses)))
    running: list[asyncio.Task[socket.socket]] = []
    failures: list[OSError] = []
    try:
        while waiting or running:
            if waiting:
                running.append(asyncio.create_task(_attempt(waiting.pop())))
            await asyncio.wait(
                running, timeout=ATTEMPT_DELAY_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in [task for task in running if task.done()]:
                if task.exception() is None:
                    running.remove(task)
                    return task.result()
                running.remove(task)
                failures.append(_failure(task))
    finally:
        await _call_off(running)
    raise failures[0]


def interleaved(addresses: Iterable[Address]) -> list[Address]:
    """Return the addresses with families taking turns, beginning with the preferred one's (RFC 8305 §4)."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for turn in zip_longest(*families.values()) for address in turn if address is not None]


async def _attempt(address: Address) -> socket.socket:
    family, peer = address
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                connecting.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        await asyncio.get_running_loop().sock_connect(connecting, peer)
    except BaseException:
        connecting.close()
        raise
    return connecting


def _failure(task: asyncio.Task[socket.socket]) -> OSError:
    error = task.exception()
    return error if isinstance(error, OSError) else OSError(str(error))


async def _call_off(tasks: list[asyncio.Task[socket.socket]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, OSError):  # the losers of the race
            task.result().close()
