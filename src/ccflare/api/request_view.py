"""Exchanges as the API shows them: rows of the history, their attempts, and what was said in them."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare.api.bodies import BodyView, body_view
from ccflare.api.instants import Instant, iso, iso_or_none
from ccflare.choice import WORDS, Choice, in_words
from ccflare.payload import Payload
from ccflare.records import Attempt, Exchange, Outcome, outcome_of


class ChoiceView(msgspec.Struct, frozen=True, kw_only=True):
    """Why an account was the next one to be tried."""

    why: Annotated[str, Meta(description=f"One of {', '.join(WORDS)}.")]
    words: Annotated[str, Meta(description="The same for people.")]
    instead_of: Annotated[
        str | None, Meta(description="The name of the session's own account, when that could not serve.")
    ]
    until: Annotated[Instant | None, Meta(description="Until when it could not; null: nobody knows.")]


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream try."""

    account_id: str | None
    account: Annotated[str | None, Meta(description="Its name.")]
    verdict: Annotated[
        str, Meta(description="What the outcome meant: deliver, retry, next, refresh, broken, cancelled.")
    ]
    status: Annotated[int | None, Meta(description="Upstream's; null when no answer came.")]
    duration_ms: int
    wait_ms: Annotated[int, Meta(description="Pause before the attempt.")]
    reason: Annotated[str | None, Meta(description="Why the outcome was not delivered.")]
    choice: Annotated[ChoiceView | None, Meta(description="Why this account; null where that was not recorded.")]


class RequestView(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange from arrival to last byte. What upstream did not say is null."""

    id: str
    timestamp: Annotated[Instant, Meta(description="Arrival.")]
    timestamp_ms: int
    method: str
    path: str
    account_id: str | None
    account: Annotated[str | None, Meta(description="Its name.")]
    status_code: Annotated[int, Meta(description="What the client got; 499 when it left first.")]
    success: bool
    outcome: Outcome
    error_message: str | None
    response_time_ms: int
    first_byte_ms: int | None
    own_ms: Annotated[float | None, Meta(description="Of the time to the first byte: our own share.")]
    failover_attempts: int
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    cache_creation_5m_tokens: int | None
    cache_creation_1h_tokens: int | None
    thinking_tokens: int | None
    prompt_tokens: Annotated[int | None, Meta(description="The whole input, cached or not.")]
    total_tokens: int | None
    web_search_requests: int | None
    web_fetch_requests: int | None
    code_execution_requests: int | None
    service_tier: str | None
    stop_reason: str | None
    cost_usd: float | None
    cost_microusd: int | None
    output_tokens_per_second: float | None
    session: Annotated[str | None, Meta(description="A hash.")]
    client: str | None
    client_key_id: Annotated[str | None, Meta(description="The client key it came with; null: none was needed.")]
    client_key: Annotated[str | None, Meta(description="Its name, also when it was revoked.")]
    streamed: bool
    request_bytes: int
    response_bytes: int


class MessageView(msgspec.Struct, frozen=True):
    """One side of an exchange as it was kept: without credentials."""

    headers: list[tuple[str, str]]
    body: BodyView


class PayloadView(msgspec.Struct, frozen=True):
    """What client and upstream said to each other."""

    target: Annotated[str, Meta(description="Path and query.")]
    request: MessageView
    status: int | None
    response: MessageView


def request_view(exchange: Exchange, names: Mapping[str, str], keys: Mapping[str, str]) -> RequestView:
    """Show an exchange. `names` are those of the accounts by their ids, `keys` those of the client keys."""
    usage, cost = exchange.usage, exchange.cost_microusd
    return RequestView(
        id=exchange.id,
        timestamp=iso(exchange.timestamp_ms),
        timestamp_ms=exchange.timestamp_ms,
        method=exchange.method,
        path=exchange.path,
        account_id=exchange.account_id,
        account=names.get(exchange.account_id or ""),
        status_code=exchange.status_code,
        success=exchange.success,
        outcome=outcome_of(exchange.status_code, exchange.success),
        error_message=exchange.error_message,
        response_time_ms=exchange.response_time_ms,
        first_byte_ms=exchange.first_byte_ms,
        own_ms=exchange.own_ms,
        failover_attempts=exchange.failover_attempts,
        model=exchange.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
        cache_creation_input_tokens=usage.cache_write_tokens,
        cache_creation_5m_tokens=usage.cache_creation_5m_tokens,
        cache_creation_1h_tokens=usage.cache_creation_1h_tokens,
        thinking_tokens=usage.thinking_tokens,
        prompt_tokens=usage.prompt_tokens,
        total_tokens=usage.total_tokens,
        web_search_requests=usage.web_search_requests,
        web_fetch_requests=usage.web_fetch_requests,
        code_execution_requests=usage.code_execution_requests,
        service_tier=usage.service_tier,
        stop_reason=usage.stop_reason,
        cost_usd=None if cost is None else cost / 1_000_000,
        cost_microusd=cost,
        output_tokens_per_second=exchange.output_tokens_per_second,
        session=exchange.session,
        client=exchange.client,
        client_key_id=exchange.client_key_id,
        client_key=keys.get(exchange.client_key_id or ""),
        streamed=exchange.streamed,
        request_bytes=exchange.request_bytes,
        response_bytes=exchange.response_bytes,
    )


def attempt_view(attempt: Attempt, names: Mapping[str, str]) -> AttemptView:
    """Show an attempt."""
    return AttemptView(
        account_id=attempt.account_id,
        account=names.get(attempt.account_id or ""),
        verdict=attempt.verdict,
        status=attempt.status,
        duration_ms=attempt.duration_ms,
        wait_ms=attempt.wait_ms,
        reason=attempt.reason,
        choice=choice_view(attempt.choice, names),
    )


def choice_view(choice: Choice | None, names: Mapping[str, str]) -> ChoiceView | None:
    """Show why an account was chosen."""
    if choice is None or not choice.why:
        return None
    own = choice.instead_of
    return ChoiceView(
        why=choice.why,
        words=in_words(choice, names),
        instead_of=None if own is None else names.get(own, own),
        until=iso_or_none(choice.until_ms),
    )


def payload_view(payload: Payload) -> PayloadView:
    """Show what was said; costs the decoding of both bodies."""
    request = MessageView(list(payload.request_headers), body_view(payload.request, payload.request_headers))
    response = MessageView(list(payload.response_headers), body_view(payload.response, payload.response_headers))
    return PayloadView(payload.target, request, payload.status, response)
