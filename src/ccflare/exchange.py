"""What is known of an exchange while it runs; in the end it becomes one `records.Exchange`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from ccflare.choice import NOBODYS, Choice
from ccflare.meter import Metered
from ccflare.payload import MASK, Captured, masked
from ccflare.pool import Ask
from ccflare.pricing import PriceTable, cost
from ccflare.records import Account, Attempt, ClientKey, Exchange, Secret
from ccflare.strategy import named_session
from ccflare.usage import NOT_SAID
from ccflare.wire import Asked, Body, Inbound

UNKNOWN = Ask()
NOBODY = Account(id="", name="no account", created_at_ms=0)
"""Stands for the account where there is none: an answer of our own, or the client's own credential."""

MAX_PATH = 2048
MAX_REASON = 500


@dataclass(slots=True)
class Held:
    """An upstream answer kept whole, to be delivered when nothing better comes."""

    judged: int
    """The status it stands for; another than `status` for an event stream that began with an error."""
    status: int
    reason: bytes
    lines: bytes
    names: tuple[bytes, ...]
    """Upstream's, as far as they are known to be in `lines`."""
    body: bytes
    account: Account


class Relayed(Protocol):
    """What counts an answer on its way."""

    bytes_sent: int


Phase = Literal["reading", "choosing", "waiting", "pausing", "answering"]
"""The client's request comes in, an account is chosen, upstream or the next attempt is waited for, the answer flows."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange that has not ended, at one instant."""

    id: str
    timestamp_ms: int
    """Arrival."""
    age_ms: int
    method: str
    path: str
    phase: Phase
    account: Account | None
    """Who is being tried, or answers."""
    choice: Choice | None
    model: str | None
    session: str | None
    client: str
    client_key: ClientKey | None
    """What it came with."""
    streamed: bool
    request_bytes: int
    response_bytes: int
    attempts: tuple[Attempt, ...]
    """Those that have ended."""


class Record(Protocol):
    """Keeps an exchange that has ended, and what was captured of it. Never waits."""

    def __call__(self, exchange: Exchange, captured: Captured | None = None, /) -> None:
        """Take both over."""
        ...


