"""Frames on the wire between a worker and its supervisor: bytes in, frames out. Pure.

Both ends are processes of one user that one program has started, so a broken frame is a defect: it ends the
connection, and with it the worker.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

LONGEST: Final = 16 * 1024 * 1024
"""Bytes of the longest body."""
_HEAD = struct.Struct(">IBBIQ")


class Kind(IntEnum):
    """What a frame is."""

    NEWS = 1
    """For all other workers."""
    QUESTION = 2
    """For all other workers, who answer."""
    ANSWER = 3
    """For the worker that asked."""
    ORDER = 4
    """Between a worker and its supervisor."""


class Frame(NamedTuple):
    """One message. `worker`: who sent it; of an answer on its way to the supervisor, who is to have it."""

    kind: int
    topic: str
    body: bytes
    worker: int = 0
    ticket: int = 0
    """Tells which question an answer belongs to."""

    def packed(self) -> bytes:
        """Return the bytes to send. Raises ValueError when it is too long."""
        topic = self.topic.encode()
        if len(self.body) > LONGEST or len(topic) > 255:
            raise ValueError(f"a frame of {len(self.body)} bytes is too long")
        return _HEAD.pack(len(self.body), self.kind, len(topic), self.worker, self.ticket) + topic + self.body


class Splitter:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def rest(self) -> bytes:
        """Return the begin of a frame that is not whole yet."""
        return bytes(self._rest)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are whole now. Raises ValueError for what is no frame."""
        rest = self._rest
        rest += data
        while len(rest) >= _HEAD.size:
            length, kind, topic_length, worker, ticket = _HEAD.unpack_from(rest)
            if length > LONGEST:
                raise ValueError(f"a frame says that it has {length} bytes")
            begin = _HEAD.size + topic_length
            if len(rest) < begin + length:
                return
            topic, body = rest[_HEAD.size : begin].decode(), bytes(rest[begin : begin + length])
            del rest[: begin + length]
            yield Frame(kind, topic, body, worker, ticket)
