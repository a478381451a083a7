"""What the spans of an exchange say, by OpenTelemetry's conventions for HTTP and generative AI. Pure.

The exchange is a span of kind server; each attempt is one of kind client below it, an inference in the conventions'
words (GenAI conventions of November 2026: `gen_ai.provider.name`, cache tokens apart and also part of the input).
Usage stands on the attempt that was delivered and nowhere else: who adds up spans counts it once. The conventions
call prompts, answers and instructions opt-in; here they are left out whatever anyone opts for, as are upstream's own
sentences, which may quote a prompt.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec

from ccflare.records import Attempt, Exchange, outcome_of
from ccflare.usage import Usage
from ccflare.wire import BaseUrl

Value: TypeAlias = str | bool | int | float | list[str]

OPERATIONS: Final = {"/v1/messages": "chat", "/v1/complete": "text_completion"}
"""What the conventions call the paths that feed usage."""
PROVIDER: Final = "anthropic"
LONGEST: Final = 100
"""Clients choose the names of models and paths."""
_FAILED = frozenset({"server_error", "overloaded", "interrupted", "other"})
"""Outcomes that a server's span calls errors; 4xx are the client's (HTTP conventions)."""


class Where(NamedTuple):
    """Whom an attempt asked: the account's name (None: nobody's), and the address."""

    account: str | None
    base_url: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange that has ended, with what its record does not tell."""

    exchange: Exchange
    asked_model: str | None
    ready_ms: int
    """From arrival to where the request had been read."""
    traceparent: bytes
    tracestate: bytes
    """Fields of the client's (W3C Trace Context); empty where it sent none."""
    wheres: tuple[Where, ...]
    """One for each attempt."""


class Span(NamedTuple):
    """One span; its instants are nanoseconds since the epoch."""

    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    error: str | None
    """The class of the error when the span is one."""


def exchange_span(ended: Ended) -> Span:
    """Return the span of the exchange itself."""
    exchange = ended.exchange
    outcome = outcome_of(exchange.status_code, exchange.success)
    error = outcome if outcome in _FAILED else None
    attributes: dict[str, Value | None] = {
        "http.request.method": exchange.method,
        "url.path": exchange.path[:LONGEST],
        "http.response.status_code": exchange.status_code,
        "error.type": error,
        "ccflare.exchange.id": exchange.id,
        "ccflare.outcome": outcome,
        "ccflare.attempts": len(exchange.attempts),
        "ccflare.overhead_ms": exchange.own_ms,
    }
    end_ms = exchange.timestamp_ms + exchange.response_time_ms
    return Span(_name(ended), exchange.timestamp_ms * 1_000_000, end_ms * 1_000_000, _said(attributes), error)


def attempt_spans(ended: Ended) -> Iterator[Span]:
    """Yield the spans of the attempts, in their order.

    When an attempt began is reckoned from the durations and pauses of those before it.
    """
    exchange = ended.exchange
    at_ms, last_ms = ended.ready_ms, exchange.response_time_ms
    for number, (attempt, where) in enumerate(zip(exchange.attempts, ended.wheres, strict=True)):
        begin_ms = min(at_ms + attempt.wait_ms, last_ms)
        at_ms = min(begin_ms + attempt.duration_ms, last_ms)
        error = None if attempt.verdict == "deliver" and (attempt.status or 0) < 400 else _error_of(attempt)
        start_ms, end_ms = exchange.timestamp_ms + begin_ms, exchange.timestamp_ms + at_ms
        attributes = _said(_attributes(ended, attempt, where, number) | {"error.type": error})
        yield Span(_name(ended), start_ms * 1_000_000, end_ms * 1_000_000, attributes, error)


def _attributes(ended: Ended, attempt: Attempt, where: Where, number: int) -> dict[str, Value | None]:
    exchange, origin = ended.exchange, BaseUrl.parse(where.base_url).origin
    attributes: dict[str, Value | None] = {
        "http.request.method": exchange.method,
        "http.request.resend_count": number or None,
        "http.response.status_code": attempt.status,
        "server.address": origin.host,
        "server.port": origin.port,
        "ccflare.account": where.account,
        "ccflare.verdict": attempt.verdict,
    }
    operation = OPERATIONS.get(exchange.path)
    if operation is not None:
        attributes |= {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": _short(ended.asked_model),
            "gen_ai.request.stream": exchange.streamed or None,
            "gen_ai.conversation.id": exchange.session,
        }
        if number == len(exchange.attempts) - 1 and attempt.verdict in {"deliver", "broken", "cancelled"}:
            attributes |= _usage(exchange, exchange.usage)
    return attributes


def _usage(exchange: Exchange, usage: Usage) -> dict[str, Value | None]:
    """Return what the answer said of itself. The conventions' input includes what was cached."""
    return {
        "gen_ai.response.model": _short(usage.model),
        "gen_ai.response.finish_reasons": [usage.stop_reason[:LONGEST]] if usage.stop_reason else None,
        "gen_ai.response.time_to_first_chunk": (
            exchange.first_byte_ms / 1000 if exchange.streamed and exchange.first_byte_ms is not None else None
        ),
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.thinking_tokens,
    }


def _error_of(attempt: Attempt) -> str:
    """Return a class of error of which there are few: the status, or what became of the attempt."""
    if attempt.verdict in {"broken", "cancelled"}:
        return attempt.verdict
    return "no_answer" if attempt.status is None else str(attempt.status)


def _name(ended: Ended) -> str:
    """Return a name of which there are few: operation and model, else method and kind of thing."""
    exchange = ended.exchange
    operation = OPERATIONS.get(exchange.path)
    if operation is not None:
        return f"{operation} {_short(ended.asked_model) or ''}".rstrip()
    return f"{exchange.method} {'/'.join(exchange.path.split('/')[:3])[:LONGEST]}"


def _short(text: str | None) -> str | None:
    return text[:LONGEST] if text else None


def _said(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}
