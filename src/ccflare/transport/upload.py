"""Request bodies on their way: large ones in slices, ones in pieces as they come."""

import asyncio
import os
import select
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from ccflare.errors import TransportError
from ccflare.transport.http1 import LAST_CHUNK, chunk, protocol_error

SLICE_BYTES = 256 * 1024
"""A body up to this size is written at once; a larger one goes in slices of it, each when the one before is
out."""
_READ_BYTES = 64 * 1024


class WholeBody:
    """A large body that is sent slice by slice without copying it. The buffer must not change size
    meanwhile."""

    __slots__ = ("_at", "_view")

    def __init__(self, body: bytes | bytearray) -> None:
        self._view = memoryview(body)
        self._at = 0

    def next_slice(self) -> memoryview:
        """Return the next slice; an empty one behind the end."""
        piece = self._view[self._at : self._at + SLICE_BYTES]
        self._at += len(piece)
        return piece


class Wire(Protocol):
    """What a body in pieces is sent on."""

    async def send_piece(self, data: bytes) -> None:
        """Send some bytes; return when more may be sent."""
        ...

    def end_body(self) -> None:
        """Note the end of the body."""
        ...

    def upload_failed(self, error: BaseException) -> None:
        """Give the exchange up, unless the body is not wanted any more."""
        ...


async def send_pieces(wire: Wire, body: AsyncIterator[bytes], length: int | None) -> None:
    """Send a body as it comes: with its announced length, or chunked when `length` is None.

    A wrong length, and whatever the iterator raises, fails the exchange.
    """
    sent = 0
    try:
        async for piece in body:
            sent += len(piece)
            _check(sent, length, ended=False)
            if piece:
                await wire.send_piece(piece if length is not None else chunk(piece))
        _check(sent, length, ended=True)
        if length is None:
            await wire.send_piece(LAST_CHUNK)
        wire.end_body()
    except Exception as error:  # noqa: BLE001  # the iterator is the caller's: what it raises goes back to the caller
        wire.upload_failed(error)
    except asyncio.CancelledError:
        wire.upload_failed(TransportError("broken", "the request body was cancelled"))
        raise


def _check(sent: int, length: int | None, *, ended: bool) -> None:
    if length is not None and (sent > length or (ended and sent < length)):
        raise protocol_error("the request body is not as long as announced")


class EarlyAnswer:
    """Watches a connection's socket for an answer while a large body is sent.

    A server may refuse an upload, answer, and close at once. When the reset that follows meets one of our
    writes, event loops close the socket without reading the answer that lies in it. So nothing is written
    while something waits to be read, and through a second descriptor what had arrived is still there after
    the loss. Measured against such a server on loopback: 100 % of the answers are seen (10 % without), under
    TLS, where only the first half works, 75 % (0 %). Over a real network the loop nearly always reads first.
    """

    __slots__ = ("_fd", "_poll", "_readable_later")

    def __init__(self, fd: int, *, encrypted: bool) -> None:
        self._fd = fd
        self._readable_later = not encrypted
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    @classmethod
    def of(cls, transport: asyncio.Transport) -> "EarlyAnswer | None":
        """Return a watch, or None where the system cannot give one: then only a refusal may be lost."""
        if not hasattr(select, "poll"):
            return None
        try:
            fd = os.dup(transport.get_extra_info("socket").fileno())
        except OSError:
            return None
        return cls(fd, encrypted=transport.get_extra_info("ssl_object") is not None)

    def waits(self) -> bool:
        """Say whether something has arrived that the loop has not read yet."""
        return self._fd >= 0 and bool(self._poll.poll(0))

    def unread(self) -> Iterator[bytes]:
        """Yield what had arrived before the loss; the last piece is `b""` when the peer had ended cleanly."""
        data = b"?"
        while data and self._fd >= 0 and self._readable_later:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except OSError:  # nothing more, or the reset itself
                return
            yield data

    def close(self) -> None:
        """Release the descriptor; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
