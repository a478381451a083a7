"""Failed attempts at a client key are answered later and later, for each address of its own.

Only what has failed waits: a good key from the same address is served at once, however many others have failed. A
wait is at most two seconds, and at most 256 answers wait; to hold more would cost us more than the other side.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

log = logging.getLogger("ccflare.Server")

FREE = 3
"""So many failures are answered at once: mistakes."""
FIRST_S = 0.1
LONGEST_S = 2.0
FORGOTTEN_S = 300.0
MOST_ADDRESSES = 1024
MOST_WAITING = 256


class Slowdown:
    """The failures of the last minutes by address."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting = 0

    async def failed(self, address: str, why: str) -> None:
        """Count a failure, say so now and then, and wait as long as its answer has to."""
        count = self._count(_network(address))
        if count & (count - 1) == 0:  # 1, 2, 4, 8, ...: a flood is a few lines
            log.warning("Refused a request of %s: %s (%d in the last minutes)", address, why, count)
        wait_s = min(FIRST_S * 2.0 ** min(count - FREE - 1, 10), LONGEST_S) if count > FREE else 0.0
        if wait_s and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                await self._sleep(wait_s)
            finally:
                self._waiting -= 1

    def _count(self, network: str) -> int:
        now = self._monotonic()
        count, last = self._failures.pop(network, (0, now))
        count = 1 if now - last > FORGOTTEN_S else count + 1
        self._failures[network] = count, now
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        return count


def _network(address: str) -> str:
    """Return what one party has of addresses: of version 6 a /64."""
    if ":" not in address:
        return address
    try:
        return ip_address(address.partition("%")[0]).exploded[:19]
    except ValueError:
        return address
