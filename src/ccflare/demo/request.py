"""One request as the simulated upstream received it."""

from dataclasses import dataclass, field

from ccflare.demo.accounts import SimulatedAccount


@dataclass(slots=True)
class Request:
    """A request whose head has arrived; `body` is filled in when all of it is there."""

    method: str
    target: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    """In wire order, spelling kept."""
    fields: dict[bytes, bytes]
    """First value of each field by lower-case name."""
    repeated: list[bytes]
    """Lower-case names that came more than once."""
    version: str = "1.1"
    keep_alive: bool = True
    body: bytes = b""
    holder: SimulatedAccount | None = None
    """The account whose concurrency the request takes up."""
    chunks: list[bytes] = field(default_factory=list)
    """Pieces of the body while it arrives."""
    received: int = 0
