"""Payloads made small: a request is told by an earlier one of its session, and all comes back byte for byte.

Each turn of a conversation repeats everything before it. What is new in it, the heads and the answer are compressed
with a dictionary of the phrases that all of them have; payloads that are packed together share a zstd frame, as far as
they share a group. A chain of payloads that tell each other is bounded in length, and so is a frame: one is read with a
few dozen short decompressions at most.

Measured for 4 KB requests (2026-11): a frame for each part, made by a compressor of its own with the base as its
prefix, took 65 us; making those compressors was most of it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

import msgspec
import zstandard

from ccflare.errors import StoreError
from ccflare.payload import MAX_BODY_BYTES, Content, Payload
from ccflare.store import first_packing
from ccflare.store.difference import NOTHING_TOLD, Piece, Told, difference, restored
from ccflare.store.phrases import PHRASES

LEVEL: Final = 3
PACKING: Final = 3
"""How payloads are packed here. The second way was the same with a frame for each; the first is `first_packing`."""
_ALONE = 2
FRAME_BYTES: Final = 128 * 1024
"""What a frame has of several payloads, before it is compressed; a single one may be more."""
LONGEST_CHAIN: Final = 32
"""How many payloads may have to be unpacked before one."""
JOIN_MS: Final = 900_000
JOIN_BYTES: Final = 4 * 1024 * 1024
"""For so long and up to so many bytes, before they are compressed, sessions begin in a group: so a batch of payloads
goes to one place of an index or few, however many sessions it is of."""
GROUP_MS: Final = 3_600_000
GROUP_BYTES: Final = 64 * 1024 * 1024
"""For so long and up to so many bytes they continue there; then they begin anew elsewhere, with a whole body each. More
of both would save little room, and make coarser what retention drops: group by group."""
BUDGET_SHARE: Final = 16
"""A group has at most one of so many parts of what all payloads may take."""
REMEMBERED_BYTES: Final = 32 * 1024 * 1024
"""Bodies in memory that others can be told by; of more the sessions go that were quiet longest."""

_BRANCHES = 4
"""A session's conversations side by side: its main one and its agents'."""
_BASE_BYTES = 600
"""What a remembered body costs besides its bytes."""
_SAME_BRANCH = 0.3
"""A body with a smaller share of new bytes continues the conversation that it is told by."""
_MANY = 8
"""Fewer are compressed one by one: the call for many makes a compressor of its own."""
_MAX_FRAME_BYTES = 4 * 1024 * 1024


class Contents(msgspec.Struct, frozen=True, array_like=True):
    """What a payload is made of, in front of it as a line of JSON; new fields go to the end and have a default.

    Behind it follow the two heads, the new bytes of the request, and the answer.
    """

    session: str | None
    target: str
    request_head_bytes: int
    request_length: int
    pieces: list[Piece]
    status: int | None
    response_head_bytes: int
    response_bytes: int
    response_length: int


class Packed(msgspec.Struct, frozen=True, gc=False):
    """A payload as it is stored. `base`: the payload that has to be unpacked first. `frame_of`: the one that has its
    frame, which is none then, or this one's place in it."""

    id: str
    timestamp_ms: int
    group_id: str
    base: str | None
    frame: bytes
    request: bytes | None = None
    response: bytes | None = None
    """These two are in the frame, but for the first packing."""
    packing: int = PACKING
    frame_of: str | None = None
    place: int = 0


class _Base(msgspec.Struct, frozen=True, gc=False):
    id: str
    depth: int
    request: bytes


class _Group:
    """Payloads that are dropped together: what one tells another by is there as long as the other is."""

    __slots__ = ("id", "size_bytes", "started_ms")

    def __init__(self, first: Payload) -> None:
        self.id = first.id
        self.started_ms = first.timestamp_ms
        self.size_bytes = 0

    def joined_at(self, now_ms: int, share: float) -> bool:
        """Say whether sessions begin here. What arrived before its first payload, and took longer, does too."""
        return -GROUP_MS < now_ms - self.started_ms < JOIN_MS and self.size_bytes < JOIN_BYTES * share

    def open_at(self, now_ms: int, share: float) -> bool:
        """Say whether sessions continue here."""
        return abs(now_ms - self.started_ms) < GROUP_MS and self.size_bytes < GROUP_BYTES * share


