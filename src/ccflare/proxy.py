"""One exchange: a loop over accounts and verdicts.

Everything that decides is elsewhere and pure: the pool says which account is next, the provider's verdict what an
outcome means. Here is only the order of things: read, choose, send, weigh, deliver or go on, record.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ccflare import answers, strategy
from ccflare.clock import Clock
from ccflare.coding import decoder
from ccflare.credentials import Keyring
from ccflare.errors import TransportError
from ccflare.exchange import MAX_REASON, Held, OpenExchange
from ccflare.limits import (
    CoolAccount,
    LimitAccount,
    Outcome,
    Reading,
    RetryBudget,
    SetAside,
    Verdict,
    backoff_ms,
    judge_failure,
    read_limits,
    error_status,
)
from ccflare.pool import Ask, Pool
from ccflare.providers import Provider
from ccflare.records import Account, Attempt, Exchange, new_id
from ccflare.relay import Relay
from ccflare.settings import Settings
from ccflare.sse import NOT_AN_ERROR as NO_ERROR
from ccflare.sse import FirstEvent, first_event, read_error
from ccflare.transport import Response, Transport
from ccflare.wire import HOP_BY_HOP, BaseUrl, Headers, Inbound, OutgoingRequest, connection_tokens, header

log = logging.getLogger("ccflare.Proxy")

ERROR_BODY_BYTES = 64 * 1024
"""How much of an error's body is read before it is judged."""
ERROR_BODY_S = 5.0
"""How long that may take."""
FIRST_EVENT_BYTES = 128 * 1024
_NOT_RELAYED = HOP_BY_HOP | {b"content-length"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What an exchange works with."""

    pool: Pool
    keyring: Keyring
    transport: Transport
    provider: Provider
    clock: Clock
    rng: random.Random
    record: Callable[[Exchange], None]


class Proxy:
    """Serves client requests. `settings` may be replaced at any time; running exchanges see the new values."""

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self._parts = parts
        self._budget = RetryBudget()
        self._base_urls: dict[str, BaseUrl] = {}
        self._kept_bytes = 0
        self.settings = settings
        self.in_flight = 0

    async def serve(self, inbound: Inbound) -> None:
        """Answer one request and record the exchange. Cancelled when the client goes away."""
        clock = self._parts.clock
        now_ms = int(clock.now() * 1000)
        x = OpenExchange(inbound, new_id(now_ms, self._parts.rng), now_ms, clock.monotonic())
        if self.in_flight >= self.settings.max_exchanges:
            self._answer(x, 503, answers.error("overloaded_error", "ccflare serves too many requests at once"))
            self._record(x)
            return
        self.in_flight += 1
        try:
            await self._run(x)
        except asyncio.CancelledError:
            x.fail("client disconnected" if inbound.gone else "ccflare was stopped")
            if inbound.gone:
                x.status = 499
            raise
        except BaseException:
            x.fail("internal error")
            x.status = x.status or 500
            raise
        finally:
            self.in_flight -= 1
            self._record(x)

    async def _run(self, x: OpenExchange) -> None:
        provider = self._parts.provider
        if not provider.can_serve(x.path):
            message = f"Provider cannot handle path: {x.path.decode('ascii', 'backslashreplace')}"
            self._answer(x, 400, answers.error("invalid_request_error", message))
            return
        kept = await self._read(x)
        try:
            body = x.body if isinstance(x.body, bytes | bytearray) else None
            seen = strategy.peek(x.path, x.inbound.headers, body)
            x.model = seen.model
            x.session = strategy.session_key(seen, x.inbound.client)
            x.first_byte_by = x.ready_at + self.settings.first_byte_timeout_ms / 1000
            self._budget.deposit()
            if not await self._try_accounts(x):
                await self._exhausted(x)
        finally:
            self._kept_bytes -= kept

    async def _read(self, x: OpenExchange) -> int:
        """Read the request's body. Returns how many bytes of the common budget it holds."""
        inbound, settings = x.inbound, self.settings
        limit = min(settings.body_buffer_bytes, settings.body_buffers_bytes - self._kept_bytes)
        kept = limit if inbound.length is None else min(limit, inbound.length)
        self._kept_bytes += kept
        try:
            body = await inbound.read_body(limit)
        except BaseException:
            self._kept_bytes -= kept
            raise
        if body is None:
            x.body, x.body_length, x.repeatable = inbound.pieces(), inbound.length, False
        else:
            x.body, x.body_length = body, len(body)
            x.request_bytes = len(body)
        x.ready_at = self._parts.clock.monotonic()
        return kept

    # The loop.

    async def _try_accounts(self, x: OpenExchange) -> bool:
        """Go through the candidates. True when the client has an answer."""
        while (account := self._next(x)) is not None:
            if await self._try_account(x, account):
                return True
            x.tried.add(account.id)
            if not x.repeatable or self._parts.clock.monotonic() >= x.first_byte_by:
                return False
        return False

    def _next(self, x: OpenExchange) -> Account | None:
        now_ms = int(self._parts.clock.now() * 1000)
        for account in self._parts.pool.candidates(_ask(x), now_ms):
            if account.id not in x.tried:
                return account
        return None

    async def _try_account(self, x: OpenExchange, account: Account) -> bool:
        """Try one account, again where the verdict says so. True when the client has an answer."""
        pool, ask = self._parts.pool, _ask(x)
        pool.begin(account.id, ask)
        try:
            while (verdict := await self._attempt(x, account)) is not None:
                wait_ms = self._pause_ms(x, verdict)
                if wait_ms is None:
                    return False
                x.wait_ms = wait_ms
                await self._parts.clock.sleep(wait_ms / 1000)
            return True
        finally:
            pool.end(account.id, ask)

    def _pause_ms(self, x: OpenExchange, verdict: Verdict) -> int | None:
        """Return how long to wait before the same account is tried again; None: go on to the next."""
        settings, clock = self.settings, self._parts.clock
        x.retries += verdict.action == "retry"
        if verdict.action != "retry" or x.retries >= settings.retry_attempts or not x.repeatable:
            return None
        wait_ms = backoff_ms(
            x.retries - 1,
            delay_ms=settings.retry_delay_ms,
            factor=settings.retry_backoff,
            rng=self._parts.rng,
            retry_after_ms=verdict.retry_after_ms,
        )
        if clock.monotonic() + wait_ms / 1000 >= x.first_byte_by or not self._budget.withdraw(int(clock.now() * 1000)):
            return None
        return wait_ms

    # One attempt.

    async def _attempt(self, x: OpenExchange, account: Account) -> Verdict | None:
        """Send the request once. None when the answer was delivered, else what to do about it."""
        attempt = _Attempt(account, self._parts.clock.monotonic())
        secret = self._parts.keyring.secret(account)
        if secret is None:
            reason = f"Token expired or missing for account: {account.name}"
            return self._failed(x, attempt, Verdict("next", None, reason, None))
        headers, changed = self._parts.provider.outgoing_headers(x.inbound.headers, account.kind, secret)
        if changed:
            attempt.added.append((b"x-ccflare-changed", b"anthropic-beta"))
        if x.tried:
            attempt.added.append((b"x-ccflare-attempts", b"%d" % (len(x.attempts) + 1)))
        try:
            response = await self._open(x, attempt, headers)
        except TransportError as error:
            return self._failed(x, attempt, judge_failure(error.kind), detail=str(error))
        try:
            return await self._weigh(x, attempt, response)
        finally:
            response.discard()

    async def _open(self, x: OpenExchange, attempt: "_Attempt", headers: Headers) -> Response:
        """Send the request and wait for the head of the answer."""
        url = (attempt.account and attempt.account.base_url) or self.settings.upstream_url
        base = self._base_urls.get(url)
        if base is None:
            base = self._base_urls[url] = BaseUrl.parse(url)
        inbound, clock = x.inbound, self._parts.clock
        target = base.prefix + inbound.target if base.prefix else inbound.target
        try:
            return await self._parts.transport.open(
                base.origin,
                OutgoingRequest(inbound.method, target, headers, x.body, x.body_length),
                first_byte_s=x.first_byte_by - attempt.started,
                exchange_s=x.arrived_at + self.settings.exchange_timeout_ms / 1000 - attempt.started,
            )
        except asyncio.CancelledError:
            self._note(x, attempt, "cancelled")
            raise
        finally:
            x.upstream_s += clock.monotonic() - attempt.started

    async def _weigh(self, x: OpenExchange, attempt: "_Attempt", response: Response) -> Verdict | None:
        """Judge an answer by its head and, where that says too little, by its beginning; deliver it or not."""
        account = attempt.account
        assert account is not None
        now_ms = int(self._parts.clock.now() * 1000)
        reading = read_limits(response.headers, now_ms)
        self._say(self._parts.pool.note(account.id, reading, now_ms))
        began = self._parts.clock.monotonic()
        try:
            beginning, outcome = await _look(x, account, response, reading, now_ms)
        except TransportError as error:
            return self._failed(x, attempt, judge_failure(error.kind), response.status, str(error))
        except asyncio.CancelledError:
            self._note(x, attempt, "cancelled", response.status)
            raise
        finally:
            x.upstream_s += self._parts.clock.monotonic() - began
        verdict = self._parts.provider.verdict(outcome)
        if verdict.action != "deliver":
            if outcome.status >= 500 or verdict.effect is None or isinstance(verdict.effect, CoolAccount):
                await _hold(x, account, response, beginning, outcome.status)
            return self._failed(x, attempt, verdict, outcome.status)
        if verdict.effect is not None:
            self._say(self._parts.pool.apply(account.id, verdict.effect, _ask(x), now_ms))
        await self._deliver(x, attempt, response, beginning)
        return None

    def _failed(
        self, x: OpenExchange, attempt: "_Attempt", verdict: Verdict, status: int | None = None, detail: str = ""
    ) -> Verdict:
        """Note an attempt whose outcome is not delivered, with its effect on the account."""
        account = attempt.account
        assert account is not None
        reason = f"{verdict.reason}: {detail}" if detail else verdict.reason
        now_ms = int(self._parts.clock.now() * 1000)
        if verdict.effect is not None:
            x.limited |= isinstance(verdict.effect, LimitAccount | SetAside)
            self._say(self._parts.pool.apply(account.id, verdict.effect, _ask(x), now_ms))
        log.warning("Failed to proxy request with account %s: %s", account.name, reason)
        self._note(x, attempt, verdict.action, status, reason)
        return verdict

    def _note(
        self, x: OpenExchange, attempt: "_Attempt", verdict: str, status: int | None = None, reason: str | None = None
    ) -> None:
        x.note_attempt(
            Attempt(
                account_id=attempt.account.id if attempt.account else None,
                verdict=verdict,
                status=status,
                duration_ms=round((self._parts.clock.monotonic() - attempt.started) * 1000),
                wait_ms=x.wait_ms,
                reason=reason and reason[:MAX_REASON],
            )
        )

    # The answer.

    async def _deliver(self, x: OpenExchange, attempt: "_Attempt", response: Response, beginning: bytes) -> None:
        """Relay an answer to the client until its end, however that comes."""
        inbound, clock = x.inbound, self._parts.clock
        x.account, x.status = attempt.account, response.status
        if x.repeatable:
            x.body = b""  # it will not be sent again
        if response.status < 300 and attempt.account is not None:
            self._say(self._parts.pool.served(_ask(x), attempt.account.id, int(clock.now() * 1000)))
        relay = Relay(inbound, clock.monotonic)
        headers = _relayed(response.headers) + attempt.added
        headers.append((b"server-timing", b"ccflare;dur=%.2f" % x.take_time(clock.monotonic())))
        inbound.start(response.status, response.reason, headers, response.content_length)
        inbound.on_drain(response.resume)
        verdict, reason = "cancelled", None
        try:
            if beginning:
                relay.write(beginning)
            await response.relay(relay)
            inbound.finish()
            verdict = "deliver"
        except TransportError as error:
            verdict, reason = "broken", str(error)
            x.fail("truncated stream" if x.streamed else f"truncated answer: {error}")
            inbound.abort(reset=error.reset)
        finally:
            x.first_byte_at, x.response_bytes = relay.first_byte_at, relay.bytes_sent
            self._note(x, attempt, verdict, response.status, reason)

    def _answer(self, x: OpenExchange, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Give an answer of our own."""
        x.status, x.response_bytes = status, len(body)
        x.first_byte_at = self._parts.clock.monotonic()
        answers.send(x.inbound, status, body, headers or [])

    async def _exhausted(self, x: OpenExchange) -> None:
        """Answer an exchange that no account could serve."""
        blocked = self._parts.pool.blocked(_ask(x), int(self._parts.clock.now() * 1000))
        provider, held = self._parts.provider, x.held
        if not x.attempts:
            if not blocked.only_rate_limited or provider.has_own_credential(x.inbound.headers):
                await self._forward_unauthenticated(x)
                return
        elif held is not None and held.judged >= 500:
            self._deliver_held(x, held)
            return
        if x.limited or not x.attempts:
            x.fail("every account is rate limited")
            wait_ms = max(0, (blocked.recovery_ms or 0) - int(self._parts.clock.now() * 1000))
            status, headers, body = provider.pool_limited_answer(-(-wait_ms // 1000) or 1, blocked.recovery_ms, blocked.unified)
            self._answer(x, status, body, headers)
        elif held is not None:
            self._deliver_held(x, held)
        else:
            last = x.attempts[-1].reason or "no answer"
            x.fail(f"{answers.ALL_FAILED}: {last}")
            self._answer(x, 503, answers.all_failed(len(x.attempts), last))

    def _deliver_held(self, x: OpenExchange, held: Held) -> None:
        """Deliver the last refused answer as upstream gave it."""
        x.account, x.status, x.response_bytes = held.account, held.status, len(held.body)
        x.first_byte_at = self._parts.clock.monotonic()
        x.inbound.start(held.status, held.reason, held.headers, len(held.body))
        x.inbound.write(held.body)
        x.inbound.finish()

    async def _forward_unauthenticated(self, x: OpenExchange) -> None:
        """Send the request with the client's own credential, because no account can be used."""
        log.warning("No active accounts available - forwarding request without authentication")
        attempt = _Attempt(None, self._parts.clock.monotonic(), [(b"x-ccflare-account", b"none")])
        headers = self._parts.provider.anonymous_headers(x.inbound.headers)
        try:
            response = await self._open(x, attempt, headers)
        except TransportError as error:
            log.error("%s: %s", answers.UNAUTHENTICATED_FAILED, error)
            x.fail(f"{answers.UNAUTHENTICATED_FAILED}: {error}")
            self._note(x, attempt, "next", None, str(error))
            self._answer(x, 502, answers.unauthenticated_failed(str(error)))
            return
        try:
            x.streamed = _is_event_stream(response)
            await self._deliver(x, attempt, response, b"")
        finally:
            response.discard()

    # The record.

    def _record(self, x: OpenExchange) -> None:
        """Log the exchange and hand it to the journal."""
        exchange = x.record(self._parts.clock.monotonic())
        name = x.account.name if x.account else "no account"
        what = "Streaming response" if x.streamed else "Request"
        log.info("%s completed for %s: %d in %dms", what, name, x.status, exchange.response_time_ms)
        self._parts.record(exchange)

    @staticmethod
    def _say(line: str | None) -> None:
        if line is not None:
            log.warning("%s", line)


@dataclass(slots=True)
class _Attempt:
    """One try while it lasts."""

    account: Account | None
    started: float
    added: Headers = field(default_factory=list)
    """Headers that tell the client what was not as it would have been without us."""


def _ask(x: OpenExchange) -> Ask:
    return Ask(x.session, x.model)


async def _look(
    x: OpenExchange, account: Account, response: Response, reading: Reading, now_ms: int
) -> tuple[bytes, Outcome]:
    """Read as much of an answer as its judgement needs. Returns those bytes, and how the attempt ended."""
    status = response.status
    beginning, error = b"", NO_ERROR
    if status >= 400:
        beginning, error = await _read_error(response)
    elif status < 300 and _is_event_stream(response):
        x.streamed = True
        beginning, error = await _read_first_event(response)
        if error.is_error:
            status = error_status(error.error_type)
    return beginning, Outcome(
        status=status,
        now_ms=now_ms,
        kind=account.kind,
        reading=reading,
        error_type=error.error_type,
        error_message=error.message,
        error_code=error.code,
        model=x.model,
        refreshed=x.refreshed,
    )


async def _read_error(response: Response) -> tuple[bytes, FirstEvent]:
    """Read the body of an error, or the beginning of a long or slow one."""
    body = await _read_on(response, b"")
    plain = decoder(header(response.headers, b"content-encoding"), ERROR_BODY_BYTES)
    return body, FirstEvent(True, *read_error(plain.feed(body))) if plain else NO_ERROR


async def _read_on(response: Response, body: bytes) -> bytes:
    """Read until the end, `ERROR_BODY_BYTES` or `ERROR_BODY_S`, whichever comes first."""
    parts, size = [body], len(body)
    try:
        async with asyncio.timeout(ERROR_BODY_S):
            while size < ERROR_BODY_BYTES and (part := await response.read()):
                parts.append(part)
                size += len(part)
    except TimeoutError:
        log.debug("The body of an upstream error came too slowly to be read whole")
    return b"".join(parts)


async def _read_first_event(response: Response) -> tuple[bytes, FirstEvent]:
    """Read an event stream until it is known whether it begins with an error."""
    plain = decoder(header(response.headers, b"content-encoding"), FIRST_EVENT_BYTES)
    if plain is None:
        return b"", NO_ERROR
    parts: list[bytes] = []
    text = bytearray()
    while part := await response.read():
        parts.append(part)
        text += plain.feed(part)
        event = first_event(text)
        if event is not None or plain.broken:
            return b"".join(parts), event or NO_ERROR
    return b"".join(parts), first_event(text, ended=True) or NO_ERROR


async def _hold(x: OpenExchange, account: Account, response: Response, beginning: bytes, judged: int) -> None:
    """Keep a refused answer whole, unless it is long: it is delivered when nothing better comes."""
    try:
        body = await _read_on(response, beginning)
        ended = not await asyncio.wait_for(response.read(), ERROR_BODY_S)
    except (TransportError, TimeoutError):
        return
    if ended:
        x.held = Held(judged, response.status, response.reason, _relayed(response.headers), body, account)


def _is_event_stream(response: Response) -> bool:
    content_type = header(response.headers, b"content-type")
    return content_type is not None and content_type[:17].lower() == b"text/event-stream"


def _relayed(headers: Headers) -> Headers:
    """Return the end-to-end headers of an answer."""
    dropped = _NOT_RELAYED
    if any(name.lower() == b"connection" for name, _ in headers):
        dropped = _NOT_RELAYED | connection_tokens(headers)
    return [pair for pair in headers if pair[0].lower() not in dropped]
