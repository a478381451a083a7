"""What a supervisor tells one worker, and a worker its supervisor."""

from typing import Any, TypeAlias

import msgspec


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first frame: what a worker is to serve with."""

    number: int
    workers: int
    listening: list[int]
    """Descriptors of the sockets to accept from."""
    flags: dict[str, Any]
    """What the command line said, by the settings' names."""
    started_at: float
    """Monotonic second of the whole server's start."""


class End(msgspec.Struct, frozen=True, tag=True):
    """Stop: gently, or `at_once`. `replaced`: another worker goes on, so no client need notice and no time presses."""

    at_once: bool = False
    replaced: bool = False


class Reread(msgspec.Struct, frozen=True, tag=True):
    """Look at the settings now."""


class Role(msgspec.Struct, frozen=True, tag=True):
    """Whether this worker does what only one has to do, and how many there are to be."""

    leads: bool
    workers: int


class Came(msgspec.Struct, frozen=True, tag=True):
    """Another worker serves from now on."""

    number: int


class Left(msgspec.Struct, frozen=True, tag=True):
    """Another worker has ended."""

    number: int


class Asked(msgspec.Struct, frozen=True, tag=True):
    """How many were asked the question with this ticket."""

    count: int


class Agreed(msgspec.Struct, frozen=True, tag=True):
    """The value that a claim with this ticket has come to."""

    value: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A worker serves."""


class Ending(msgspec.Struct, frozen=True, tag=True):
    """A worker accepts nothing more: it was told to by somebody else than its supervisor."""


class Claim(msgspec.Struct, frozen=True, tag=True):
    """See `Colleagues.claim`."""

    key: str
    value: str
    instead_of: str


class Reclaim(msgspec.Struct, frozen=True, tag=True):
    """See `Colleagues.reclaim`."""

    key: str
    value: str


class Release(msgspec.Struct, frozen=True, tag=True):
    """See `Colleagues.release`."""

    key: str


ToWorker: TypeAlias = Begin | End | Reread | Role | Came | Left | Asked | Agreed
ToSupervisor: TypeAlias = Ready | Ending | Claim | Reclaim | Release

encode = msgspec.msgpack.Encoder().encode
to_worker = msgspec.msgpack.Decoder(ToWorker).decode
to_supervisor = msgspec.msgpack.Decoder(ToSupervisor).decode