class _Session:
    """The bodies of a session that continue, and the group that they are in."""

    __slots__ = ("bases", "group", "size_bytes")

    def __init__(self, group: _Group) -> None:
        self.group = group
        self.size_bytes = 0
        self.bases: list[_Base] = []
        """The latest last."""

    def add(self, base: _Base, instead_of: _Base | None) -> None:
        """Have later payloads told by this one, and no more by the one that it continues."""
        if instead_of is not None:
            self.bases.remove(instead_of)
        if base.depth < LONGEST_CHAIN:
            self.bases.append(base)
        del self.bases[:-_BRANCHES]
        self.size_bytes = sum(_BASE_BYTES + len(each.request) for each in self.bases)


class _Frame:
    """What is compressed together."""

    __slots__ = ("_parts", "first", "size_bytes")

    def __init__(self, first: str) -> None:
        self.first = first
        self.size_bytes = 0
        self._parts: list[bytes] = []

    def add(self, plain: bytes) -> int:
        """Add a payload; return its place."""
        self._parts.append(plain)
        self.size_bytes += len(plain)
        return len(self._parts) - 1

    def plain(self) -> bytes:
        """Return all of it, behind the lengths."""
        return b"".join((msgspec.json.encode(list(map(len, self._parts))), b"\n", *self._parts))


class Packer:
    """Packs payloads in the order in which they are stored. What it has packed is stored, or `forget` is called."""

    def __init__(self, remembered_bytes: int = REMEMBERED_BYTES) -> None:
        self._remembered_bytes = remembered_bytes
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._bytes = 0
        self._newest: _Group | None = None
        """The group that sessions begin in, while they may."""
        self._share = 1.0
        """How large groups may become, of what they are at most."""
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, dict_data=_phrases())

    def forget(self) -> None:
        """Begin anew: nothing is told by what was packed before."""
        self._sessions.clear()
        self._bytes = 0
        self._newest = None

    def keep_within(self, budget_bytes: int) -> None:
        """Have groups be a small part of what all payloads may take, so that few are dropped before older ones."""
        self._share = min(1.0, budget_bytes / BUDGET_SHARE / GROUP_BYTES)

    def groups_of(self, payloads: Iterable[Payload]) -> set[str]:
        """Return the groups there are that payloads would go to."""
        return {group.id for group in map(self._group_of, payloads) if group is not None}

    def pack(self, payloads: Sequence[Payload], told: Mapping[str, Told] = NOTHING_TOLD) -> list[Packed]:
        """Return payloads as they are to be stored.

        Many are compressed by one call: each call gives the interpreter away, and beside a busy event loop getting it
        back costs as much as compressing.
        """
        frames: list[_Frame] = []
        open_frames: dict[str, _Frame] = {}
        places: list[tuple[_Frame, int, str, str | None]] = []
        for each in payloads:
            group_id, base_id, plain = self._prepare(each, told.get(each.id))
            frame = open_frames.get(group_id)
            if frame is None or frame.size_bytes + len(plain) > FRAME_BYTES:
                frame = open_frames[group_id] = _Frame(each.id)
                frames.append(frame)
            places.append((frame, frame.add(plain), group_id, base_id))
        packed = dict(zip(frames, self._frames([each.plain() for each in frames]), strict=True))
        return [
            Packed(
                each.id, each.timestamp_ms, group_id, base_id, b"" if place else packed[frame],
                frame_of=frame.first if place else None, place=place,
            )
            for each, (frame, place, group_id, base_id) in zip(payloads, places, strict=True)
        ]  # fmt: skip

    def _frames(self, plain: list[bytes | bytearray | memoryview]) -> list[bytes]:
        if len(plain) < _MANY:
            return [self._compressor.compress(each) for each in plain]
        frames = self._compressor.multi_compress_to_buffer(plain)
        return [frames[number].tobytes() for number in range(len(plain))]

    def _prepare(self, payload: Payload, told: Told | None) -> tuple[str, str | None, bytes]:
        """Return the group and the base of a payload, and what is to be compressed; the next are told by it."""
        request = payload.request.data
        session = self._open(payload)
        base, pieces, fresh = _told(session.bases, request, told)
        if payload.session is not None:
            continued = base if len(fresh) <= _SAME_BRANCH * len(request) else None
            depth = 0 if base is None else base.depth + 1
            self._remember(payload.session, session, _Base(payload.id, depth, request), continued)
        plain = _plain(payload, pieces, fresh)
        session.group.size_bytes += len(plain)
        return session.group.id, None if base is None else base.id, plain

    def _open(self, payload: Payload) -> _Session:
        """Return the session as far as it is open, or one that begins."""
        group = self._group_of(payload)
        if group is None:
            group = self._newest = _Group(payload)
        known = self._known(payload)
        return known if known is not None and known.group is group else _Session(group)

    def _group_of(self, payload: Payload) -> _Group | None:
        """Return the group that a payload goes to, None when it begins one."""
        known, newest, now_ms = self._known(payload), self._newest, payload.timestamp_ms
        if known is not None and known.group.open_at(now_ms, self._share):
            return known.group
        return newest if newest is not None and newest.joined_at(now_ms, self._share) else None

    def _known(self, payload: Payload) -> _Session | None:
        return None if payload.session is None else self._sessions.get(payload.session)

    def _remember(self, key: str, session: _Session, base: _Base, continued: _Base | None) -> None:
        """Have later payloads of a session told by this one."""
        known = self._sessions.pop(key, None)
        self._bytes -= 0 if known is None else known.size_bytes
        session.add(base, continued)
        self._sessions[key] = session
        self._bytes += session.size_bytes
        while self._bytes > self._remembered_bytes:
            self._bytes -= self._sessions.popitem(last=False)[1].size_bytes


