"""A worker's end of the bus."""

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from ccflare.bus import CLAIM_S, GATHER_S, Hear, Reply
from ccflare.bus.frames import Frame, Kind, Splitter
from ccflare.bus.orders import (
    Agreed,
    Asked,
    Begin,
    Came,
    Claim,
    Left,
    Reclaim,
    Release,
    Role,
    ToSupervisor,
    ToWorker,
    encode,
    to_worker,
)

log = logging.getLogger("ccflare.Server")

WAITING_BYTES: Final = 4 * 1024 * 1024
"""What may wait to be sent; beyond it news is dropped. The supervisor does nothing but pass it on."""
BEGIN_S: Final = 30.0


class _Question:
    """A question that waits for answers."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.answers: list[bytes] = []
        self.wanted: int | None = None
        self.done = done

    def look(self) -> None:
        if self.wanted is not None and len(self.answers) >= self.wanted and not self.done.done():
            self.done.set_result(None)


def read_begin(sock: socket.socket) -> tuple[Begin, bytes]:
    """Wait for the first frame of the supervisor; return it and what came behind it. Raises EOFError, ValueError."""
    sock.settimeout(BEGIN_S)
    splitter = Splitter()
    while True:
        data = sock.recv(65536)
        if not data:
            raise EOFError("the supervisor has gone")
        for frame in splitter.feed(data):
            order = to_worker(frame.body)
            if not isinstance(order, Begin):
                raise ValueError(f"expected to be told what to serve, not {type(order).__name__}")  # noqa: TRY004  # wrong content, not a bug
            sock.setblocking(False)
            return order, splitter.rest()


class Link(asyncio.Protocol):
    """The bus as a worker sees it; see `Colleagues`. Belongs to the event loop."""

    def __init__(self, begin: Begin, rest: bytes, on_order: Callable[[ToWorker | None], None]) -> None:
        self.number = begin.number
        self.workers = begin.workers
        self.started_at: float | None = begin.started_at
        self.leads = False
        self.dropped = 0
        """News that there was no room for."""
        self._rest = rest
        self._on_order = on_order
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._listeners: dict[str, Hear] = {}
        self._replies: dict[str, Reply] = {}
        self._changed: list[Callable[[int, bool], None]] = []
        self._questions: dict[int, _Question] = {}
        self._claims: dict[int, asyncio.Future[str]] = {}
        self._ticket = 0

    # Colleagues.

    def publish(self, topic: str, body: bytes) -> None:
        """Tell all others. Never waits; dropped when too much waits already."""
        self._send(Frame(Kind.NEWS, topic, body, self.number))

    def listen(self, topic: str, hear: Hear) -> None:
        """Have something called with whatever others publish on a topic; one listener for each topic."""
        self._listeners[topic] = hear

    def on_change(self, changed: Callable[[int, bool], None]) -> None:
        """Have something called when another worker has come (True) or gone, with its number."""
        self._changed.append(changed)

    def answer(self, topic: str, reply: Reply) -> None:
        """Say how this worker answers a question."""
        self._replies[topic] = reply

    async def gather(self, topic: str, body: bytes = b"", within_s: float = GATHER_S) -> list[bytes]:
        """Ask all others and return the answers that came in time, in no order."""
        self._ticket += 1
        ticket = self._ticket
        question = self._questions[ticket] = _Question(asyncio.get_running_loop().create_future())
        try:
            if self._send(Frame(Kind.QUESTION, topic, body, self.number, ticket)):
                await asyncio.wait((question.done,), timeout=within_s)
        finally:
            del self._questions[ticket]
        return [answer for answer in question.answers if answer]

    async def claim(self, key: str, value: str, instead_of: str = "") -> str:
        """Agree with all others on a value for a key; after `CLAIM_S` it is one's own."""
        self._ticket += 1
        ticket = self._ticket
        agreed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._claims[ticket] = agreed
        try:
            if self._order(Claim(key, value, instead_of), ticket):
                async with asyncio.timeout(CLAIM_S):
                    return await agreed
        except TimeoutError:
            log.debug("No agreement on a session within %g s", CLAIM_S)
        finally:
            del self._claims[ticket]
        return value

    def reclaim(self, key: str, value: str) -> None:
        """Change the value of a key for whoever claims it from now on."""
        self._order(Reclaim(key, value))

    def release(self, key: str) -> None:
        """Give a claim back; a key that nobody claims any more is free."""
        self._order(Release(key))

    def tell(self, order: ToSupervisor) -> None:
        """Tell the supervisor."""
        self._order(order)

    def close(self) -> None:
        """End the connection; what was said still leaves."""
        if self._transport is not None:
            self._transport.close()

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets only
        """Begin, with what came behind the first frame."""
        self._transport = transport
        if self._rest:
            self.data_received(self._rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that nobody supervises any more."""
        self._transport = None
        self._on_order(None)

    def data_received(self, data: bytes) -> None:
        """Take frames in."""
        for frame in self._splitter.feed(data):
            try:
                self._take(frame)
            except Exception:
                log.exception("A message of another worker could not be taken: %s", frame.topic or "an order")

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.NEWS:
                if (hear := self._listeners.get(frame.topic)) is not None:
                    hear(frame.body, frame.worker)
            case Kind.QUESTION:
                reply = self._replies.get(frame.topic)
                body = b"" if reply is None else reply(frame.body)
                if isinstance(body, bytes):
                    self._answer(frame, body)
                else:
                    body.add_done_callback(partial(self._answer_later, frame))
            case Kind.ANSWER:
                if (question := self._questions.get(frame.ticket)) is not None:
                    question.answers.append(frame.body)
                    question.look()
            case Kind.ORDER:
                self._obey(to_worker(frame.body), frame.ticket)

    def _answer(self, question: Frame, body: bytes) -> None:
        self._send(Frame(Kind.ANSWER, "", body, question.worker, question.ticket))

    def _answer_later(self, question: Frame, made: "asyncio.Future[bytes]") -> None:
        """Answer with what a thread has made; with nothing, as who has no answer, when it could not."""
        failed = made.cancelled() or made.exception() is not None
        if failed:
            log.error("A question of another worker was not answered: %s", question.topic)
        self._answer(question, b"" if failed else made.result())

    def _obey(self, order: ToWorker, ticket: int) -> None:
        match order:
            case Agreed(value):
                agreed = self._claims.get(ticket)
                if agreed is not None and not agreed.done():
                    agreed.set_result(value)
            case Asked(count):
                if (question := self._questions.get(ticket)) is not None:
                    question.wanted = count
                    question.look()
            case Came(number) | Left(number):
                for changed in self._changed:
                    changed(number, isinstance(order, Came))
            case Role(leads, workers):
                self.leads, self.workers = leads, workers
            case _:
                self._on_order(order)

    def _order(self, order: ToSupervisor, ticket: int = 0) -> bool:
        return self._send(Frame(Kind.ORDER, "", encode(order), self.number, ticket))

    def _send(self, frame: Frame) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > WAITING_BYTES:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8, ...: a flood is a few lines
                log.warning("%d messages to other workers were dropped: the supervisor does not read", self.dropped)
            return False
        transport.write(frame.packed())
        return True