class OpenExchange:
    """One client request on its way. `client_key` is None when nobody has to bring one.

    Instants are monotonic seconds unless their name says otherwise.
    """

    __slots__ = (
        "account", "arrived_at", "arrived_ms", "ask", "asked", "attempts", "body", "body_length", "captured",
        "choice", "claims", "client_key", "credential", "error", "first_byte_at", "first_byte_by", "held", "id",
        "inbound", "limited", "metered", "own_ms", "path", "paused_until", "ready_at", "refreshed", "relay",
        "repeatable", "request_bytes", "response_bytes", "retries", "status", "streamed", "tried", "trying",
        "upstream_s", "wait_ms",
    )  # fmt: skip

    def __init__(
        self,
        inbound: Inbound,
        exchange_id: str,
        arrived_ms: int,
        arrived_at: float,
        client_key: ClientKey | None = None,
    ) -> None:
        self.inbound, self.client_key = inbound, client_key
        self.id, self.arrived_ms, self.arrived_at = exchange_id, arrived_ms, arrived_at
        self.asked = inbound.memory.asked or _asked(inbound)
        self.path = self.asked.path
        self.ready_at = arrived_at
        """When the request had been read; ccflare's own share of the time counts from here."""
        self.first_byte_by = arrived_at
        self.first_byte_at: float | None = None
        self.upstream_s = self.paused_until = 0.0
        """Time spent waiting for upstream; until when the next attempt waits."""
        self.own_ms: float | None = None
        """ccflare's own share of the time to the first byte."""
        self.ask, self.choice = UNKNOWN, NOBODYS
        self.body: Body = b""
        self.body_length: int | None = None
        self.repeatable = True
        """The body can be sent again."""
        self.account = self.trying = NOBODY
        """Whose answer the client got; who was chosen last, why says `choice`."""
        self.relay: Relayed | None = None  # counts what the client has got while the answer is on its way
        self.attempts: list[Attempt] = []
        self.tried: set[str] = set()
        self.limited = False
        """An account was skipped because of a limit."""
        self.held: Held | None = None
        self.status = 0
        self.error: str | None = None
        self.metered: Metered | None = None
        """What the answer said about its usage; None where it was not looked at."""
        self.captured: Captured | None = None
        """What was said, for the store; None when it is not to be kept."""
        self.streamed = self.refreshed = False
        self.credential: Secret | None = None  # what the last attempt proved itself with
        self.request_bytes = self.response_bytes = self.retries = self.wait_ms = self.claims = 0

    @property
    def party(self) -> str:
        """Whose session ids these are: of who holds the client key, else of the client's address."""
        return self.inbound.client if self.client_key is None else self.client_key.id

    def fail(self, error: str) -> None:
        """Note why the exchange is no success; the first reason stays."""
        if self.error is None:
            self.error = self.clean(error)[:MAX_REASON]

    @property
    def told_error(self) -> bool:
        """Whether the client got a stream with an `error` event: what it does behind that is no news."""
        return self.streamed and self.metered is not None and self.metered.has_error

    def cancel(self, *, gone: bool) -> None:
        """Note that the answer was not waited for: the client has gone, or ccflare is being stopped."""
        self.fail("client disconnected" if gone else "ccflare was stopped")
        if not self.told_error:
            self.status = 499 if gone else self.status or 503

    def note(self, account: Account, seconds: float, verdict: str, status: int | None, reason: str | None) -> None:
        """Add an attempt that has ended, and how long it has taken."""
        short = reason and self.clean(reason)[:MAX_REASON]
        duration_ms = round(seconds * 1000)
        self.attempts.append(
            Attempt(account.id or None, verdict, status, duration_ms, self.wait_ms, short, self.choice)
        )
        self.wait_ms = 0

    def clean(self, text: str) -> str:
        """Return what upstream has said without the credential that it was told, and without anything like one."""
        if self.credential is not None:
            text = text.replace(self.credential.reveal(), MASK)
        return masked(text)

    async def sent_once(self) -> AsyncGenerator[bytes, None]:
        """Yield a body that is too long to be kept: once its first piece is asked for, it cannot be sent again."""
        self.repeatable = False
        async with aclosing(self.inbound.pieces()) as pieces:
            async for piece in pieces:
                if self.body_length is None:
                    self.request_bytes += len(piece)
                yield piece

    def capture_request(self, captured: Captured, body: bytes | bytearray | None) -> None:
        """Keep the request's body, or what of its pieces will be sent."""
        if body is not None:
            captured.request.add(body)
        elif not isinstance(self.body, bytes | bytearray):
            self.body = captured.request.listen(self.body)

    def answered(self, status: int, lines: bytes, names: tuple[bytes, ...], body: bytes = b"") -> None:
        """Capture the head of the answer that the client gets, and as much of the body as is there."""
        if self.captured is not None:
            self.captured.answered(status, lines, names)
            if body:
                self.captured.response.add(body)

    def take_time(self, now: float) -> float:
        """Fix and return ccflare's own share of the time so far, in milliseconds."""
        own_s = now - self.ready_at - self.upstream_s
        self.own_ms = own_s * 1000 if own_s > 0 else 0.0
        return self.own_ms

    def so_far(self, now: float) -> "Running":
        """Return what can be told of the exchange while it runs."""
        account = self.account if self.status else self.trying
        relay, model = self.relay, self.ask.model
        return Running(
            id=self.id,
            timestamp_ms=self.arrived_ms,
            age_ms=round((now - self.arrived_at) * 1000),
            method=self.asked.method,
            path=self.asked.shown_path,
            phase=self._phase(now),
            account=None if account is NOBODY else account,
            choice=self.choice,
            model=None if model is None else self.clean(model),
            session=self.ask.session,
            client=self.inbound.client,
            client_key=self.client_key,
            streamed=self.streamed,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes if relay is None else relay.bytes_sent,
            attempts=tuple(self.attempts),
        )

    def _phase(self, now: float) -> "Phase":
        if self.status:
            return "answering"
        if self.choice is NOBODYS:
            return "reading" if self.ask is UNKNOWN else "choosing"
        return "pausing" if now < self.paused_until else "waiting"

    def record(self, now: float, prices: PriceTable) -> Exchange:
        """Return the row of this exchange."""
        first, metered = self.first_byte_at, self.metered
        success = self.error is None and 200 <= self.status < 300
        usage = NOT_SAID if metered is None else metered.usage
        model = usage.model or self.ask.model
        if model is not None and model not in prices.models and (clean := self.clean(model)) != model:
            model, usage = clean, msgspec.structs.replace(usage, model=clean)
        return Exchange(
            id=self.id,
            timestamp_ms=self.arrived_ms,
            method=self.asked.method,
            path=self.asked.shown_path,
            account_id=self.account.id or None,
            status_code=self.status,
            success=success,
            error_message=self.error if success or self.error else f"status {self.status}",
            response_time_ms=round((now - self.arrived_at) * 1000),
            first_byte_ms=None if first is None else round((first - self.arrived_at) * 1000),
            own_ms=self.own_ms,
            model=model,
            usage=usage,
            cost_microusd=None if metered is None else cost(usage, prices),
            output_tokens_per_second=None if metered is None else metered.output_tokens_per_second,
            session=self.ask.session,
            client=self.inbound.client,
            client_key_id=None if self.client_key is None else self.client_key.id,
            streamed=self.streamed,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            attempts=tuple(self.attempts),
        )


def _asked(inbound: Inbound) -> Asked:
    """Work out what a request says, for those after it with the same head too."""
    path = inbound.target.partition(b"?")[0]
    shown = masked(path[:MAX_PATH].decode("ascii", "backslashreplace"))
    method = inbound.method.decode("ascii", "replace")
    inbound.memory.asked = asked = Asked(method, path, shown, named_session(inbound.headers))
    return asked