def unpack(chain: Sequence[Packed]) -> Payload:
    """Return the last payload of a chain; each one is the base of the next, and the first has none.

    Raises StoreError when it is not what was packed.
    """
    if [each.base for each in chain] != [None, *(each.id for each in chain[:-1])]:
        raise StoreError("a stored payload is damaged: what it continues is not there")
    try:
        if chain[0].packing < _ALONE:
            return first_packing.unpack(chain)
        return _unpacked(chain)
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise StoreError(f"a stored payload is damaged: {error}") from error


def _unpacked(chain: Sequence[Packed]) -> Payload:
    decompressor = zstandard.ZstdDecompressor(dict_data=_phrases())
    request = b""
    for each in chain:
        if not 0 <= zstandard.frame_content_size(each.frame) <= _MAX_FRAME_BYTES:
            raise ValueError("its size is not known or too large")
        line, _, rest = _in_frame(each, decompressor.decompress(each.frame)).partition(b"\n")
        said = msgspec.json.decode(line, type=Contents)
        heads_end = said.request_head_bytes + said.response_head_bytes
        request = restored(request, said.pieces, rest[heads_end : len(rest) - said.response_bytes])
        if len(request) > MAX_BODY_BYTES:
            raise ValueError("its request is too large")
    return Payload(
        id=each.id,
        timestamp_ms=each.timestamp_ms,
        session=said.session,
        target=said.target,
        request_head=rest[: said.request_head_bytes],
        request=Content(request, said.request_length),
        status=said.status,
        response_head=rest[said.request_head_bytes : heads_end],
        response=Content(rest[len(rest) - said.response_bytes :], said.response_length),
    )


def _in_frame(packed: Packed, frame: bytes) -> bytes:
    """Return a payload's part of what was compressed together. Raises MsgspecError or ValueError."""
    if packed.packing == _ALONE:
        return frame
    line, _, parts = frame.partition(b"\n")
    lengths = _lengths(line)
    if not 0 <= packed.place < len(lengths):
        raise ValueError("its frame has too few payloads")
    begin = sum(lengths[: packed.place])
    return parts[begin : begin + lengths[packed.place]]


_lengths = msgspec.json.Decoder(list[int]).decode


def _plain(payload: Payload, pieces: list[Piece], fresh: bytes) -> bytes:
    """Return what is compressed."""
    request_head, response_head, answer = payload.request_head, payload.response_head, payload.response.data
    contents = Contents(
        payload.session,
        payload.target,
        len(request_head),
        payload.request.length,
        pieces,
        payload.status,
        len(response_head),
        len(answer),
        payload.response.length,
    )
    return b"".join((msgspec.json.encode(contents), b"\n", request_head, response_head, fresh, answer))


def _told(bases: list[_Base], request: bytes, told: Told | None) -> tuple[_Base | None, list[Piece], bytes]:
    """Return the base that a body has most in common with, of equals the latest; and the body told by it."""
    best: tuple[_Base | None, list[Piece], bytes] = (None, [(0, 0, len(request))], request)
    for base in reversed(bases):
        compared = told is not None and told.base is base.request
        pieces, fresh = told[1:] if told is not None and compared else difference(base.request, request)
        if len(fresh) < len(best[2]):
            best = base, pieces, fresh
        if len(fresh) <= _SAME_BRANCH * len(request):
            break
    return best


@cache
def _phrases() -> zstandard.ZstdCompressionDict:
    dictionary = zstandard.ZstdCompressionDict(PHRASES, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    dictionary.precompute_compress(level=LEVEL)
    return dictionary
