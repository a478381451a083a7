"""A body told by an earlier one: what it takes over from that, and what is new.

A turn of a conversation is the turn before with some places changed: a breakpoint moved on, a counter in a header
block, messages at the end. Finding those places costs a comparison of bytes, a hundredth of what a compressor needs
to find them again.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

Piece: TypeAlias = tuple[int, int, int]
"""So many bytes of the base, from a place on, and so many new ones behind them: place, bytes, new bytes."""


class Told(NamedTuple):
    """A body by what it has in common with another one."""

    base: bytes
    """The very object that it was compared with."""
    pieces: list[Piece]
    fresh: bytes


NOTHING_TOLD: Final[Mapping[str, Told]] = MappingProxyType({})
MOST_PIECES: Final = 32
_PROBE_BYTES = 32
"""What is taken for the same place when it is found again."""
_AHEAD = (16, 64, 256, 1024, 4096)
"""How far behind a difference the base is looked at for where both go on alike."""
_INSERTED_BYTES = 8192
"""So much may have been inserted there."""
_SURE_BYTES = 512
"""What stays alike for so long is no coincidence."""
_SHORT_BYTES = 256
"""In less than this nothing is searched for."""


def difference(base: bytes, body: bytes) -> tuple[list[Piece], bytes]:
    """Return the pieces that a body is made of, in order, and its new bytes one behind the other."""
    if base == body:
        return [(0, len(body), 0)], b""
    at = to = _alike(base, 0, body, 0, min(len(base), len(body)))
    tail = _alike_at_the_end(base, len(base), body, len(body), min(len(base), len(body)) - at)
    base_end, body_end = len(base) - tail, len(body) - tail
    pieces: list[Piece] = []
    fresh: list[bytes] = []
    place, length = 0, at
    while min(base_end - at, body_end - to) > _SHORT_BYTES and len(pieces) < MOST_PIECES - 2:
        again = _alike_again(base, at, base_end, body, to, body_end)
        if again is None:
            break
        pieces.append((place, length, again[1] - to))
        fresh.append(body[to : again[1]])
        place, to = again
        length = _alike(base, place, body, to, min(base_end - place, body_end - to))
        at, to = place + length, to + length
    pieces.append((place, length, body_end - to))
    fresh.append(body[to:body_end])
    if tail:
        pieces.append((base_end, tail, 0))
    return pieces, b"".join(fresh)


def restored(base: bytes, pieces: list[Piece], fresh: bytes) -> bytes:
    """Return the body. Raises ValueError when it cannot be made of these."""
    parts: list[bytes] = []
    used = 0
    for place, length, new in pieces:
        if min(place, length, new) < 0 or place + length > len(base):
            raise ValueError("a piece is not in what it is taken from")
        parts += (base[place : place + length], fresh[used : used + new])
        used += new
    if used != len(fresh):
        raise ValueError("the new bytes are not as many as they were")
    return b"".join(parts)


def _alike(one: bytes, at: int, other: bytes, to: int, most: int) -> int:
    """Return how many bytes are the same from two places on, at most `most`."""
    known, step = 0, 64
    while step and known < most:
        step = min(step, most - known)
        if one[at + known : at + known + step] == other[to + known : to + known + step]:
            known += step
            step *= 4
        else:
            most = known + step - 1  # the difference is within the step
            step //= 2
    return known


def _alike_at_the_end(one: bytes, end: int, other: bytes, to: int, most: int) -> int:
    """Return how many bytes are the same up to two places, at most `most`."""
    known, step = 0, 64
    while step and known < most:
        step = min(step, most - known)
        if one[end - known - step : end - known] == other[to - known - step : to - known]:
            known += step
            step *= 4
        else:
            most = known + step - 1
            step //= 2
    return known


def _alike_again(base: bytes, at: int, base_end: int, body: bytes, to: int, body_end: int) -> tuple[int, int] | None:
    """Return where, behind a difference, both go on alike; None when that is not found.

    What is found near is often a phrase that JSON repeats; so the place from which they stay alike longest counts.
    """
    best, longest = None, 0
    for ahead in _AHEAD:
        begin = at + ahead
        if begin + _PROBE_BYTES > base_end:
            break
        last = min(body_end, to + ahead + _INSERTED_BYTES)
        found = body.find(base[begin : begin + _PROBE_BYTES], to, last)
        if found < 0:
            continue
        length = _alike(base, begin, body, found, min(_SURE_BYTES, base_end - begin, body_end - found))
        if length > longest:
            back = _alike_at_the_end(base, begin, body, found, min(ahead, found - to))
            best, longest = (begin - back, found - back), length
        if length >= _SURE_BYTES:
            break
    return best
