"""The answer to one request, while its body arrives.

The one rule: a body ends cleanly only when its framing says so. Everything else is an error for the reader.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from ccflare.errors import TransportError
from ccflare.transport.heads import ResponseHead
from ccflare.wire import Headers, Sink

BUFFER_BYTES = 64 * 1024
"""How much may wait for a reader before the upstream is not read any more. One read from the socket (at most
256 KB) can come on top."""


class Take(Protocol):
    """Takes body bytes; False asks for a pause."""

    def __call__(self, data: bytes, /) -> bool:
        """Take some bytes."""
        ...


class Source(Protocol):
    """Where a body comes from: the connection, as far as an answer needs it."""

    take: Take

    def pause_reading(self) -> None:
        """Read nothing more until told to."""
        ...

    def resume_reading(self) -> None:
        """Read again; harmless when nothing is paused."""
        ...

    def fail(self, error: BaseException) -> None:
        """Close the connection; the answer ends with this error."""
        ...

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call when the request body is not held any more."""
        ...


class Response:
    """A final answer: its head, and its body by `read` or by `relay`, one call at a time.

    After the clean end the connection goes back to the pool by itself. An answer that is not read to its end
    must be discarded by whoever opened it, or its connection stays open until a deadline ends it. Cancelling
    `read` or `relay` discards it.
    """

    __slots__ = (
        "_buffer",
        "_buffered_bytes",
        "_error",
        "_source",
        "_waiter",
        "body_sent",
        "content_length",
        "http_version",
        "reason",
        "section",
        "status",
    )

    def __init__(self, head: ResponseHead, source: Source, *, body_sent: bool) -> None:
        self.status = head.status
        self.reason = head.reason
        self.section = head.section
        self.content_length = head.content_length
        """What `Content-Length` announces (also for HEAD), or None."""
        self.http_version = head.http_version
        self.body_sent = body_sent
        """Whether the request body had been sent whole when this answer came, or by the time it had ended."""
        self._source: Source | None = source
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0

    @property
    def headers(self) -> Headers:
        """The fields as pairs; made anew each time."""
        return self.section.headers

    @property
    def complete(self) -> bool:
        """Whether all of the body has arrived (it may not have been read yet)."""
        return self._source is None and self._error is None

    def ready(self) -> bytes:
        """Return what has arrived and was not read yet, without waiting; `b""` when there is nothing."""
        return self._taken() if self._buffer else b""

    async def read(self) -> bytes:
        """Return what has arrived, waiting for at least one byte; `b""` is the clean end, however often
        asked.

        Raises TransportError (`broken`, `idle_timeout`, `exchange_timeout`, `protocol_error`) when the body
        was cut, after everything that came before the cut has been returned.
        """
        if not self._buffer and self._source is not None:
            await self._wait()
        if self._buffer:
            return self._taken()
        if self._error is not None:
            raise self._error
        return b""

    async def read_within(self, seconds: float) -> bytes | None:
        """Read as `read` does, but return None when nothing comes for so long; the answer goes on."""
        if not self._buffer and self._source is not None:
            timer = asyncio.get_running_loop().call_later(seconds, self._wake)
            try:
                await self._wait()
            finally:
                timer.cancel()
        if self._buffer:
            return self._taken()
        if self._error is not None:
            raise self._error
        return b"" if self._source is None else None

    async def relay(self, sink: Sink) -> None:
        """Push everything that is left into `sink.write`, as it arrives; return at the clean end.

        When `sink.write` returns False the upstream is not read until `resume` is called. Raises
        TransportError like `read`, and whatever `sink.write` raises.
        """
        self._refuse_second_reader()
        paused = False
        if self._buffer:
            try:
                paused = not sink.write(self._taken(resume=False))
            except BaseException:
                self.discard()
                raise
        source = self._source
        if source is not None:
            source.take = sink.write
            if paused:
                source.pause_reading()
            else:
                source.resume_reading()
            await self._wait()
        if self._error is not None:
            raise self._error

    def resume(self) -> None:
        """Read the upstream again after the sink has caught up; harmless at any time."""
        if self._source is not None:
            self._source.resume_reading()

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call when the request body is not held any more: now, or when it is sent or given up."""
        if self.body_sent or self._source is None:
            call()
        else:
            self._source.when_sent(call)

    def discard(self) -> None:
        """Give the answer up: unless it is complete its connection is closed at once."""
        self._buffer.clear()
        if self._source is not None:
            self._source.fail(TransportError("broken", "the answer was discarded"))

    def hold(self, data: bytes) -> bool:
        """Keep bytes for a reader; for the connection only."""
        self._buffer.append(data)
        self._buffered_bytes += len(data)
        self._wake()
        return self._buffered_bytes <= BUFFER_BYTES

    def end(self, error: BaseException | None) -> None:
        """Note the end of the body, clean or not; for the connection only."""
        self._source = None
        self._error = error
        self._wake()

    def _taken(self, *, resume: bool = True) -> bytes:
        buffer = self._buffer
        data = buffer[0] if len(buffer) == 1 else b"".join(buffer)
        buffer.clear()
        self._buffered_bytes = 0
        if resume and self._source is not None:
            self._source.resume_reading()
        return data

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        self._refuse_second_reader()
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.discard()
            raise
        finally:
            self._waiter = None

    def _refuse_second_reader(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("the answer is being read already")
