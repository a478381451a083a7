"""The supervisor's end of the bus: it passes on what workers tell each other, and knows nothing of what that is.

A worker that does not read what it is sent gets no more of it when `WAITING_BYTES` wait: news is dropped, and the
store puts right what that was about.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from ccflare.bus.frames import Frame, Kind, Splitter
from ccflare.bus.orders import (
    Agreed,
    Asked,
    Came,
    Claim,
    Ending,
    Left,
    Ready,
    Reclaim,
    Release,
    Role,
    ToSupervisor,
    ToWorker,
    encode,
    to_supervisor,
)
from ccflare.supervisor.claims import Claims

log = logging.getLogger("ccflare.Server")

WAITING_BYTES: Final = 8 * 1024 * 1024


class Seat(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, hub: "Hub", number: int) -> None:
        self.number = number
        self.ready = asyncio.Event()
        """Set when the worker serves."""
        self.ending = False
        """The worker accepts nothing more."""
        self.gone = asyncio.Event()
        self.heard_at = 0.0
        """Monotonic second of its last frame."""
        self._hub = hub
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets only
        """Begin."""
        self._transport = transport
        self._hub.seats[self.number] = self

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all others."""
        self._transport = None
        self.gone.set()
        self._hub.left(self)

    def data_received(self, data: bytes) -> None:
        """Take frames in."""
        self.heard_at = asyncio.get_running_loop().time()
        for frame in self._splitter.feed(data):
            try:
                self._hub.take(self, frame)
            except msgspec.MsgspecError as error:  # a newer ccflare that was installed meanwhile may say more
                log.warning("Worker %d said something that is not understood: %s", self.number, error)

    def order(self, order: ToWorker, ticket: int = 0) -> None:
        """Tell this worker."""
        self.send(Frame(Kind.ORDER, "", encode(order), 0, ticket))

    def send(self, frame: Frame) -> None:
        """Send a frame; news that there is no room for is dropped."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > WAITING_BYTES and frame.kind != Kind.ORDER:
            return
        transport.write(frame.packed())

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


class Hub:
    """All workers' connections."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        """How many there are to be."""
        self.seats: dict[int, Seat] = {}
        self.claims = Claims()
        self.on_ending: Callable[[Seat], None] = lambda _seat: None
        """Called when a worker says that it accepts nothing more."""

    def take(self, seat: Seat, frame: Frame) -> None:
        """Pass a frame on, or do what it asks for."""
        match frame.kind:
            case Kind.NEWS:
                for other in self._others(seat):
                    other.send(frame)
            case Kind.QUESTION:
                asked = self._others(seat)
                seat.order(Asked(len(asked)), frame.ticket)
                for other in asked:
                    other.send(frame)
            case Kind.ANSWER:
                if (asker := self.seats.get(frame.worker)) is not None:
                    asker.send(frame._replace(worker=seat.number))
            case Kind.ORDER:
                self._obey(seat, to_supervisor(frame.body), frame.ticket)

    def publish(self, topic: str, body: bytes) -> None:
        """Tell all workers."""
        for seat in self.seats.values():
            seat.send(Frame(Kind.NEWS, topic, body))

    def ping(self) -> None:
        """Have every worker answer, so that one that hangs is known."""
        for seat in self.seats.values():
            seat.send(Frame(Kind.QUESTION, "", b""))

    def left(self, seat: Seat) -> None:
        """Forget a worker that has ended."""
        self.seats.pop(seat.number, None)
        self.claims.forget(seat.number)
        for other in self.seats.values():
            other.order(Left(seat.number))
        self.appoint()

    def appoint(self) -> None:
        """Say who leads: of those that stay, the one that has been here longest."""
        staying = [seat for seat in self.seats.values() if seat.ready.is_set() and not seat.ending]
        leader = min(staying, key=lambda seat: seat.number, default=None)
        for seat in self.seats.values():
            seat.order(Role(leads=seat is leader, workers=self.workers))

    def _others(self, seat: Seat) -> list[Seat]:
        return [other for other in self.seats.values() if other is not seat and other.ready.is_set()]

    def _obey(self, seat: Seat, order: ToSupervisor, ticket: int) -> None:
        match order:
            case Claim(key, value, instead_of):
                seat.order(Agreed(self.claims.claim(seat.number, key, value, instead_of)), ticket)
            case Reclaim(key, value):
                self.claims.reclaim(key, value)
            case Release(key):
                self.claims.release(seat.number, key)
            case Ready():
                self._begun(seat)
            case Ending():
                by_others, seat.ending = not seat.ending, True
                self.appoint()
                if by_others:
                    self.on_ending(seat)

    def _begun(self, seat: Seat) -> None:
        seat.ready.set()
        for other in self._others(seat):
            other.order(Came(seat.number))
            seat.order(Came(other.number))
        self.appoint()
