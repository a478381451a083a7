"""The upstream client: requests to origins over kept connections."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from ccflare.addresses import Place, Reach, trouble
from ccflare.errors import TransportError
from ccflare.transport.connection import Connection
from ccflare.transport.egress import Egress, Route, system_tls
from ccflare.transport.http1 import WHOLE, protocol_error, serialize_head
from ccflare.transport.pool import IdlePool
from ccflare.transport.proxies import ProxyRules
from ccflare.transport.resolver import Lookup, Resolver
from ccflare.transport.response import Response
from ccflare.wire import BaseUrl, Origin, OutgoingRequest

KEEP_IDLE_S = 55.0
"""Common servers and balancers close idle connections after 60 or 75 s: closing first avoids most races."""
IDLE_PER_ROUTE = 128
IDLE_TOTAL = 512
_ROUTES = 1024
LOOK_UP_S = 2.0
"""How long it is waited for a name that somebody writes."""

DIRECT = ProxyRules()
"""No outgoing proxy for anything."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Waits that are the same for every exchange, in seconds."""

    connect_s: float = 10.0
    """Name, TCP, proxy and TLS together."""
    idle_s: float = 330.0
    """Between two reads of an answer. It stands still while the reader is behind."""


class Transport:
    """Sends requests and hands out answers; keeps connections for the next ones.

    It belongs to the event loop of its first `open`. `proxies` decides which origins are reached through an
    outgoing proxy, `tls` makes the TLS context when the first one is needed, `lookup` replaces the system's
    resolver, `reach` says which addresses besides public ones are connected.
    """

    def __init__(
        self,
        *,
        deadlines: Deadlines = Deadlines(),
        proxies: ProxyRules = DIRECT,
        tls: Callable[[], ssl.SSLContext] | None = None,
        lookup: Lookup | None = None,
        reach: Reach = "loopback",
        keep_idle_s: float = KEEP_IDLE_S,
    ) -> None:
        self.deadlines = deadlines
        """May be replaced at any time: the next exchange goes by it, on kept connections too."""
        self.proxies = proxies
        self._egress = Egress(Resolver(lookup), tls or system_tls, reach)
        self._pool: IdlePool[Route, Connection] = IdlePool(
            idle_s=keep_idle_s, per_route=IDLE_PER_ROUTE, total=IDLE_TOTAL
        )
        self._routes: dict[Origin, Route] = {}
        self._connections: set[Connection] = set()
        self._connecting: set[asyncio.Task[Connection]] = set()
        self._sending: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def reach(self) -> Reach:
        """Which addresses besides public ones are connected: asked for every new connection."""
        return self._egress.reach

    @reach.setter
    def reach(self, reach: Reach) -> None:
        if reach != self._egress.reach:
            self._egress.reach = reach
            for connection in self._pool.clear():  # what is idle may lead where nothing leads now
                connection.abort()

    def stay_away_from(self, own: frozenset[tuple[str, int]]) -> None:
        """Connect none of the addresses and ports at which this server listens: a request would come back for ever."""
        self._egress.own = own

    async def refusal(self, place: Place, reach: Reach) -> str | None:
        """Say why an address may not be connected, also by where its name leads now; None: it may, or nobody knows.

        What counts is what is found when it is connected: this is for the person who writes the address.
        """
        if reason := trouble(place, reach):
            return reason
        origin = Origin(place.scheme, place.host, place.port)
        if self.proxies.proxy_for(origin) is not None:
            return None
        try:
            async with asyncio.timeout(LOOK_UP_S):
                return await self._egress.refusal(origin, reach)
        except (TimeoutError, TransportError):
            return None

    @property
    def connections_open(self) -> int:
        """Connections that are established: idle and in use."""
        return len(self._connections)

    @property
    def connections_idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._pool)

    @property
    def connections_in_use(self) -> int:
        """Connections that carry an exchange."""
        return len(self._connections) - len(self._pool)

    async def open(
        self,
        origin: Origin,
        request: OutgoingRequest,
        *,
        first_byte_s: float,
        exchange_s: float,
        once: bool = False,
    ) -> Response:
        """Send a request; return when the head of the final answer is in.

        Both deadlines are seconds from now: the answer's head must be in after `first_byte_s`, connecting and
        uploading included, and its last byte after `exchange_s`. Raises TransportError (`connect_error`,
        `refused_address`, `connect_timeout`, `first_byte_timeout`, `exchange_timeout`, `protocol_error`,
        `broken`), or whatever an iterated body raises. A request whose kept connection turns out to be dead,
        before any byte of an answer, is repeated once on a new one when its body can be. `once`: it goes over a
        new connection at once, so that nothing is ever sent twice (RFC 9110 §9.2.2).
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        first_byte_at, exchange_at = now + first_byte_s, now + exchange_s
        route = self._routes.get(origin) or self._new_route(origin)
        head = self._serialized(route, request)
        connection = None if once else self._kept(route, now)
        if connection is not None:
            try:
                return await self._exchange(connection, request, head, first_byte_at, exchange_at)
            except TransportError as error:
                if error.kind != "broken" or connection.answered or self._closed or not _repeatable(request):
                    raise
        connection = await self._connected(route, first_byte_at, exchange_at)
        return await self._exchange(connection, request, head, first_byte_at, exchange_at)

    async def aclose(self) -> None:
        """Close every connection, also those that carry an exchange (it ends `broken`) or are being made."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for task in self._connecting:
            task.cancel()
        for connection in list(self._connections):
            connection.abort()
        if unfinished := {*self._connecting, *self._sending}:
            await asyncio.wait(unfinished)
        await self._egress.aclose()

    # The connections' side (`connection.Owner`).

    def released(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        loop = connection.loop
        now = loop.time()
        for surplus in self._pool.put(connection.route, connection, now):
            surplus.abort()
        if self._reaper is None and not self._closed:
            self._reaper = loop.call_at(self._pool.next_expiry() or now, self._reap)

    def lost(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self._pool.remove(connection)
        self._connections.discard(connection)

    # Inside.

    def _new_route(self, origin: Origin) -> Route:
        if len(self._routes) >= _ROUTES:
            self._routes.clear()  # accounts name a handful of origins; the bound only guards against a leak
        route = self._routes[origin] = Route(origin, self.proxies.proxy_for(origin))
        return route

    def _serialized(self, route: Route, request: OutgoingRequest) -> bytes:
        if self._closed:
            raise TransportError("broken", "the transport is closed")
        body = request.body
        length = request.body_length
        if length is not None and isinstance(body, WHOLE) and len(body) != length:
            raise protocol_error("the request body is not as long as announced")
        if route.proxy is None:
            return serialize_head(request, route.origin)
        return serialize_head(request, route.origin, absolute=route.absolute, extra=route.proxy_fields)

    def _kept(self, route: Route, now: float) -> Connection | None:
        while (connection := self._pool.take(route, now)) is not None:
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def _exchange(
        self,
        connection: Connection,
        request: OutgoingRequest,
        head: bytes,
        first_byte_at: float,
        exchange_at: float,
    ) -> Response:
        body = request.body
        whole = body if isinstance(body, WHOLE) else None
        connection.idle_s = self.deadlines.idle_s
        answer = connection.send(request.method, head, whole, first_byte_at=first_byte_at, exchange_at=exchange_at)
        try:
            if isinstance(body, WHOLE):
                return await answer
            return await self._uploading(connection, body, request.body_length, answer)
        except BaseException:
            connection.abort()
            if not (answer.cancel() or answer.cancelled()):
                answer.exception()  # now it was seen: it may have come in the turn in which we were cancelled
            raise

    async def _uploading(
        self, connection: Connection, body: AsyncIterator[bytes], length: int | None, answer: asyncio.Future[Response]
    ) -> Response:
        """Send a body in pieces while waiting for the answer, and on while that comes if it has not refused the body.

        Otherwise the iterator is not used any more afterwards.
        """
        sending = connection.loop.create_task(connection.send_pieces(body, length))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        try:
            response = await answer
        except BaseException:
            sending.cancel()
            await asyncio.wait((sending,))
            raise
        if not connection.uploading:
            await asyncio.wait((sending,))
        return response

    async def _connected(self, route: Route, first_byte_at: float, exchange_at: float) -> Connection:
        loop = asyncio.get_running_loop()
        at, kind = min(
            (loop.time() + self.deadlines.connect_s, "connect_timeout"),
            (first_byte_at, "first_byte_timeout"),
            (exchange_at, "exchange_timeout"),
        )
        task = loop.create_task(self._connect(route, at))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().abort()
            if task.cancelled() and self._closed:
                raise TransportError("broken", "the transport is closed") from None
            raise
        except TimeoutError:
            origin = route.origin
            raise TransportError(kind, f"no connection to {origin.host}:{origin.port} in time") from None

    async def _connect(self, route: Route, at: float) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self, route)
        async with asyncio.timeout_at(at):
            await self._egress.connect(route, connection)
        if connection.closed:
            raise TransportError("connect_error", "the connection was closed as soon as it was made")
        self._connections.add(connection)
        return connection

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        self._reaper = None
        for connection in self._pool.expire(loop.time()):
            connection.abort()
        if (expiry := self._pool.next_expiry()) is not None:
            self._reaper = loop.call_at(expiry, self._reap)


def address_of(url: str) -> BaseUrl:
    """Read an upstream's address, which may be older than the rules it must follow now.

    Raises TransportError (`refused_address`).
    """
    try:
        return BaseUrl.parse(url)
    except ValueError as error:
        raise TransportError("refused_address", str(error)) from None


def _repeatable(request: OutgoingRequest) -> bool:
    return isinstance(request.body, WHOLE)
