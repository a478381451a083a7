"""Payloads made small: each is compressed against an earlier one of its session, and comes back byte for byte.

Each turn of a conversation repeats everything before it. Of 40 turns that grow to 78 KB zstd alone makes a third, and
a small percentage with the turn before as its prefix, in less time (2026-11). A chain of them is bounded in length,
so that a payload is read with a few dozen decompressions at most.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import zstandard

from ccflare.errors import StoreError
from ccflare.payload import MAX_BODY_BYTES, Content, Payload

LEVEL: Final = 3
LONGEST_CHAIN: Final = 32
"""How many payloads may have to be unpacked before one."""
GROUP_MS: Final = 3_600_000
GROUP_PAYLOADS: Final = 256
REMEMBERED_BYTES: Final = 16 * 1024 * 1024
"""Bodies in memory that others can be compressed against; of more the sessions go that were quiet longest."""

_BRANCHES = 4
"""A session's conversations side by side: its main one and its agents'."""
_BASE_BYTES = 600
"""What a remembered body costs besides its bytes."""
_SAME_BRANCH = 0.3
"""A body that becomes smaller than this share continues the conversation it was compressed against."""
_MAX_HEAD_BYTES = 4 * 1024 * 1024


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Everything of a payload but its bodies, as it is stored. New fields go to the end and have a default."""

    session: str | None
    target: str
    request_headers: tuple[tuple[str, str], ...]
    request_length: int
    status: int | None
    response_headers: tuple[tuple[str, str], ...]
    response_length: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A payload as it is stored. `base`: the payload that has to be unpacked first."""

    id: str
    timestamp_ms: int
    group_id: str
    base: str | None
    head: bytes
    request: bytes | None
    response: bytes | None

    @property
    def size_bytes(self) -> int:
        """What it takes."""
        return len(self.head) + len(self.request or b"") + len(self.response or b"")


@dataclass(frozen=True, slots=True)
class _Base:
    id: str
    depth: int
    head: bytes
    request: bytes


class _Session:
    """The group of a session's payloads that is open, and the bodies that continue in it."""

    __slots__ = ("bases", "group_id", "payloads", "started_ms")

    def __init__(self, first: Payload) -> None:
        self.group_id = first.id
        self.started_ms = first.timestamp_ms
        self.payloads = 0
        self.bases: list[_Base] = []

    def closed(self, now_ms: int) -> bool:
        return self.payloads >= GROUP_PAYLOADS or abs(now_ms - self.started_ms) >= GROUP_MS

    @property
    def size_bytes(self) -> int:
        return sum(_BASE_BYTES + len(base.head) + len(base.request) for base in self.bases)


class Packer:
    """Packs payloads in the order in which they are stored. What it has packed is stored, or `forget` is called."""

    def __init__(self, remembered_bytes: int = REMEMBERED_BYTES) -> None:
        self._remembered_bytes = remembered_bytes
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._bytes = 0
        self._alone = zstandard.ZstdCompressor(level=LEVEL)

    def forget(self) -> None:
        """Begin anew: nothing is compressed against what was packed before."""
        self._sessions.clear()
        self._bytes = 0

    def group_of(self, payload: Payload) -> str | None:
        """Return the open group that a payload would join, None when it would begin one."""
        session = None if payload.session is None else self._sessions.get(payload.session)
        return None if session is None or session.closed(payload.timestamp_ms) else session.group_id

    def pack(self, payload: Payload) -> Packed:
        """Return a payload as it is to be stored."""
        head, request = msgspec.json.encode(_head_of(payload)), payload.request.data
        session = self._open(payload)
        base = _closest(session.bases, request)
        packed = Packed(
            payload.id,
            payload.timestamp_ms,
            session.group_id,
            None if base is None else base.id,
            _compress(head, b"" if base is None else base.head),
            _compress(request, b"" if base is None else base.request) if request else None,
            self._alone.compress(payload.response.data) if payload.response.data else None,
        )
        session.payloads += 1
        if payload.session is not None:
            self._remember(payload.session, session, base, _base_of(packed, base, head, request))
        return packed

    def _open(self, payload: Payload) -> _Session:
        if payload.session is None or self.group_of(payload) is None:
            return _Session(payload)
        return self._sessions[payload.session]

    def _remember(self, key: str, session: _Session, base: _Base | None, new: tuple[_Base, bool]) -> None:
        """Have later payloads of a session compressed against this one."""
        fresh, continues = new
        known = self._sessions.pop(key, None)
        self._bytes -= 0 if known is None else known.size_bytes
        if base is not None and continues:
            session.bases.remove(base)
        if fresh.depth < LONGEST_CHAIN:
            session.bases.append(fresh)
        del session.bases[:-_BRANCHES]
        self._sessions[key] = session
        self._bytes += session.size_bytes
        while self._bytes > self._remembered_bytes:
            self._bytes -= self._sessions.popitem(last=False)[1].size_bytes


def unpack(chain: Sequence[Packed]) -> Payload:
    """Return the last payload of a chain; each one is the base of the next, and the first has none.

    Raises StoreError when it is not what was packed.
    """
    last, head, request = chain[-1], b"", b""
    if [each.base for each in chain] != [None, *(each.id for each in chain[:-1])]:
        raise StoreError("a stored payload is damaged: what it continues is not there")
    try:
        for each in chain:
            head = _decompress(each.head, head, _MAX_HEAD_BYTES)
            request = b"" if each.request is None else _decompress(each.request, request, MAX_BODY_BYTES)
        response = b"" if last.response is None else _decompress(last.response, b"", MAX_BODY_BYTES)
        return _payload_of(last, msgspec.json.decode(head, type=Head), request, response)
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise StoreError(f"a stored payload is damaged: {error}") from error


def _base_of(packed: Packed, base: _Base | None, head: bytes, request: bytes) -> tuple[_Base, bool]:
    """Return a packed payload as a base, and whether it continues the one it was compressed against."""
    depth = 0 if base is None else base.depth + 1
    small = len(packed.request or b"") <= _SAME_BRANCH * len(request)
    return _Base(packed.id, depth, head, request), small


def _closest(bases: list[_Base], request: bytes) -> _Base | None:
    """Return the base that begins most like a body; of equals the latest."""
    return max(reversed(bases), key=lambda base: _common(base.request, request), default=None)


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes two bodies have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _raw(prefix: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _compress(data: bytes, prefix: bytes) -> bytes:
    dictionary = _raw(prefix) if prefix else None
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=dictionary).compress(data)


def _decompress(data: bytes, prefix: bytes, at_most: int) -> bytes:
    if not 0 <= zstandard.frame_content_size(data) <= at_most:
        raise ValueError("its size is not known or too large")
    dictionary = _raw(prefix) if prefix else None
    return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(data)


def _head_of(payload: Payload) -> Head:
    return Head(
        payload.session,
        payload.target,
        payload.request_headers,
        payload.request.length,
        payload.status,
        payload.response_headers,
        payload.response.length,
    )


def _payload_of(packed: Packed, head: Head, request: bytes, response: bytes) -> Payload:
    return Payload(
        id=packed.id,
        timestamp_ms=packed.timestamp_ms,
        session=head.session,
        target=head.target,
        request_headers=head.request_headers,
        request=Content(request, head.request_length),
        status=head.status,
        response_headers=head.response_headers,
        response=Content(response, head.response_length),
    )
