"""One connection to an upstream, carrying one exchange at a time.

    idle --send--> awaiting the head --head--> receiving the body --end--> idle, or closed
                          \\________ fail, abort, deadline, loss ________/--> closed

A request body that is on its way when the head comes goes on beside the answer, until it is sent or the answer has
ended; only a refusal ends it at once (RFC 9112 §9.5: the server has said that it does not want it).

Closed is final, and is reported to the owner exactly once, at once. Everything here runs in loop callbacks:
an exchange costs its caller one future for the head and one for the body, and no task.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol, cast

from ccflare.errors import TransportError
from ccflare.transport.heads import ResponseHead
from ccflare.transport.http1 import ResponseParser
from ccflare.transport.response import Response, Take
from ccflare.transport.upload import SLICE_BYTES, Upload, send_pieces

if TYPE_CHECKING:
    from ccflare.transport.egress import Route

_JOINED_BYTES = 16 * 1024
"""Up to this size head and body are joined: copying is then cheaper than a second buffer on the way out."""
_TIMER_SLACK_S = 0.001
"""Loop clocks count milliseconds: a timer may fire this much early."""
_LONGEST_TIMER_S = 86_400.0
_REFUSAL = 400
"""From this status on an answer says that the request is not wanted, nor the rest of its body."""


class Owner(Protocol):
    """Who keeps connections."""

    def released(self, connection: "Connection") -> None:
        """Take back a connection whose answer is complete and which can carry another request."""
        ...

    def lost(self, connection: "Connection") -> None:
        """Note that a connection is closed."""
        ...


class Connection(asyncio.Protocol):
    """The two halves of an exchange on one byte stream. See the module for its states."""

    __slots__ = (
        "_exchange_at",
        "_first_byte_at",
        "_last_byte_at",
        "_owner",
        "_parser",
        "_reading_paused",
        "_response",
        "_timer",
        "_timer_at",
        "_transport",
        "_upload",
        "_waiter",
        "answered",
        "closed",
        "idle_s",
        "loop",
        "route",
        "take",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, route: "Route") -> None:
        self.route = route
        self.closed = False
        self.answered = False
        """Whether any byte has come back since the last `send`."""
        self.take: Take = _nowhere
        self.loop = loop
        self._owner = owner
        self.idle_s = 0.0
        """How long an answer may be silent; set before `send`."""
        # There is none before `connection_made`, and a TLS handshake may fail before that.
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = ResponseParser()
        self._waiter: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._upload: Upload | None = None
        self._reading_paused = False
        self._first_byte_at = self._exchange_at = self._last_byte_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # The caller's side.

    def send(
        self,
        method: bytes,
        head: bytes,
        body: bytes | bytearray | None,
        *,
        first_byte_at: float,
        exchange_at: float,
    ) -> asyncio.Future[Response]:
        """Send a request and return the future of its answer. Both deadlines are times of the loop's clock.

        `body` None says that the body follows by `send_pieces`. Raises TransportError (`broken`) when the
        connection has been lost already.
        """
        self.answered = False
        if not self.usable:
            raise self._cut()
        self._parser.expect(method)
        self._first_byte_at = first_byte_at
        self._exchange_at = exchange_at
        waiter = self._waiter = self.loop.create_future()
        if self._timer is None or self._timer_at > first_byte_at or self._timer_at > exchange_at:
            self._arm(min(first_byte_at, exchange_at))
        transport = self._transport
        if body is not None and len(body) <= _JOINED_BYTES:
            transport.write(head + body if body else head)
        elif body is not None and len(body) <= SLICE_BYTES:
            transport.writelines((head, body))
        else:
            upload = self._upload = Upload(self.loop, transport, body or b"")
            transport.write(head)
            if body is not None:
                upload.pump()
        return waiter

    async def send_pieces(self, body: AsyncIterator[bytes], length: int | None) -> None:
        """Send the body that `send` was told would follow; what is wrong with it fails the exchange."""
        if self._upload is not None:
            await send_pieces(self._upload, body, length, self.fail)

    def abort(self) -> None:
        """Close the connection now, whatever it is doing. Harmless when repeated."""
        self.fail(TransportError("broken", "the connection was given up"))

    def fail(self, error: BaseException) -> None:
        """Close the connection now and end a waiting exchange with this error."""
        if self.closed:
            return
        self._close()
        waiter, response = self._waiter, self._response
        self._waiter = self._response = None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        if response is not None:
            response.end(error)

    @property
    def usable(self) -> bool:
        """Whether an idle connection can still carry a request, as far as is known."""
        return not (self.closed or self._transport.is_closing())

    @property
    def uploading(self) -> bool:
        """Whether some of the request body is still to be sent."""
        return self._upload is not None and self._upload.active

    # The answer's side (`response.Source`).

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call when the request body is not held any more: now, or when it is sent or given up."""
        if self._upload is not None and self._upload.active:
            self._upload.on_end = call
        else:
            call()

    def pause_reading(self) -> None:
        """Read nothing more; the idle deadline stands still meanwhile, unless a request body is on its way."""
        if not self._reading_paused and not self.closed:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again; the idle deadline starts anew."""
        if self._reading_paused and not self.closed:
            self._reading_paused = False
            self._transport.resume_reading()
            self._last_byte_at = self.loop.time()
            self._arm(self._last_byte_at + self.idle_s)

    # The event loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; also called by hand after a TLS handshake."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand the body bytes in `data` straight to whoever takes them."""
        if self._waiter is None and self._response is None:
            self.abort()  # nothing was asked: whatever this is would be taken for the next answer
            return
        self.answered = True
        self._last_byte_at = self.loop.time()
        parser = self._parser
        body = parser.feed(data)
        if self._response is None:
            if parser.head is None:
                if parser.error is not None:
                    self.fail(parser.error)
                return
            self._begin(parser.head)
        if body:
            self._deliver(body)
        if parser.done and not self.closed:
            if parser.error is not None:
                self.fail(parser.error)
            else:
                self._finish()

    def eof_received(self) -> None:
        """End an answer that ends with the connection; anything else is cut."""
        if self._response is not None and self._parser.eof() and self._ended_properly():
            self._finish()
        elif not self.closed:
            self.fail(self._cut())

    def connection_lost(self, error: Exception | None) -> None:
        """Report the loss, after reading what came before a reset that hit us while writing."""
        if error is not None and self._upload is not None and not self.closed:
            self._read_on(self._upload)
        if not self.closed:
            self.fail(self._cut(error))

    def pause_writing(self) -> None:
        """Stop uploading until the peer has taken what was sent."""
        if self._upload is not None:
            self._upload.pause()

    def resume_writing(self) -> None:
        """Go on uploading."""
        if self._upload is not None:
            self._upload.resume()

    # Inside.

    def _deliver(self, body: bytes) -> None:
        try:
            if not self.take(body):
                self.pause_reading()
        except Exception as error:  # noqa: BLE001  # a sink may raise anything: it is passed on to whoever relays
            self.fail(error)

    def _begin(self, head: ResponseHead) -> None:
        waiter, self._waiter = self._waiter, None
        upload = self._upload
        if upload is None or head.status >= _REFUSAL:
            sent = self._stop_upload()
        else:
            upload.answered = True
            sent = not upload.active
        sent = sent and not self._transport.get_write_buffer_size()
        response = self._response = Response(head, self, body_sent=sent)
        self.take = response.hold
        if waiter is not None and not waiter.done():
            waiter.set_result(response)
        if not self._parser.done:
            self._arm(self._last_byte_at + self.idle_s)

    def _finish(self) -> None:
        response, self._response = self._response, None
        assert response is not None  # noqa: S101
        self.take = _nowhere
        if self._upload is not None:  # it went on beside the answer
            response.body_sent = self._stop_upload() and not self._transport.get_write_buffer_size()
        if self._parser.reusable and response.body_sent:
            if self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
            self._owner.released(self)
        else:
            self._close()
        response.end(None)

    def _close(self) -> None:
        self.closed = True
        self.take = _nowhere
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_upload()
        if self._transport is not None:
            self._transport.abort()
        self._owner.lost(self)

    def _stop_upload(self) -> bool:
        """Send nothing more of a body; return whether it had been sent whole."""
        upload, self._upload = self._upload, None
        if upload is None:
            return True
        whole = not upload.active
        upload.give_up()
        return whole

    def _read_on(self, upload: Upload) -> None:
        for data in upload.unread():
            if data:
                self.data_received(data)
            else:
                self.eof_received()
            if self.closed:
                return

    def _ended_properly(self) -> bool:
        """Say whether the peer meant the stream to end here: under TLS only `close_notify` proves it."""
        tls = self._transport.get_extra_info("ssl_object")
        return tls is None or _close_notified(tls.read)

    def _cut(self, error: Exception | None = None) -> TransportError:
        reset = isinstance(error, ConnectionResetError)
        how = "was reset" if reset else "was closed"
        when = "in the middle of the answer" if self.answered else "before an answer"
        return TransportError("broken", f"the upstream connection {how} {when}", reset=reset)

    def _arm(self, at: float) -> None:
        """Have the deadlines checked at `at` or earlier: a timer that is early enough stays."""
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at = min(at, self.loop.time() + _LONGEST_TIMER_S)
        self._timer = self.loop.call_at(at, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._timer = None
        if self.closed or (self._waiter is None and self._response is None):
            return
        at, kind, text = self._next_deadline()
        if self.loop.time() + _TIMER_SLACK_S >= at:
            self.fail(TransportError(kind, text))
        else:
            self._arm(at)

    def _next_deadline(self) -> tuple[float, str, str]:
        exchange = (self._exchange_at, "exchange_timeout", "the exchange took too long")
        if self._response is None:
            return min(exchange, (self._first_byte_at, "first_byte_timeout", "no answer in time"))
        moved_at, upload = self._last_byte_at, self._upload
        if upload is not None and upload.moved_at > moved_at:
            moved_at = upload.moved_at
        if not self._reading_paused:
            return min(exchange, (moved_at + self.idle_s, "idle_timeout", "the answer stopped arriving"))
        if self.uploading:
            return min(exchange, (moved_at + self.idle_s, "idle_timeout", "nothing moves in either direction"))
        return exchange


def _nowhere(data: bytes) -> bool:
    raise RuntimeError(f"{len(data)} body bytes without an exchange")


def _close_notified(read: Callable[[int], bytes]) -> bool:
    try:
        return not read(1)  # OpenSSL remembers `close_notify` and says "end"; without it, it wants more bytes
    except OSError:
        return False
