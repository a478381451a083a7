"""Prices that renew themselves: fetched from time to time, checked, kept in the store, used at once.

A chore beside the traffic. Nothing is replaced by what cannot be believed, and of several processes on one store one
fetches: before it does, each looks whether another one has.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ccflare import __version__
from ccflare.clock import Clock
from ccflare.coding import decoder
from ccflare.desk import Desk
from ccflare.errors import CcflareError, StoreError
from ccflare.pricing import BUNDLED, PriceTable, decode_table, encode_table, merge, overlay
from ccflare.settings import Settings
from ccflare.transport import Transport
from ccflare.wire import BaseUrl, Headers, OutgoingRequest, header

log = logging.getLogger("ccflare.Pricing")

FETCH_S: Final = 30.0
"""Longest time for one fetch."""
DOCUMENT_BYTES: Final = 16 << 20
"""The longest document that is read, on the wire and decoded."""
LOOK_EVERY_S: Final = 30.0
"""How often it is looked whether a fetch is due: settings may have changed, another process may have fetched."""
SPREAD_S: Final = 5.0
"""Processes that start together look at different times within this."""
FIRST_PAUSE_S: Final = 60.0
LONGEST_PAUSE_S: Final = 3600.0

_HOUR_MS: Final = 3_600_000
_FIELDS: Final[Headers] = [
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, br, zstd"),
    (b"user-agent", b"ccflare/" + __version__.encode("ascii")),
]


class NotBelieved(Exception):
    """What came is no price list; the text says why and holds nothing of a credential."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the chore works with."""

    transport: Transport
    clock: Clock
    rng: random.Random
    desk: Desk
    may_fetch: Callable[[], bool] = lambda: True
    """Says whether it is this process that fetches, of several that serve as one."""


def remembered(kept: tuple[bytes, int] | None) -> PriceTable:
    """Return the prices to begin with: the bundled ones, and over them what is kept.

    A table that cannot be read counts as none; the chore says so.
    """
    try:
        return BUNDLED if kept is None else overlay(BUNDLED, decode_table(kept[0]))
    except ValueError:
        return BUNDLED


async def renew_prices(parts: Parts, settings: Callable[[], Settings], apply: Callable[[PriceTable], None]) -> None:
    """Use the kept prices, then newer ones whenever they are due, for ever.

    `settings` returns those in force; `apply` has a table used from then on.
    """
    renewal = _Renewal(parts, settings, apply)
    await renewal.look()
    await parts.clock.sleep(parts.rng.uniform(0, SPREAD_S))
    while True:
        await renewal.step()
        await parts.clock.sleep(LOOK_EVERY_S)


class _Renewal:
    """The table in force, and when the next fetch is due."""

    def __init__(self, parts: Parts, settings: Callable[[], Settings], apply: Callable[[PriceTable], None]) -> None:
        self._parts = parts
        self._settings = settings
        self._apply = apply
        self._table = BUNDLED
        self._seen: tuple[bytes, int] | None = None
        """What the store had when it was last looked at."""
        self._fetched_at_ms: int | None = None
        self._failures = 0
        self._retry_at = 0.0
        """Monotonic seconds."""

    async def step(self) -> None:
        """Fetch when it is time to, after a look at what others have done."""
        if self._settings().pricing_offline or not self._due() or self._parts.clock.monotonic() < self._retry_at:
            return
        await self.look()
        if self._due() and self._parts.may_fetch():
            await self._try()

    async def look(self) -> None:
        """Take over what is kept when it is news."""
        try:
            kept = await self._parts.desk.ask(lambda store: store.prices.kept())
        except StoreError as error:
            log.warning("The kept prices cannot be read for now: %s", error)
            return
        if kept is None or kept == self._seen:
            return
        self._seen = kept
        try:
            table = decode_table(kept[0])
        except ValueError as error:
            log.warning("The kept prices are ignored: %s", error)
            return
        self._fetched_at_ms = kept[1]
        self._use(overlay(BUNDLED, table))

    def _due(self) -> bool:
        """Say whether the last fetch is too long ago; one in the future is a clock that was set back."""
        if self._fetched_at_ms is None:
            return True
        interval_ms = self._settings().pricing_refresh_hours * _HOUR_MS
        return not 0 <= self._now_ms() - self._fetched_at_ms < interval_ms

    async def _try(self) -> None:
        """Fetch once; after a failure wait longer each time, and say why only the first time."""
        url = self._settings().pricing_url
        log.info("Fetching latest pricing")
        try:
            table = await asyncio.to_thread(merge, self._table, await fetch(self._parts.transport, url), self._today())
        except (CcflareError, NotBelieved, ValueError) as error:
            pause_s = self._pause_s()
            level = logging.DEBUG if self._failures else logging.WARNING
            log.log(level, "Pricing was not renewed from %s: %s; next try in %.0f minutes", url, error, pause_s / 60)
            self._failures += 1
            self._retry_at = self._parts.clock.monotonic() + pause_s
            return
        self._failures = 0
        self._fetched_at_ms = self._now_ms()
        self._use(table)
        await self._keep(table, self._fetched_at_ms)

    async def _keep(self, table: PriceTable, at_ms: int) -> None:
        """Keep a table in the store; when that fails it is used all the same, until the end of the process."""
        encoded = encode_table(table)
        try:
            await self._parts.desk.ask(lambda store: store.prices.keep(encoded, at_ms))
        except StoreError as error:
            log.warning("The latest pricing is used but could not be kept: %s", error)
        else:
            self._seen = encoded, at_ms

    def _use(self, table: PriceTable) -> None:
        changed = sum(self._table.models.get(model) != price for model, price in table.models.items())
        self._table = table
        self._apply(table)
        log.debug("Pricing of %d models is used, %d of them changed", len(table.models), changed)

    def _pause_s(self) -> float:
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(self._failures, 16), LONGEST_PAUSE_S)
        return pause_s * self._parts.rng.uniform(0.75, 1.25)

    def _now_ms(self) -> int:
        return int(self._parts.clock.now() * 1000)

    def _today(self) -> str:
        return datetime.fromtimestamp(self._parts.clock.now(), UTC).date().isoformat()


async def fetch(transport: Transport, url: str) -> bytes:
    """Return the document at an address. Raises TransportError, and NotBelieved when the answer is none.

    Redirects are not followed.
    """
    address = BaseUrl.parse(url)
    request = OutgoingRequest(b"GET", address.prefix or b"/", _FIELDS, b"", None)
    try:
        async with asyncio.timeout(FETCH_S):
            response = await transport.open(address.origin, request, first_byte_s=FETCH_S, exchange_s=FETCH_S)
            try:
                if response.status != 200:
                    raise NotBelieved(f"status {response.status}")
                return await _read(response.read, header(response.headers, b"content-encoding"))
            finally:
                response.discard()
    except TimeoutError:
        raise NotBelieved(f"no whole answer within {FETCH_S:.0f} s") from None


async def _read(read: Callable[[], Awaitable[bytes]], coding: bytes | None) -> bytes:
    """Read and decode a body of bounded length."""
    plain = decoder(coding, DOCUMENT_BYTES)
    if plain is None:
        raise NotBelieved("it comes in a content coding that is not known")
    document, on_the_wire = bytearray(), 0
    while part := await read():
        on_the_wire += len(part)
        document += plain.feed(part)
        if plain.broken or on_the_wire > DOCUMENT_BYTES:
            raise NotBelieved(f"its coding is broken, or it is longer than {DOCUMENT_BYTES >> 20} MiB")
    return bytes(document)
