"""Names to addresses, remembered: a request never waits for a name that was known before.

The one rule: an old address is better than none. An entry that is past its time is used while it is looked up
again, and kept when that fails.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ccflare.errors import TransportError

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]
"""A family and what `socket.connect` takes for it."""

Lookup = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Finds addresses in the system's order of preference (RFC 6724). Raises OSError."""

TTL_S = 60.0
"""The API's own names live for about a minute; the system's resolver does not say how long."""
RETRY_S = 5.0
"""Pause between look-ups of an old entry that fail."""
CAPACITY = 256


@dataclass(slots=True)
class _Entry:
    addresses: Sequence[Address]
    fresh_until: float


class Resolver:
    """A bounded cache in front of the system's resolver, owned by one event loop."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or system_lookup
        self._entries: dict[tuple[str, int], _Entry] = {}
        self._lookups: dict[tuple[str, int], asyncio.Task[Sequence[Address]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """Return at least one address, or raise TransportError (`connect_error`)."""
        if literal := _literal(host, port):
            return [literal]
        entry = self._entries.get((host, port))
        if entry is None:
            # Shielded: others may wait for the same name, and one who leaves must not take it from them.
            return await asyncio.shield(self._looked_up(host, port))
        if asyncio.get_running_loop().time() >= entry.fresh_until:
            self._looked_up(host, port)
        return entry.addresses

    def doubt(self, host: str, port: int) -> None:
        """Have the next `resolve` look the name up again, because none of its addresses could be reached."""
        if entry := self._entries.get((host, port)):
            entry.fresh_until = 0.0

    async def aclose(self) -> None:
        """End the look-ups that are under way."""
        tasks = list(self._lookups.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _looked_up(self, host: str, port: int) -> asyncio.Task[Sequence[Address]]:
        key = (host, port)
        task = self._lookups.get(key)
        if task is None:
            task = self._lookups[key] = asyncio.get_running_loop().create_task(self._refresh(host, port))
            task.add_done_callback(lambda done: self._forget_lookup(key, done))
        return task

    async def _refresh(self, host: str, port: int) -> Sequence[Address]:
        key = (host, port)
        now = asyncio.get_running_loop().time
        try:
            addresses = await self._lookup(host, port)
        except (OSError, UnicodeError) as error:
            if entry := self._entries.get(key):
                entry.fresh_until = now() + RETRY_S
                return entry.addresses
            raise TransportError("connect_error", f"cannot resolve {host}: {_reason(error)}") from error
        if not addresses:
            raise TransportError("connect_error", f"cannot resolve {host}: it has no address")
        if len(self._entries) >= CAPACITY and key not in self._entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(addresses, now() + TTL_S)
        return addresses

    def _forget_lookup(self, key: tuple[str, int], task: asyncio.Task[Sequence[Address]]) -> None:
        self._lookups.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; when all have left, it is nobody's


async def system_lookup(host: str, port: int) -> Sequence[Address]:
    """Ask the system, in a thread."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]  # typeshed: any family


def _literal(host: str, port: int) -> Address | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return (socket.AF_INET, (host, port)) if version == 4 else (socket.AF_INET6, (host, port, 0, 0))


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
