"""One exchange: a loop over accounts and verdicts.

Everything that decides is elsewhere and pure: the pool says which account is next, the provider's verdict what an
outcome means. Here is only the order of things: read, choose, send, weigh, deliver or go on, record.
"""

import asyncio
import logging
import random
from dataclasses import dataclass, field
from functools import partial

from ccflare import answers, logs, strategy
from ccflare.agreement import agreed, agreed_next
from ccflare.beginning import is_routine, is_stream, read_error_body, read_first_event, read_whole
from ccflare.bus import Alone, Colleagues
from ccflare.choice import ONLY, OWN_CREDENTIAL, again
from ccflare.clock import Clock
from ccflare.credentials import Keyring
from ccflare.delivery import Delivery, OpenAttempt
from ccflare.door import Door
from ccflare.errors import TransportError
from ccflare.exchange import NOBODY, Held, OpenExchange, Record
from ccflare.limits import (
    LimitAccount,
    Outcome,
    RefuseCredential,
    RetryBudget,
    SetAside,
    Verdict,
    backoff_ms,
    error_status,
    judge_failure,
    read_limits,
)
from ccflare.payload import Captured
from ccflare.pool import Ask, Pool
from ccflare.pricing import BUNDLED
from ccflare.providers import Provider, outgoing_of
from ccflare.records import Account, Secret, new_id, state_of
from ccflare.refresh import Refresher
from ccflare.settings import Settings
from ccflare.sse import NOT_AN_ERROR, FirstEvent
from ccflare.traces import Traces
from ccflare.transport import Response, Transport, address_of
from ccflare.wire import BaseUrl, ByteBudget, Headers, Inbound, OutgoingRequest, Serialized, lines_of

log = logging.getLogger("ccflare.Proxy")
completed = logs.Message("Proxy", "INFO", "%s completed for %s: %d in %dms")
strategy_log = logging.getLogger("ccflare.SessionStrategy")

TOO_LATE_S = 0.005
"""With less time than this nothing is tried any more: loop timers may fire a millisecond early."""
CAPTURED_BYTES = 64 * 1024 * 1024
"""What may be captured of all running exchanges together; beyond it bodies are cut earlier."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What an exchange works with."""

    pool: Pool
    keyring: Keyring
    transport: Transport
    provider: Provider
    clock: Clock
    rng: random.Random
    record: Record
    refresher: Refresher | None = None
    """Where tokens come from that are not good any more; None: there are only keys."""
    door: Door = field(default_factory=Door)
    """Lets clients in."""
    colleagues: Colleagues = field(default_factory=Alone)
    traces: Traces | None = None


