"""Who may come in: the checks that keep web pages away from a server on the user's own machine.

A page that the user visits can make the browser send requests to loopback addresses. It cannot choose the `Host`
and `Origin` fields: a `Host` that is a name nobody configured betrays DNS rebinding, a foreign `Origin` a forged
request. Programs send no `Origin` at all.
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

Refusal: TypeAlias = tuple[int, str]
"""Status, and a sentence for who is refused."""

_READING = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_KNOWN_HOSTS = 64
"""Spellings of our own names that are remembered, so that their parts are looked at only once."""


class Asking(Protocol):
    """The parts of a request's head that are looked at; see `wire.Inbound`."""

    @property
    def method(self) -> bytes:
        """In upper case, as sent."""
        ...

    @property
    def target(self) -> bytes:
        """As sent: the raw path decides what is proxied."""
        ...

    @property
    def http_version(self) -> str:
        """`1.1` or `1.0`."""
        ...

    @property
    def fields(self) -> dict[bytes, bytes]:
        """By lower-case name."""
        ...

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All of them, repeated ones too."""
        ...


class Gate:
    """Decides by the head of a request whether it is let in.

    `owned` says of a method and a target whether there is such a call, so that one that there is not is not told
    what it would need. It decides only how a call is refused, never whether.
    """

    def __init__(
        self, host_names: Iterable[str] = (), owned: Callable[[bytes, bytes], bool] = lambda _method, _target: True
    ) -> None:
        self._names = frozenset({b"localhost", *(name.lower().encode() for name in host_names)})
        self._known: set[bytes] = set()
        self._owned = owned

    def refusal(self, request: Asking) -> Refusal | None:
        """Return why a request is refused, or None."""
        fields = request.fields
        refusal = self._foreign(request, fields.get(b"host"))
        if refusal is not None:
            return refusal
        if request.target.startswith(b"/v1/"):
            return _other_site(fields)
        if request.target.startswith(b"/api/"):
            refusal = _other_site(fields) or _not_json(request)
            if refusal is not None and refusal[0] != 403 and not self._owned(request.method, request.target):
                return 404, "Not Found"
            return refusal
        return None

    def _foreign(self, request: Asking, host: bytes | None) -> Refusal | None:
        """Return why `Host` and `Origin` are not what they are when a program of ours asks."""
        fields = request.fields
        if host is None:
            if request.http_version != "1.0" or b"origin" in fields:  # no browser speaks 1.0; health checks do
                return 400, "A request needs exactly one Host header"
            return None
        if len(fields) != len(request.headers) and max(_count(request, b"host"), _count(request, b"origin")) > 1:
            return 400, "A request needs exactly one Host header and at most one Origin"
        if host not in self._known and not self._is_ours(host):
            return 403, "This Host is not served here; `allowed_hosts` names the ones that are"
        if b"origin" in fields and fields[b"origin"].partition(b"://")[2].lower() != host.lower():
            return 403, "Requests from other web origins are refused"
        return None

    def _is_ours(self, host: bytes) -> bool:
        name, port = host.lower(), b""
        if not name.endswith(b"]") and b":" in name:
            name, _, port = name.rpartition(b":")
        ours = name in self._names or name.endswith(b".localhost") or _is_address(name)
        if not ours or (port and not port.isdigit()):
            return False
        if len(self._known) < _KNOWN_HOSTS:
            self._known.add(host)
        return True


def _other_site(fields: dict[bytes, bytes]) -> Refusal | None:
    """Return why a browser that says that another site made it ask is refused."""
    if fields.get(b"sec-fetch-site", b"none") in {b"none", b"same-origin"}:
        return None
    return 403, "Requests from other web sites are refused"


def _not_json(request: Asking) -> Refusal | None:
    """Return why a call that may change something is refused: no form on a web page can say that it is JSON."""
    if request.method in _READING:
        return None
    if len(request.fields) != len(request.headers) and _count(request, b"content-type") > 1:
        return 400, "A request needs at most one Content-Type"
    if not _is_json(request.fields.get(b"content-type", b"")):
        return 415, "This call needs `Content-Type: application/json`"
    return None


def _is_address(name: bytes) -> bool:
    """Tell whether a host is an IP address (version 6 in brackets): those cannot be rebound."""
    try:
        if name.startswith(b"[") and name.endswith(b"]"):
            ipaddress.IPv6Address(name[1:-1].decode("ascii"))
        else:
            ipaddress.IPv4Address(name.decode("ascii"))
    except ValueError:
        return False
    return True


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def _count(request: Asking, name: bytes) -> int:
    return sum(key.lower() == name for key, _ in request.headers)
