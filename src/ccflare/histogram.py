"""Durations counted in logarithmic buckets, so that percentiles of any period can be had from what was kept.

A histogram is one big integer with a lane of 32 bits per bucket: merging is integer addition, which makes it
commutative and associative by construction. A lane counts 4 billion durations, more than any period has.
"""

import math
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import attrgetter

RELATIVE_ERROR = 0.02
"""A quantile is at most this far from the duration that has its rank, between 1 ms and `LONGEST_MS`."""
LONGEST_MS = 4_000_000
"""A little more than an hour. Longer durations count as this long, those below 1 ms as 1 ms."""

_BASE = 1.039
"""Bucket n holds durations above _BASE ** (n - 1), up to _BASE ** n: 1.92 % from its middle at most."""
_PER_LOG = 1 / math.log(_BASE)
_LAST = math.ceil(math.log(LONGEST_MS) * _PER_LOG)
_MIDDLES = (1.0, *(2 * _BASE**bucket / (_BASE + 1) for bucket in range(1, _LAST + 1)))
_LANE_BITS = 32
_LANE_BYTES = 4
_HEAD = struct.Struct("<BHH")
_ONE = [_HEAD.pack(1, bucket, 1) + b"\x01" for bucket in range(_LAST + 1)]
"""The stored form of one duration in each bucket."""
_FEW = 16


class Histogram:
    """How often each duration occurred. A value: adding makes a new one."""

    __slots__ = ("_lanes",)

    def __init__(self, lanes: int = 0) -> None:
        self._lanes = lanes

    @classmethod
    def of(cls, durations_ms: Iterable[float]) -> "Histogram":
        """Count some durations."""
        # Grouped first: a number that has a high lane is a kilobyte long.
        return cls(sum([count << bucket * _LANE_BITS for bucket, count in Counter(map(_bucket, durations_ms)).items()]))

    @classmethod
    def packed_of(cls, durations_ms: Sequence[float]) -> bytes:
        """Return a stored form of some durations; a few stay one by one, which is shorter and takes less time."""
        if len(durations_ms) > _FEW:
            return cls.of(durations_ms).packed()
        return b"".join([_ONE[_bucket(each)] for each in durations_ms])

    @classmethod
    def merged(cls, histograms: "Iterable[Histogram]") -> "Histogram":
        """Add any number of them."""
        return cls(sum(map(_lanes_of, histograms)))

    @classmethod
    def unpacked(cls, stored: bytes | None) -> "Histogram":
        """Read the stored form. Several of them, one behind the other, are their sum; None has counted nothing."""
        lanes, begin = 0, 0
        alone: dict[int, int] = {}
        while stored and begin < len(stored):
            width, first, length = _HEAD.unpack_from(stored, begin)
            begin += _HEAD.size + length
            if length == 1:
                alone[first] = alone.get(first, 0) + stored[begin - 1]
                continue
            part: bytes | bytearray = stored[begin - length : begin]
            if width == 1:
                wide = bytearray(_LANE_BYTES * length)
                wide[::_LANE_BYTES] = part
                part = wide
            lanes += int.from_bytes(part, "little") << first * _LANE_BITS
        return cls(lanes + sum([count << bucket * _LANE_BITS for bucket, count in alone.items()]))

    def packed(self) -> bytes:
        """Return the form that is stored: bytes of a lane (1 or 4), the first lane's number, bytes of all, the lanes.

        Nearly all that is stored has no count above 255, and a quarter of the size then.
        """
        if not self._lanes:
            return b""
        first = ((self._lanes & -self._lanes).bit_length() - 1) // _LANE_BITS
        lanes = _bytes(self._lanes >> first * _LANE_BITS)
        narrow = lanes[::_LANE_BYTES]
        if lanes.count(0) - narrow.count(0) == len(lanes) - len(narrow):
            return _HEAD.pack(1, first, len(narrow)) + narrow
        return _HEAD.pack(_LANE_BYTES, first, len(lanes)) + lanes

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(_counts(self._lanes))

    def quantiles(self, *shares: float) -> tuple[float | None, ...]:
        """Return the durations in milliseconds that these shares (0 to 1) do not exceed; None when there is none."""
        up_to = list(accumulate(_counts(self._lanes)))
        if not up_to:
            return (None,) * len(shares)
        ranks = [max(1, math.ceil(share * up_to[-1])) for share in shares]
        return tuple(_MIDDLES[min(_LAST, bisect_left(up_to, rank))] for rank in ranks)

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(self._lanes + other._lanes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and other._lanes == self._lanes

    def __hash__(self) -> int:
        return hash(self._lanes)

    def __repr__(self) -> str:
        return f"Histogram(total={self.total})"


_lanes_of = attrgetter("_lanes")


def _bucket(duration_ms: float) -> int:
    if duration_ms <= 1:
        return 0
    return min(_LAST, math.ceil(math.log(duration_ms) * _PER_LOG))


def _bytes(lanes: int) -> bytes:
    return lanes.to_bytes(-(-lanes.bit_length() // _LANE_BITS) * _LANE_BYTES, "little")


def _counts(lanes: int) -> tuple[int, ...]:
    stored = _bytes(lanes)
    return struct.unpack(f"<{len(stored) // _LANE_BYTES}I", stored)