class Proxy:
    """Serves client requests. `settings` and `prices` may be replaced at any time, and count at once."""

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self._parts = parts
        self._pool = parts.pool
        self._provider = parts.provider
        self._keys = parts.door.keys
        alone = not parts.colleagues.number
        self._try = self._try_accounts if alone else partial(agreed, parts, self._next, self._try_accounts)
        self._monotonic, self._wall = parts.clock.monotonic, parts.clock.now
        self._delivery = Delivery(parts.pool, parts.provider, parts.clock.monotonic, self._now_ms)
        self.budget = RetryBudget()
        self._base_urls: dict[str, BaseUrl] = {}
        self._bodies = ByteBudget(settings.body_buffers_bytes)
        self._captures = ByteBudget(CAPTURED_BYTES)
        self.settings = settings
        self.prices = BUNDLED
        self.open: dict[str, OpenExchange] = {}
        """The exchanges that run, by id, in the order of their arrival; others only read it."""

    @property
    def in_flight(self) -> int:
        """How many exchanges run."""
        return len(self.open)

    async def serve(self, inbound: Inbound) -> None:
        """Answer one request and record the exchange. Cancelled when the client goes away."""
        key = None
        if self._keys.required and (key := await self._parts.door.admit(inbound)) is None:
            return
        now_ms = self._now_ms()
        x = OpenExchange(inbound, new_id(now_ms, self._parts.rng), now_ms, self._monotonic(), key)
        if self.settings.store_payloads and (key is None or key.store_payloads):
            x.captured = Captured(inbound.target, inbound.headers, self._captures, inbound.memory.redacted)
        self.open[x.id] = x
        try:
            if len(self.open) + self._pool.others.in_flight <= self.settings.max_exchanges:
                await self._run(x)
            else:
                x.fail("too many requests at once")
                self._delivery.own(x, 503, answers.too_many())
        except asyncio.CancelledError:
            x.cancel(gone=inbound.gone)
            raise
        except BaseException:
            x.fail("internal error")
            x.status = x.status or 500
            raise
        finally:
            del self.open[x.id]
            self._record(x)

    async def _run(self, x: OpenExchange) -> None:
        if not self._provider.can_serve(x.path):
            message = f"Provider cannot handle path: {x.path.decode('ascii', 'backslashreplace')}"
            x.fail(message)
            self._delivery.own(x, 400, answers.error("invalid_request_error", message))
            return
        body = await self._read(x)
        seen = strategy.peek(x.path, x.asked.session_id, body)
        x.ask = Ask(strategy.session_key(seen, x.party), seen.model, self._owner(x, body))
        del body  # `x.body` is it, for as long as it may be sent again
        x.first_byte_by = x.ready_at + self.settings.first_byte_timeout_ms / 1000
        self.budget.deposit()
        if not await self._try(x):
            await self._exhausted(x)

    def _owner(self, x: OpenExchange, body: bytes | bytearray | None) -> str | None:
        """Return the account that owns what the request names; None for nearly every request."""
        kinds = self._pool.owners.kinds
        if not kinds:
            return None
        named = self._provider.objects_named(x.inbound.target, body, kinds)
        owners = self._pool.owners.accounts_of(named, x.arrived_ms)
        if len(owners) > 1:
            log.debug("Exchange %s names objects of %d accounts; the first one's counts", x.id, len(owners))
        return owners[0] if owners else None

    async def _read(self, x: OpenExchange) -> bytes | bytearray | None:
        """Read the request's body; None when it is too long to be kept, and will be sent piece by piece."""
        inbound = x.inbound
        self._bodies.limit = self.settings.body_buffers_bytes // self._parts.colleagues.workers
        body = await inbound.read_body(self.settings.body_buffer_bytes, self._bodies)
        if body is None:
            x.body, x.body_length = x.sent_once(), inbound.length
        else:
            x.body, x.body_length = body, len(body)
        x.request_bytes = x.body_length or 0
        if x.captured is not None:
            x.capture_request(x.captured, body)
        x.ready_at = self._monotonic()
        return body

    # The loop.

    async def _try_accounts(self, x: OpenExchange) -> bool:
        """Go through the candidates. True when the client has an answer."""
        account = self._next(x)
        while account is not None and not await self._try_account(x, account):
            x.tried.add(account.id)
            if not x.repeatable or self._monotonic() + TOO_LATE_S >= x.first_byte_by:
                return False
            account = await agreed_next(self._parts, self._next, x, account.id)
        return account is not None

    def _next(self, x: OpenExchange) -> Account | None:
        """Return the first candidate that was not tried; those without a token, and without hope for one, come last."""
        last: Account | None = None
        for account, choice in self._pool.choices(x.ask, self._now_ms()):
            if account.id in x.tried:
                continue
            if account.kind == "oauth" and self._is_hopeless(account):
                last = last or account
                continue
            x.choice = choice
            if strategy_log.isEnabledFor(logging.DEBUG):
                said = x.id, x.ask.session, x.ask.model, account.name, choice.words
                strategy_log.debug("Exchange %s (session %s, model %s): %s, %s", *said)
            return account
        x.choice = ONLY
        return last

    async def _try_account(self, x: OpenExchange, account: Account) -> bool:
        """Try one account, again where the verdict says so. True when the client has an answer."""
        self._pool.begin(account.id, x.ask)
        x.trying, x.refreshed = account, False
        try:
            while (verdict := await self._attempt(x, account)) is not None:
                x.choice = again(x.choice)
                if verdict.action == "refresh":
                    if not await self._refresh(x, account):
                        return False
                    continue
                wait_ms = self._pause_ms(x, verdict)
                if wait_ms is None:
                    return False
                x.wait_ms, x.paused_until = wait_ms, self._monotonic() + wait_ms / 1000
                x.upstream_s += wait_ms / 1000
                await self._parts.clock.sleep(wait_ms / 1000)
            return True
        finally:
            self._pool.end(account.id, x.ask)

    def _pause_ms(self, x: OpenExchange, verdict: Verdict) -> int | None:
        """Return how long to wait before the same account is tried again; None: go on to the next."""
        settings = self.settings
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
        in_time = self._monotonic() + wait_ms / 1000 + TOO_LATE_S < x.first_byte_by
        return wait_ms if in_time and self.budget.withdraw(self._now_ms()) else None

    # Tokens.

    async def _refresh(self, x: OpenExchange, account: Account) -> bool:
        """Have the token replaced that upstream has refused. True when the request can be repeated with another."""
        x.refreshed = True
        return await self._fresh(x, account, x.credential) is not None and x.repeatable

    async def _fresh(self, x: OpenExchange, account: Account, refused: Secret | None = None) -> Secret | None:
        """Wait for a good token; that is no time of ours. None when there is none in time."""
        refresher, began = self._parts.refresher, self._monotonic()
        if refresher is None or account.kind != "oauth":
            return None
        try:
            async with asyncio.timeout(max(0.0, x.first_byte_by - began)):
                return await refresher.fresh(account, refused)
        except TimeoutError:
            return None
        finally:
            x.upstream_s += self._monotonic() - began

    def _is_hopeless(self, account: Account) -> bool:
        refresher = self._parts.refresher
        return refresher is not None and refresher.is_hopeless(account)

    def _without_token(self, account: Account) -> Verdict:
        """Say why there is nothing to send for an account."""
        refresher = self._parts.refresher
        if refresher is None or account.kind != "oauth":
            return Verdict("next", reason=f"Token expired or missing for account: {account.name}")
        return Verdict("next", reason=refresher.trouble(account))

    # One attempt.

    async def _attempt(self, x: OpenExchange, account: Account) -> Verdict | None:
        """Send the request once. None when the answer was delivered, else what to do about it."""
        attempt = OpenAttempt(account, self._monotonic())
        secret = self._parts.keyring.secret(account, self._now_ms()) or await self._fresh(x, account)
        if secret is None:
            return self._failed(x, attempt, self._without_token(account))
        x.credential = secret
        if x.captured is not None:
            x.captured.secrets.append(secret)
        outgoing = outgoing_of(x.inbound, self._provider, account, secret)
        if outgoing.changed:
            attempt.added.append((b"x-ccflare-changed", b"anthropic-beta"))
        if x.tried:
            attempt.added.append((b"x-ccflare-attempts", b"%d" % (len(x.attempts) + 1)))
        if x.choice.instead_of is not None:
            attempt.added.append((b"x-ccflare-session", b"stand-in"))
        try:
            response = await self._open(x, attempt, outgoing.headers, outgoing.serialized)
        except TransportError as error:
            if error.kind == "exchange_timeout":
                x.first_byte_by = attempt.started  # nothing further is tried
            return self._failed(x, attempt, judge_failure(error.kind), detail=str(error))
        try:
            return await self._weigh(x, attempt, response)
        finally:
            response.discard()

    async def _open(
        self, x: OpenExchange, attempt: OpenAttempt, headers: Headers, serialized: Serialized | None = None
    ) -> Response:
        """Send the request and wait for the head of the answer."""
        url = attempt.account.base_url or self.settings.upstream_url
        base = self._base_urls.get(url)
        if base is None:
            base = self._base_urls[url] = address_of(url)
        inbound, started = x.inbound, attempt.started
        target = base.prefix + inbound.target if base.prefix else inbound.target
        if log.isEnabledFor(logging.DEBUG):
            log.debug("Exchange %s is sent to %s for %s", x.id, url, attempt.account.name)
        try:
            return await self._parts.transport.open(
                base.origin,
                OutgoingRequest(inbound.method, target, headers, x.body, x.body_length, serialized),
                first_byte_s=x.first_byte_by - started,
                exchange_s=x.arrived_at + self.settings.exchange_timeout_ms / 1000 - started,
            )
        except asyncio.CancelledError:
            self._note(x, attempt, "cancelled")
            raise
        finally:
            x.upstream_s += self._monotonic() - started

    async def _weigh(self, x: OpenExchange, attempt: OpenAttempt, response: Response) -> Verdict | None:
        """Judge an answer by its head and, where that says too little, by its beginning; deliver it or not."""
        status, told = response.status, NOT_AN_ERROR
        section = response.section
        x.streamed = is_stream(section)
        beginning = b"" if status >= 400 or x.streamed else response.ready()
        # A stream of anything but a message may say nothing until its client, who sees that it is open, asks for more.
        if not beginning and (status >= 400 or not x.streamed or self._provider.feeds_usage(x.path)):
            try:
                beginning, told = await self._look(x, response, section.coding)
            except TransportError as error:
                return self._failed(x, attempt, judge_failure(error.kind), status, str(error))
            except asyncio.CancelledError:
                self._note(x, attempt, "cancelled", status)
                raise
        now_ms = self._now_ms()
        if status < 300 and not told.is_error and is_routine(section):
            self._pool.hear(attempt.account.id, section.lines, now_ms)
        else:
            outcome = self._outcome(x, attempt, response, told, now_ms)
            verdict = self._provider.verdict(outcome)
            if verdict.action != "deliver":
                if not isinstance(verdict.effect, LimitAccount | RefuseCredential) and outcome.status not in {401, 429}:
                    await self._hold(x, attempt, response, beginning, outcome.status)
                return self._failed(x, attempt, verdict, outcome.status)
            if verdict.effect is not None:
                _say(self._pool.apply(attempt.account.id, verdict.effect, x.ask, now_ms))
            if status >= 400:
                x.fail(f"{told.error_type or status}: {told.message or ''}".rstrip(": "))
        await self._delivery.relay(x, attempt, response, beginning)
        return None

    def _outcome(
        self, x: OpenExchange, attempt: OpenAttempt, response: Response, told: FirstEvent, now_ms: int
    ) -> Outcome:
        """Put together what is known of an answer, and have the pool take note of its limits."""
        reading = read_limits(response.headers, now_ms)
        _say(self._pool.note(attempt.account.id, reading, now_ms))
        status = response.status
        if status < 400 and told.is_error:
            status = error_status(told.error_type)
        return Outcome(
            status=status,
            now_ms=now_ms,
            kind=attempt.account.kind,
            reading=reading,
            error_type=told.error_type,
            error_message=told.message,
            error_code=told.code,
            model=x.ask.model,
            refreshed=x.refreshed,
        )

    async def _look(self, x: OpenExchange, response: Response, coding: bytes | None) -> tuple[bytes, FirstEvent]:
        """Wait for the beginning of an answer, and say which error it tells of; the time that takes is upstream's."""
        began = self._monotonic()
        try:
            async with asyncio.timeout(max(0.0, x.first_byte_by - began)):
                if x.streamed and response.status < 300:
                    return await read_first_event(response, coding)
                if response.status >= 400:
                    return await read_error_body(response, coding)
                return await response.read(), NOT_AN_ERROR
        except TimeoutError:
            raise TransportError("first_byte_timeout", "no first byte in time, only a head") from None
        finally:
            x.upstream_s += self._monotonic() - began

    async def _hold(
        self, x: OpenExchange, attempt: OpenAttempt, response: Response, beginning: bytes, judged: int
    ) -> None:
        """Keep a refused answer, if it is short: it is delivered when nothing better comes."""
        began = self._monotonic()
        try:
            body = await read_whole(response, beginning)
            if body is None and x.streamed and response.section.coding is None:
                body = beginning  # a stream that stays open after its error: the error is all there is to deliver
        except asyncio.CancelledError:
            self._note(x, attempt, "cancelled", response.status)
            raise
        finally:
            x.upstream_s += self._monotonic() - began
        if body is not None:
            lines, names = response.section.end_to_end + lines_of(attempt.added), response.section.names
            x.held = Held(judged, response.status, response.reason, lines, names, body, attempt.account)

    def _failed(
        self, x: OpenExchange, attempt: OpenAttempt, verdict: Verdict, status: int | None = None, detail: str = ""
    ) -> Verdict:
        """Note an attempt whose outcome is not delivered, with its effect on the account."""
        account = attempt.account
        reason = f"{verdict.reason}: {detail}" if detail else verdict.reason
        if verdict.effect is not None:
            x.limited |= status == 429 and isinstance(verdict.effect, LimitAccount | SetAside)
            _say(self._pool.apply(account.id, verdict.effect, x.ask, self._now_ms()))
        log.warning("Failed to proxy request with account %s: %s", account.name, reason)
        self._note(x, attempt, verdict.action, status, reason)
        return verdict

    def _note(
        self, x: OpenExchange, attempt: OpenAttempt, verdict: str, status: int | None = None, reason: str | None = None
    ) -> None:
        """Add an attempt that has ended to the exchange."""
        x.note(attempt.account, self._monotonic() - attempt.started, verdict, status, reason)

    # The end of the loop.

    async def _exhausted(self, x: OpenExchange) -> None:
        """Answer an exchange that no account could serve."""
        now_ms, held = self._now_ms(), x.held
        blocked = self._pool.blocked(x.ask, now_ms)
        if not x.attempts:
            waiting_helps = blocked.only_rate_limited
            if blocked.owner is not None and not waiting_helps:
                log.warning("Account %s owns what was asked for and cannot be used", blocked.owner.name)
                message = answers.owner_unusable(state_of(blocked.owner, now_ms))
                x.fail(message)
                self._delivery.own(x, 503, answers.error("api_error", message), [(b"x-should-retry", b"false")])
                return
            if blocked.owner is None:
                waiting_helps = waiting_helps and not self._provider.has_own_credential(x.inbound.headers)
            if not waiting_helps:
                await self._forward_unauthenticated(x)
                return
        if held is not None and held.judged >= 500:
            self._delivery.held(x, held)
        elif x.limited or not x.attempts:
            x.fail("every account is rate limited" if blocked.owner is None else "the owner is rate limited")
            wait_s = -(-max(0, (blocked.recovery_ms or 0) - now_ms) // 1000)
            status, headers, body = self._provider.pool_limited_answer(
                wait_s, blocked.recovery_ms, blocked.unified, owned=blocked.owner is not None
            )
            self._delivery.own(x, status, body, headers)
        elif held is not None:
            self._delivery.held(x, held)
        else:
            last = x.attempts[-1].reason or "no answer"
            x.fail(f"{answers.ALL_FAILED}: {last}")
            self._delivery.own(x, 503, answers.all_failed(len(x.attempts), last))

    async def _forward_unauthenticated(self, x: OpenExchange) -> None:
        """Send the request with the client's own credential, because no account can be used."""
        log.warning("No active accounts available - forwarding request without authentication")
        x.trying, x.choice = NOBODY, OWN_CREDENTIAL
        attempt = OpenAttempt(NOBODY, self._monotonic(), [(b"x-ccflare-account", b"none")])
        try:
            response = await self._open(x, attempt, self._provider.anonymous_headers(x.inbound.headers))
        except TransportError as error:
            log.error("%s: %s", answers.UNAUTHENTICATED_FAILED, error)
            x.fail(f"{answers.UNAUTHENTICATED_FAILED}: {error}")
            self._note(x, attempt, "next", None, str(error))
            self._delivery.own(x, 502, answers.unauthenticated_failed(str(error)))
            return
        try:
            x.streamed = is_stream(response.section)
            await self._delivery.relay(x, attempt, response, b"")
        finally:
            response.discard()

    # The record.

    def _record(self, x: OpenExchange) -> None:
        """Log the exchange and hand it to the journal."""
        exchange = x.record(self._monotonic(), self.prices)
        what = "Streaming response" if x.streamed else "Request"
        completed(what, x.account.name, x.status, exchange.response_time_ms)
        captured = x.captured if x.captured is not None and x.captured.close(exchange) else None
        self._parts.record(exchange, captured)
        if self._parts.traces is not None:
            self._parts.traces.put(x, exchange)

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


def _say(line: str | None) -> None:
    if line is not None:
        log.warning("%s", line)
