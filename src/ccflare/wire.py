"""HTTP as values: header lists, targets, origins, and the seam between a client's connection and an exchange.

Header names keep the spelling they arrived with; comparisons are made in lower case. Nothing here does I/O.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from ccflare.addresses import read_url

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Name and value pairs in wire order; repeated names are repeated pairs."""

Body: TypeAlias = bytes | bytearray | AsyncIterator[bytes]
"""A whole request body, or the pieces of one that is too large to keep. Pieces can be sent only once."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that concern one connection only (RFC 9110 §7.6.1, and two that proxies in the field add)."""


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of a field, or None. `name` is in lower case."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def connection_tokens(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the lower-case names that `Connection` fields declare to be hop-by-hop as well."""
    tokens = [value.lower().split(b",") for key, value in headers if key.lower() == b"connection"]
    return frozenset(token.strip() for part in tokens for token in part)


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return fields as they stand in a head: `name: value` and CR LF for each."""
    return b"\r\n".join([*map(b": ".join, headers), b""])


def pairs_of(lines: bytes) -> Headers:
    """Return the fields that stand in such lines."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.split(b"\r\n")[:-1])]


class Origin(msgspec.Struct, frozen=True):
    """Where connections go: scheme `http` or `https`, host without brackets, port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """The value of the `Host` field: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return (host if self.port == default else f"{host}:{self.port}").encode("ascii")


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """An upstream's address: an origin and a path prefix without a trailing slash (usually empty)."""

    origin: Origin
    prefix: bytes

    @classmethod
    def parse(cls, url: str) -> "BaseUrl":
        """Read `http(s)://host[:port][/prefix]`. Raises ValueError with a sentence for the operator."""
        place = read_url(url)
        return cls(Origin(place.scheme, place.host, place.port), place.path.rstrip("/").encode("ascii"))


class Serialized:
    """What the transport has made of a request's head, for the next request with the same method and headers."""

    __slots__ = ("length_given", "lines", "origin", "target")

    def __init__(self) -> None:
        self.origin: Origin | None = None
        """Where it goes; None: nothing was made yet."""
        self.target = self.lines = b""
        """The request line's target, and everything in front of the framing."""
        self.length_given = False
        """The caller's fields have a `Content-Length`."""


class HeadMemory:
    """What was worked out from the head of a client's request alone, for the next ones with the same head.

    It goes with the client's connection. Who keeps something in it bounds it.
    """

    __slots__ = ("asked", "outgoing", "redacted")

    def __init__(self) -> None:
        self.asked: Asked | None = None
        """What is asked for; belongs to the event loop, as what follows."""
        self.outgoing: dict[str, Outgoing] = {}
        """Fields to send, by the account's id."""
        self.redacted: dict[object, Any] = {}
        """What may be kept of it; belongs to whoever redacts, in a thread of its own."""


class Asked(NamedTuple):
    """What a request's line and fields say."""

    method: str
    path: bytes
    """As received, without the query."""
    shown_path: str
    """As it is recorded: without credentials."""
    session_id: str | None
    """What the client calls the conversation, where a field says so."""


class Outgoing(NamedTuple):
    """The fields that go upstream for an account."""

    credential: object
    """What it was made with: another one needs other fields."""
    headers: Headers
    changed: bool
    """Something else than credentials is not as the client sent it."""
    serialized: Serialized


class OutgoingRequest(msgspec.Struct):
    """What goes upstream. The transport adds `Host` and the framing; everything else is here."""

    method: bytes
    target: bytes
    """Origin-form: path and query exactly as the client wrote them, behind the base URL's prefix."""
    headers: Headers
    body: Body
    body_length: int | None
    """Length in bytes; None when the body comes in pieces of unknown total length (sent chunked)."""
    serialized: Serialized | None = None
    """Where the transport may find, and keep, the head of the same method and headers."""


class Sink(Protocol):
    """Takes the bytes of an answer as they arrive."""

    def write(self, data: bytes) -> bool:
        """Take some bytes. False asks the source to pause until its `resume` is called."""
        ...


class ByteBudget:
    """How many bytes may be held at once, all holders together."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """May be changed at any time; what is held already stays."""
        self.held = 0

    def take(self, size: int) -> bool:
        """Count bytes as held; False, and nothing counted, when that were too many."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """Count bytes as not held any more."""
        self.held -= size


class Inbound(Protocol):
    """One client request and the way to answer it. Exactly one of `finish` and `abort` ends an answer.

    When the client goes away first, `gone` becomes true and the task that serves the request is cancelled.
    """

    method: bytes
    target: bytes
    """The request target exactly as received."""
    headers: Headers
    fields: dict[bytes, bytes]
    """The same headers by lower-case name; of a repeated one the last value."""
    memory: HeadMemory
    """Shared by requests whose heads are the same but for the body's length."""
    client: str
    """The peer's address without the port."""
    http_version: str
    length: int | None
    """What `Content-Length` says of the body; None when it is not said."""
    gone: bool

    async def read_body(self, limit: int, budget: ByteBudget | None = None) -> bytes | bytearray | None:
        """Return the whole body; None when it is longer than `limit` bytes or `budget` has no more: then read `pieces`.

        What is taken of the budget is given back by `release_body`, and at the latest with the end of the answer.
        """
        ...

    def release_body(self) -> None:
        """Say that the body is not held any more."""
        ...

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the whole body piece by piece, beginning with what `read_body` has kept. Works once."""
        ...

    def start(self, status: int, reason: bytes, lines: bytes, length: int | None) -> None:
        """Begin the answer. `lines` are end-to-end fields (`lines_of`), no framing; `length` None: not known yet."""
        ...

    def flush(self) -> None:
        """Send the head of the answer now: it waits for the first bytes of the body."""
        ...

    def write(self, data: bytes) -> bool:
        """Send body bytes. False: the client reads slowly; wait for `on_drain`."""
        ...

    def on_drain(self, resume: Callable[[], None]) -> None:
        """Have `resume` called whenever the client has caught up after `write` said False."""
        ...

    def finish(self) -> None:
        """End the answer cleanly."""
        ...

    def abort(self, *, reset: bool = False) -> None:
        """Break the answer off so that the client cannot take it for a whole one."""
        ...
