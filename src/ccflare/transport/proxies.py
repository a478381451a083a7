"""Outgoing proxies: which one, if any, a connection to an origin goes through. Values only.

`HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` have no standard; where programs differ, this follows curl.
"""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from ccflare.wire import Origin

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's address, and the value of `Proxy-Authorization` for it (None without credentials)."""

    address: Origin
    authorization: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, variable: str) -> "Proxy":
        """Read `[http(s)://][user:password@]host[:port]`.

        Raises ValueError with a sentence that names the variable and never repeats the URL: it may hold a
        password.
        """
        wrong = f"{variable} must look like http://[user:password@]host[:port] (or https://)"
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError:
            raise ValueError(wrong) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.hostname.isascii():
            raise ValueError(wrong)
        if any(c <= " " or c == "\x7f" for c in parts.hostname):
            raise ValueError(wrong)
        address = Origin(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))
        return cls(address, _basic(parts.username, parts.password, variable))


def _basic(user: str | None, password: str | None, variable: str) -> bytes | None:
    if user is None:
        return None
    name = unquote_to_bytes(user)
    if b":" in name:
        raise ValueError(f"{variable} has a user name with a colon, which basic authentication cannot carry")
    return b"Basic " + base64.b64encode(name + b":" + unquote_to_bytes(password or ""))


@dataclass(frozen=True, slots=True)
class Exemption:
    """One entry of `NO_PROXY`: a host with everything below it, or a network; both on one port or on all."""

    host: str = ""
    network: Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, entry: str) -> "Exemption":
        """Read one entry. What is not understood becomes a host that nothing is called."""
        host, port = entry.lower(), None
        bare, colon, digits = host.rpartition(":")
        if colon and digits.isdecimal() and (":" not in bare or bare.endswith("]")):
            host, port = bare, int(digits)
        host = host.removeprefix("[").removesuffix("]")
        try:
            return cls(network=ipaddress.ip_network(host, strict=False), port=port)
        except ValueError:
            return cls(host=host.removeprefix("*").strip("."), port=port)

    def covers(self, origin: Origin) -> bool:
        """Say whether connections to this origin go direct."""
        if self.port is not None and self.port != origin.port:
            return False
        name = origin.host.lower().rstrip(".")
        if self.network is None:
            return bool(self.host) and (name == self.host or name.endswith("." + self.host))
        try:
            return ipaddress.ip_address(name) in self.network
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """Which proxy serves which origin. The default is none at all."""

    http: Proxy | None = None
    https: Proxy | None = None
    exemptions: tuple[Exemption, ...] = ()
    exempt_all: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "ProxyRules":
        """Read `http_proxy`, `https_proxy` and `no_proxy`, or the same in upper case; lower case wins.

        An empty value means none. Raises ValueError, naming the variable, for a URL that is not a proxy's.
        """
        entries = _value(environ, "no_proxy")[1].replace(",", " ").split()
        return cls(
            http=_proxy(environ, "http_proxy"),
            https=_proxy(environ, "https_proxy"),
            exemptions=tuple(Exemption.parse(entry) for entry in entries if entry != "*"),
            exempt_all="*" in entries,
        )

    def proxy_for(self, origin: Origin) -> Proxy | None:
        """Return the proxy for an origin, or None when the connection goes direct."""
        proxy = self.https if origin.scheme == "https" else self.http
        if proxy is None or self.exempt_all or any(entry.covers(origin) for entry in self.exemptions):
            return None
        return proxy


def _proxy(environ: Mapping[str, str], name: str) -> Proxy | None:
    variable, url = _value(environ, name)
    return Proxy.parse(url, variable) if url else None


def _value(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    variable = name if name in environ else name.upper()
    return variable, environ.get(variable, "").strip()
