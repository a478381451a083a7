"""Making connections: addresses, TLS, and the way through an outgoing proxy.

Two rules. A connection that is not finished belongs to the coroutine that makes it: whatever ends that early,
cancellation included, closes the socket at once. And only an address that was checked is connected, at the moment at
which it is (`addresses`): through an outgoing proxy, which is the operator's and looks names up itself, that is only
what the URL says.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ccflare.addresses import Place, Reach, peer_trouble, trouble
from ccflare.errors import TransportError
from ccflare.transport.dial import dial
from ccflare.transport.proxies import Proxy
from ccflare.transport.resolver import Address, Resolver
from ccflare.transport.tunnel import Tunnel
from ccflare.wire import Headers, Origin

HANDSHAKE_S = 60.0
"""A bound on one TLS handshake for the event loop; the connect deadline normally comes first."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """How requests for an origin travel. Routes are compared by identity: one exists per origin."""

    origin: Origin
    proxy: Proxy | None

    @property
    def absolute(self) -> bool:
        """Whether requests go to a plain proxy, which wants the absolute-form."""
        return self.proxy is not None and self.origin.scheme == "http"

    @property
    def proxy_fields(self) -> Headers:
        """The fields each request carries for a plain proxy."""
        if self.proxy is None or self.proxy.authorization is None or not self.absolute:
            return []
        return [(b"Proxy-Authorization", self.proxy.authorization)]


def system_tls() -> ssl.SSLContext:
    """Return a context with the system's trust, which `SSL_CERT_FILE` and `SSL_CERT_DIR` replace."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Egress:
    """Makes connections. The TLS context is made once, in a thread (reading the trust store takes 30 ms)."""

    def __init__(self, resolver: Resolver, tls: Callable[[], ssl.SSLContext], reach: Reach) -> None:
        self.reach: Reach = reach
        self.own: frozenset[tuple[str, int]] = frozenset()
        """Addresses and ports at which this very server listens."""
        self._resolver = resolver
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._making_tls = asyncio.Lock()

    async def connect(self, route: Route, protocol: asyncio.Protocol) -> None:
        """Connect `protocol` along a route. Raises TransportError (`connect_error`, `refused_address`)."""
        hop = route.proxy.address if route.proxy else route.origin
        origin = route.origin
        if reason := trouble(Place(origin.scheme, origin.host, origin.port, ""), self.reach):
            raise _refused(origin, reason)
        try:
            connected = await self._connected(hop, checked=route.proxy is None)
            if hop.scheme == "http" and (route.proxy is None or route.absolute):
                await _attach(protocol, connected)
            else:
                await self._secured(route, protocol, connected)
        except ssl.SSLError as error:
            raise _error(route, hop, f"TLS failed: {_tls_reason(error)}") from error
        except OSError as error:
            raise _error(route, hop, error.strerror or str(error) or type(error).__name__) from error
        except ValueError as error:  # a host that TLS cannot carry as a server name
            raise _error(route, hop, str(error)) from error

    async def refusal(self, origin: Origin, reach: Reach) -> str | None:
        """Say why none of the addresses that a name leads to may be connected; None: one may. Raises TransportError."""
        reasons = _reasons(origin, await self._resolver.resolve(origin.host, origin.port), reach)
        return None if None in reasons else reasons[0]

    async def aclose(self) -> None:
        """End what runs in the background."""
        await self._resolver.aclose()

    async def _connected(self, hop: Origin, *, checked: bool) -> socket.socket:
        addresses = await self._resolver.resolve(hop.host, hop.port)
        if checked:
            addresses = self._permitted(hop, addresses)
        try:
            connected = await dial(addresses)
        except OSError:
            self._resolver.doubt(hop.host, hop.port)
            raise
        if checked and self.own and _leads_back(connected, self.own):
            connected.close()
            raise _refused(hop, "it is this server itself, and a request would come back to it for ever")
        return connected

    def _permitted(self, origin: Origin, addresses: Sequence[Address]) -> Sequence[Address]:
        """Return the addresses that may be connected. Raises TransportError when none may."""
        reasons = _reasons(origin, addresses, self.reach)
        permitted = [address for address, reason in zip(addresses, reasons, strict=True) if reason is None]
        if not permitted:
            self._resolver.doubt(origin.host, origin.port)
            raise _refused(origin, next(filter(None, reasons)))
        return permitted

    async def _secured(self, route: Route, protocol: asyncio.Protocol, connected: socket.socket) -> None:
        tunnel = Tunnel()
        await _attach(tunnel, connected)
        try:
            proxy = route.proxy
            if proxy is not None and proxy.address.scheme == "https":
                tunnel.connection_made(await self._handshake(tunnel.transport, tunnel, proxy.address.host))
            if proxy is not None and not route.absolute:
                await tunnel.open(route.origin, proxy.authorization)
            if route.absolute:
                tunnel.transport.set_protocol(protocol)
                protocol.connection_made(tunnel.transport)
            else:
                protocol.connection_made(await self._handshake(tunnel.transport, protocol, route.origin.host))
        except BaseException:
            tunnel.transport.abort()
            raise

    async def _handshake(
        self, transport: asyncio.Transport, protocol: asyncio.Protocol, host: str
    ) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        secured = await loop.start_tls(
            transport, protocol, await self._context(), server_hostname=host, ssl_handshake_timeout=HANDSHAKE_S
        )
        if secured is None:
            raise ConnectionResetError("the connection was closed during the TLS handshake")
        return secured

    async def _context(self) -> ssl.SSLContext:
        async with self._making_tls:
            if self._tls is None:
                self._tls = await asyncio.get_running_loop().run_in_executor(None, self._make_tls)
            return self._tls


def _leads_back(connected: socket.socket, own: frozenset[tuple[str, int]]) -> bool:
    """Say whether the other end is this server: at the address it listens at, or at any one of this machine."""
    here = str(connected.getsockname()[0]).removeprefix("::ffff:")
    try:
        there, port = connected.getpeername()[:2]
    except OSError:  # it has left again
        return False
    there = str(there).removeprefix("::ffff:")
    if (there, port) in own:
        return True
    return (here == there or there.startswith("127.")) and not own.isdisjoint({("0.0.0.0", port), ("::", port)})


async def _attach(protocol: asyncio.Protocol, connected: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: protocol, sock=connected)
    except BaseException:
        connected.close()
        raise


def _error(route: Route, hop: Origin, reason: str) -> TransportError:
    what = "proxy" if route.proxy is not None else "upstream"
    return TransportError("connect_error", f"cannot connect to {what} {hop.host}:{hop.port}: {reason}")


def _reasons(origin: Origin, addresses: Sequence[Address], reach: Reach) -> list[str | None]:
    return [peer_trouble(origin.scheme, origin.host, str(peer[0]), reach) for _, peer in addresses]


def _refused(origin: Origin, reason: str) -> TransportError:
    return TransportError("refused_address", f"will not connect to upstream {origin.host}:{origin.port}: {reason}")


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    return error.reason or str(error)
