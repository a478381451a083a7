"""Where ccflare may connect to: the addresses of upstreams, checked as they are written and as they are connected.

An account's address decides who is sent its key and whose answers clients see. Whoever may add an account from
afar, or have a file imported, must not reach with it what only this machine reaches: services on loopback, a private
network, the metadata service of a cloud (server-side request forgery). So a URL is checked when it is written, and the
address that a name led to when it is connected: what a name leads to may change between the two (DNS rebinding).

    class        what it is                                      is connected
    public       the rest                                        with https only: a key never travels in plain text
    loopback     this machine                                    unless `none`; by a name that is not `localhost`: `all`
    private      private networks, carriers' and overlays' ones  `all`
    never        link-local, metadata, multicast, unspecified,   never
                 reserved, and detours to any of these or to one of the two above
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

Reach = Literal["none", "loopback", "all"]
"""How far beyond the public internet connections may go; see the table above."""
Class = Literal["public", "loopback", "private", "never"]

OTHER_PROTOCOLS: Final = frozenset(
    {7, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95}
    | {101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389}
    | {427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990}
    | {993, 995, 1719, 1720, 1723, 2049, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 6000, 6379, 6566}
    | {6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211, 27017}
)
"""Ports whose services act on what they are sent: those that browsers refuse (Fetch §2.9), and common databases."""

_HOST = re.compile(r"(?!.*\.\.)[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?\.?", re.ASCII)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(:[0-9]*)?", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.ASCII)

_LOOPBACK: Final = IPv4Network("127.0.0.0/8")
_PRIVATE_4: Final = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
_NEVER_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network, and the unspecified address, which systems take for loopback
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "100.100.100.200/32",  # metadata (Alibaba)
        "168.63.129.16/32",  # metadata and control of the host (Azure)
        "192.0.0.0/24",  # protocol assignments; metadata (Oracle)
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4", "240.0.0.0/4",  # multicast; reserved and broadcast
    )
)  # fmt: skip
# 198.18.0.0/15 stays public: tools that steer all traffic answer every name with an address of it, and TLS, without
# which nothing public is connected, tells whether what stands behind it is who was asked for.
_UNICAST: Final = IPv6Network("2000::/3")
_UNIQUE_LOCAL: Final = IPv6Network("fc00::/7")
_NEVER_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "fd00:ec2::254/128", "fd20:ce::254/128", "fd00:42::42/128", "fd00:c1::a9fe:a9fe/128",  # metadata
        "2001::/32",  # Teredo: an IPv4 address and a port hide in it
        "2001:db8::/32", "3fff::/20",  # documentation
        "2001:10::/28",  # ORCHID, which is not routed
    )
)  # fmt: skip
_NAT64: Final = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")


class Place(NamedTuple):
    """The parts of a URL that say where it is."""

    scheme: str
    host: str
    """In lower case, without brackets."""
    port: int
    path: str


def read_url(url: str) -> Place:
    """Read `http(s)://host[:port][/path]`. Raises ValueError with a sentence for who has written it."""
    shown = "it" if "@" in url else repr(url)  # a password is in no message
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError(f"{shown} has characters that a URL cannot have")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{shown} is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{shown} must look like https://host[:port][/path]")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError("a base URL has no user name, query or fragment")
    if not _AUTHORITY.fullmatch(parts.netloc) or not _is_host(parts.hostname):
        raise ValueError(f"{shown} names no host")
    if port == 0 or port in OTHER_PROTOCOLS:
        raise ValueError(f"{shown} has a port that is not for HTTP")
    return Place(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), parts.path)


def _is_host(host: str) -> bool:
    """Tell whether a host is a name or an address in its usual spelling.

    What ends in a number and is no address in four parts would be read as one all the same by the system:
    `127.1`, `0x7f000001`, `2130706433`.
    """
    if ":" in host:
        return class_of(host) is not None
    if not _HOST.fullmatch(host):
        return False
    return not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) or class_of(host) is not None


def class_of(host: str) -> Class | None:
    """Return what is known of a host by the way it is written; None for a name that has to be looked up."""
    bare = host.lower().rstrip(".")
    if bare == "localhost" or bare.endswith(".localhost"):
        return "loopback"
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return _class_4(address) if isinstance(address, IPv4Address) else _class_6(address)


def _class_4(address: IPv4Address) -> Class:
    if address in _LOOPBACK:
        return "loopback"
    if any(address in network for network in _NEVER_4):
        return "never"
    return "private" if any(address in network for network in _PRIVATE_4) else "public"


def _class_6(address: IPv6Address) -> Class:
    if address == IPv6Address("::1"):
        return "loopback"
    if address.ipv4_mapped is not None:  # the system connects to the IPv4 address
        return _class_4(address.ipv4_mapped)
    if any(address in network for network in _NEVER_6):
        return "never"
    if address in _UNIQUE_LOCAL:
        return "private"
    inner = int(address) >> 80 if address in _SIX_TO_FOUR else int(address) if address in _NAT64 else None
    if inner is not None:  # a gateway goes on to the IPv4 address: only a public one has a reason to be reached so
        return "public" if _class_4(IPv4Address(inner & 0xFFFFFFFF)) == "public" else "never"
    return "public" if address in _UNICAST else "never"


def trouble(place: Place, reach: Reach) -> str | None:
    """Say why a URL may not be connected, as far as it can be said before its name is looked up; None: it may."""
    kind = class_of(place.host)
    if kind is None:
        return None if place.scheme == "https" or reach == "all" else _PLAIN
    return _refused(place.scheme, kind, reach)


def url_trouble(url: str, reach: Reach) -> str | None:
    """The same of what may be no URL of an upstream at all."""
    try:
        return trouble(read_url(url), reach)
    except ValueError as error:
        return str(error)


def peer_trouble(scheme: str, host: str, address: str, reach: Reach) -> str | None:
    """Say why an address that a host led to may not be connected; None: it may."""
    kind = class_of(address)
    if kind is None:
        return _NEVER
    if kind == "loopback" and class_of(host) != "loopback" and reach != "all":
        return _LOOPBACK_BY_NAME
    return _refused(scheme, kind, reach)


def foreign_reach(reach: Reach) -> Reach:
    """Return how far what was written elsewhere may reach: this machine is not meant unless everything is."""
    return reach if reach == "all" else "none"


_PLAIN: Final = (
    "http would send the key in plain text: use https (http is for addresses that `private_upstreams` allows)"
)
_NEVER: Final = "it is a link-local, metadata, multicast or reserved address, which no upstream has"
_LOOPBACK_BY_NAME: Final = "its name leads to this machine itself; write localhost, or set `private_upstreams` to all"
_REFUSED: Final = {
    "loopback": "it is this machine itself, which `private_upstreams` does not allow here",
    "private": "it is in a private network; set `private_upstreams` to all to allow that",
    "never": _NEVER,
}


def _refused(scheme: str, kind: Class, reach: Reach) -> str | None:
    if kind == "public":
        return None if scheme == "https" else _PLAIN
    allowed = kind != "never" and (reach == "all" or (reach == "loopback" and kind == "loopback"))
    return None if allowed else _REFUSED[kind]
