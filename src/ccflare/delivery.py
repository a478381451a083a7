"""An answer on its way to the client: upstream's as it comes, upstream's that was held, or one of our own."""

import logging
from collections.abc import Callable

import msgspec

from ccflare import answers
from ccflare.errors import TransportError
from ccflare.exchange import NOBODY, Held, OpenExchange
from ccflare.meter import Meter, Sightings
from ccflare.pool import Pool
from ccflare.providers import Provider
from ccflare.records import Account
from ccflare.relay import Relay
from ccflare.transport import Response
from ccflare.wire import Headers, lines_of

log = logging.getLogger("ccflare.Proxy")
usage_log = logging.getLogger("ccflare.extractUsageInfo")


class OpenAttempt(msgspec.Struct, frozen=True):
    """One try while it lasts."""

    account: Account
    started: float
    added: Headers = []
    """Headers that tell the client what was not as it would have been without us."""


class Delivery:
    """Answers exchanges, and learns from the answers that upstream gave."""

    def __init__(
        self, pool: Pool, provider: Provider, monotonic: Callable[[], float], now_ms: Callable[[], int]
    ) -> None:
        self._pool = pool
        self._provider = provider
        self._monotonic = monotonic
        self._now_ms = now_ms

    async def relay(self, x: OpenExchange, attempt: OpenAttempt, response: Response, beginning: bytes) -> None:
        """Relay an answer to the client until its end, however that comes."""
        inbound, monotonic = x.inbound, self._monotonic
        x.account, x.status = attempt.account, response.status
        if x.repeatable:  # it will not be sent again
            x.body = b""
            response.when_sent(inbound.release_body)
        if response.status < 300:
            self._served(x)
        section = response.section
        lines = section.end_to_end + (lines_of(attempt.added) if attempt.added else b"") + self._timing(x)
        inbound.start(response.status, response.reason, lines, response.content_length)
        inbound.on_drain(response.resume)
        meter = self._meter(x, response.status, section.coding)
        x.answered(response.status, lines, section.names)
        relay = x.relay = Relay(inbound, monotonic, meter, None if x.captured is None else x.captured.response)
        verdict, broken = "cancelled", None
        try:
            if beginning:
                relay.write(beginning)
            else:
                inbound.flush()
            await response.relay(relay)
            inbound.finish()
            verdict = "deliver"
        except TransportError as error:
            verdict, broken = "broken", str(error)
            inbound.abort(reset=error.reset)
        finally:
            x.first_byte_at, x.response_bytes = relay.first_byte_at, relay.bytes_sent
            verdict = self._ended(x, meter, verdict, broken)
            x.note(attempt.account, monotonic() - attempt.started, verdict, response.status, broken)
            self._forget_deleted(x)

    def held(self, x: OpenExchange, held: Held) -> None:
        """Deliver the last refused answer as upstream gave it."""
        x.account, x.status, x.response_bytes = held.account, held.status, len(held.body)
        x.fail(x.attempts[-1].reason or f"status {held.judged}")
        x.first_byte_at = self._monotonic()
        lines = held.lines + self._timing(x)
        x.answered(held.status, lines, held.names, held.body)
        x.inbound.start(held.status, held.reason, lines, len(held.body))
        x.inbound.write(held.body)
        x.inbound.finish()

    def own(self, x: OpenExchange, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Give an answer of our own."""
        x.status, x.response_bytes, x.first_byte_at = status, len(body), self._monotonic()
        headers = headers or []
        lines = lines_of(headers) + self._timing(x)
        x.answered(status, answers.LINES + lines, tuple([name for name, _ in headers]), body)
        answers.send(x.inbound, status, body, lines)

    def _served(self, x: OpenExchange) -> None:
        back = self._pool.served(x.ask, x.account.id, self._now_ms())
        if back is not None:
            log.info("%s", back)

    def _meter(self, x: OpenExchange, status: int, coding: bytes | None) -> Meter | Sightings | None:
        """Return what reads an answer on the side: its usage, or just the ids of objects that it shows.

        Of a refusal it is the error, where nobody had to read that before.
        """
        if status >= 300:
            return Meter(streamed=False, coding=coding) if status >= 400 and x.error is None else None
        find = self._provider.object_finder(x.inbound.method, x.path)
        if self._provider.feeds_usage(x.path):
            return Meter(streamed=x.streamed, coding=coding, find=find)
        return None if find is None or x.streamed else Sightings(find, coding)

    def _forget_deleted(self, x: OpenExchange) -> None:
        deleted = self._provider.object_deleted(x.inbound.method, x.path)
        if deleted is not None and x.status < 300:
            self._pool.owners.forget(deleted)

    def _ended(self, x: OpenExchange, meter: Meter | Sightings | None, verdict: str, broken: str | None) -> str:
        """Read what an answer has told, and say how its attempt ended. An error that it told comes before a bad end."""
        if meter is not None:
            self._read_meter(x, meter, complete=verdict == "deliver")
        if broken is not None:
            x.fail("truncated stream" if x.streamed else f"truncated answer: {broken}")
        elif verdict == "cancelled" and x.told_error:
            return "deliver"  # clients leave when they have read an error: nothing follows it
        return verdict

    def _read_meter(self, x: OpenExchange, meter: Meter | Sightings, *, complete: bool) -> None:
        if isinstance(meter, Sightings):
            self._note_objects(x, meter.end())
            return
        told = meter.end(complete=complete)
        if x.status >= 400:
            if told.failure is not None and told.has_error:
                x.fail(told.failure)
            return
        x.metered = told
        self._note_objects(x, told.objects)
        if (complete or told.has_error) and told.failure is not None:
            x.fail(told.failure)
        if told.problem is not None:
            usage_log.warning("Usage of %s could not be read whole: %s", x.id, told.problem)

    def _note_objects(self, x: OpenExchange, objects: tuple[str, ...]) -> None:
        """Note who showed these objects: they are that account's."""
        if objects and x.account is not NOBODY:
            self._pool.owners.note(x.account.id, objects, self._now_ms())

    def _timing(self, x: OpenExchange) -> bytes:
        """Return the line that tells how much of the time so far was ours."""
        return b"server-timing: ccflare;dur=%.2f\r\n" % x.take_time(self._monotonic())
