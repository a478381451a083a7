"""Rows and records: which column holds which field, and how each is read and written."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, TypeAlias

from msgspec import UNSET

from ccflare.records import Account, Binding, Credentials, Exchange, Secret, decode_attempts, encode_attempts
from ccflare.store import AccountChange
from ccflare.store.sums import known_sum
from ccflare.usage import NOT_SAID, Usage
from ccflare.vault import WrongKey

Value: TypeAlias = str | int | float | None

log = logging.getLogger("ccflare.store")

_ACCOUNT_FIELDS = {
    "id": "id",
    "name": "name",
    "provider": "COALESCE(provider, 'anthropic')",
    "kind": "CASE WHEN refresh_token = '' AND COALESCE(api_key, '') <> '' THEN 'api_key' ELSE 'oauth' END",
    "base_url": "base_url",
    "priority": "COALESCE(priority, 0)",
    "tier": "COALESCE(account_tier, 1)",
    "created_at_ms": "created_at",
    "paused": "COALESCE(paused, 0)",
    "paused_by": "paused_by",
    "paused_reason": "paused_reason",
    "paused_at_ms": "paused_at",
    "resumed_at_ms": "resumed_at",
    "expires_at_ms": "expires_at",
    "expired_reason": "expired_reason",
    "last_refresh_at_ms": "last_refresh_at",
    "refresh_failed_at_ms": "refresh_failed_at",
    "refresh_error": "refresh_error",
    "auth_failed_reason": "auth_failed_reason",
    "limited_until_ms": "rate_limited_until",
    "limited_reason": "limited_reason",
    "rate_limit_status": "rate_limit_status",
    "rate_limit_reset_ms": "rate_limit_reset",
    "rate_limit_remaining": "rate_limit_remaining",
    "last_used_ms": "last_used",
    "request_count": "COALESCE(request_count, 0)",
    "total_requests": "COALESCE(total_requests, 0)",
    "session_started_ms": "session_start",
    "session_request_count": "COALESCE(session_request_count, 0)",
}

SELECT_ACCOUNTS = f"SELECT {', '.join(_ACCOUNT_FIELDS.values())} FROM accounts ORDER BY created_at, id"  # noqa: S608  # constants
SELECT_CREDENTIALS = "SELECT id, api_key, access_token, refresh_token FROM accounts"
SECRET_COLUMNS = ("api_key", "access_token", "refresh_token")
SELECT_BINDINGS = "SELECT key, account_id, bound_at, used_at FROM sessions WHERE bound_at >= ? ORDER BY bound_at"
RECENT_BINDINGS = """
    SELECT json_group_array(json_array(key, account_id, bound_at, used_at))
    FROM (SELECT * FROM sessions WHERE bound_at >= ? ORDER BY bound_at DESC LIMIT ?)"""
"""One row: each that is fetched beside a busy event loop waits for its turn."""

INSERT_ACCOUNT = """
    INSERT INTO accounts (id, name, provider, api_key, refresh_token, access_token, expires_at, created_at,
        account_tier, paused, paused_by, paused_reason, paused_at, base_url, priority)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

UPDATE_CREDENTIALS = """
    UPDATE accounts SET api_key = ?, access_token = ?, refresh_token = ?, expires_at = ?,
        auth_failed_reason = NULL, expired_reason = NULL, refresh_failed_at = NULL, refresh_error = NULL
    WHERE id = ?"""

REPLACE_SECRETS = "UPDATE accounts SET api_key = ?, access_token = ?, refresh_token = ? WHERE id = ?"

UPDATE_RUN_TIME = """
    UPDATE accounts SET
        rate_limited_until = CASE WHEN resumed_at IS ?9 THEN ?1 ELSE rate_limited_until END,
        limited_reason = CASE WHEN resumed_at IS ?9 THEN ?2 ELSE limited_reason END,
        rate_limit_status = ?3, rate_limit_reset = ?4, rate_limit_remaining = ?5,
        auth_failed_reason = CASE WHEN resumed_at IS ?9 THEN ?6 ELSE auth_failed_reason END,
        last_used = MAX(COALESCE(last_used, 0), COALESCE(?7, 0))
    WHERE id = ?8"""
"""What was learnt against an account before a person resumed it, and is written behind that, does not count."""

UPDATE_SESSION = """
    UPDATE accounts SET session_start = ?1, session_request_count = 0
    WHERE id = ?2 AND COALESCE(session_start, 0) < ?1"""

UPDATE_COUNTERS = """
    UPDATE accounts SET request_count = COALESCE(request_count, 0) + ?1,
        total_requests = COALESCE(total_requests, 0) + ?1,
        session_request_count = COALESCE(session_request_count, 0) + ?1,
        last_used = MAX(COALESCE(last_used, 0), ?2)
    WHERE id = ?3"""

RESET_COUNTERS = "UPDATE accounts SET request_count = 0, total_requests = 0, session_request_count = 0"

KEEP_NAME = """
    INSERT OR REPLACE INTO former_accounts
    SELECT id, name, strftime('%s', 'now') * 1000 FROM accounts WHERE id = ?"""

DELETE_BINDINGS = """
    DELETE FROM sessions
    WHERE key IN (SELECT key FROM sessions WHERE bound_at < ? ORDER BY bound_at LIMIT ?)"""

COUNT_SESSIONS = "SELECT account_id, COUNT(*) FROM sessions WHERE bound_at >= ? GROUP BY account_id"

COUNT_ROWS = "SELECT (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM requests), (SELECT COUNT(*) FROM sessions)"

_USAGE_COLUMNS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
    "thinking_tokens",
    "web_search_requests",
    "service_tier",
    "inference_geo",
    "speed",
    "stop_reason",
)
"""Columns with the names of the fields of `Usage`."""

_NO_TOKENS: tuple[Value, ...] = (None,) * (3 + len(_USAGE_COLUMNS))
# The original's cache_creation_input_tokens is the total, whether upstream said it or only its parts.
_usage_values = attrgetter(*[{"cache_creation_input_tokens": "cache_write_tokens"}.get(n, n) for n in _USAGE_COLUMNS])

EXCHANGE_COLUMNS = (
    "id",
    "timestamp",
    "method",
    "path",
    "account_used",
    "status_code",
    "success",
    "error_message",
    "response_time_ms",
    "failover_attempts",
    "model",
    "attempts",
    "session",
    "client",
    "client_key",
    "first_byte_ms",
    "own_ms",
    "streamed",
    "request_bytes",
    "response_bytes",
    "cost_microusd",
    "cost_usd",
    "output_tokens_per_second",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    *_USAGE_COLUMNS,
)

_ROW_COLUMNS = (*EXCHANGE_COLUMNS, "series")

SELECT_EXCHANGES = f"SELECT {', '.join(EXCHANGE_COLUMNS)} FROM requests WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608  # constants

_CHANGE_COLUMNS = {
    "name": "name",
    "priority": "priority",
    "tier": "account_tier",
    "base_url": "base_url",
    "paused": "paused",
    "paused_by": "paused_by",
    "paused_reason": "paused_reason",
    "paused_at_ms": "paused_at",
    "resumed_at_ms": "resumed_at",
    "auth_failed_reason": "auth_failed_reason",
    "limited_until_ms": "rate_limited_until",
}


def insert_exchanges(rows: Sequence[tuple[Value, ...]], series: Sequence[int]) -> tuple[str, list[Value]]:
    """Return the statement that inserts rows of EXCHANGE_COLUMNS with their series; those that are there stay."""
    values: list[Value] = []
    for row, each in zip(rows, series, strict=True):
        values += row
        values.append(each)
    return _insert_exchanges(len(rows)), values


@cache
def _insert_exchanges(rows: int) -> str:
    values = ", ".join([f"({', '.join('?' * len(_ROW_COLUMNS))})"] * rows)
    return f"""
        INSERT INTO requests ({", ".join(_ROW_COLUMNS)}) VALUES {values}
        ON CONFLICT (id) DO NOTHING"""  # noqa: S608  # constants


def upsert_bindings(rows: int) -> str:
    """Return the statement that writes `rows` bindings at once."""
    return f"""
        INSERT INTO sessions (key, account_id, bound_at, used_at) VALUES {", ".join(["(?, ?, ?, ?)"] * rows)}
        ON CONFLICT (key) DO UPDATE
        SET account_id = excluded.account_id, bound_at = excluded.bound_at, used_at = excluded.used_at"""  # noqa: S608  # constants


def update_account(change: AccountChange) -> tuple[str, list[Value]]:
    """Return a change as a statement (its last parameter is the id) and values; empty when there is none."""
    values: dict[str, Value] = {}
    if change.base_url is not UNSET:
        values["auth_failed_reason"] = None
    if change.paused is False:
        values.update(paused_by=None, paused_reason=None, paused_at=None)
    if change.limited_until_ms is None:
        values["limited_reason"] = None
    for field, column in _CHANGE_COLUMNS.items():
        if (value := getattr(change, field)) is not UNSET:
            values[column] = value
    if not values:
        return "", []
    assignments = ", ".join(f"{column} = ?" for column in values)
    return f"UPDATE accounts SET {assignments} WHERE id = ?", list(values.values())  # noqa: S608  # our own column names


def account_of(row: sqlite3.Row | tuple[Any, ...]) -> Account:
    """Read a row of SELECT_ACCOUNTS."""
    fields = dict(zip(_ACCOUNT_FIELDS, row, strict=True))
    fields["paused"] = bool(fields["paused"])
    return Account(**fields)


def credentials_of(row: tuple[Any, ...], opened: Callable[[str, str, str], str]) -> Credentials:
    """Read a row of SELECT_CREDENTIALS; `opened` takes a stored text, the account's id and the column.

    What cannot be a credential counts as absent and is logged.
    """
    account_id, *texts = row
    secrets = (secret_of(text, account_id, column, opened) for text, column in zip(texts, SECRET_COLUMNS, strict=True))
    return Credentials(account_id, *secrets)


def secret_of(text: str | None, account_id: str, column: str, opened: Callable[[str, str, str], str]) -> Secret | None:
    """Read one stored credential."""
    if not text:
        return None
    try:
        return Secret(opened(text, account_id, column))
    except (ValueError, WrongKey) as error:
        log.warning("The stored credential of account %s cannot be used: %s", account_id, error)
        return None


def account_row(account: Account, texts: tuple[str | None, str | None, str]) -> tuple[Value, ...]:
    """Return the parameters of INSERT_ACCOUNT; `texts` are the credentials as they are to be stored."""
    api_key, access_token, refresh_token = texts
    return (
        account.id,
        account.name,
        account.provider,
        api_key,
        refresh_token,
        access_token,
        account.expires_at_ms,
        account.created_at_ms,
        account.tier,
        account.paused,
        account.paused_by,
        account.paused_reason,
        account.paused_at_ms,
        account.base_url,
        account.priority,
    )


def secret_texts(credentials: Credentials) -> tuple[str | None, str | None, str]:
    """Return API key, access token and refresh token in clear; an absent refresh token is empty."""
    api_key, access, refresh = credentials.api_key, credentials.access_token, credentials.refresh_token
    return (
        api_key.reveal() if api_key else None,
        access.reveal() if access else None,
        refresh.reveal() if refresh else "",
    )


def run_time_row(account: Account) -> tuple[Value, ...]:
    """Return the parameters of UPDATE_RUN_TIME."""
    return (
        account.limited_until_ms,
        account.limited_reason,
        account.rate_limit_status,
        account.rate_limit_reset_ms,
        account.rate_limit_remaining,
        account.auth_failed_reason,
        account.last_used_ms,
        account.id,
        account.resumed_at_ms,
    )


def exchange_row(exchange: Exchange) -> tuple[Value, ...]:
    """Return the values of EXCHANGE_COLUMNS."""
    cost = exchange.cost_microusd
    return (
        exchange.id,
        exchange.timestamp_ms,
        exchange.method,
        exchange.path,
        exchange.account_id,
        exchange.status_code,
        1 if exchange.success else 0,
        exchange.error_message,
        exchange.response_time_ms,
        exchange.failover_attempts,
        exchange.model,
        encode_attempts(exchange.attempts),
        exchange.session,
        exchange.client,
        exchange.client_key_id,
        exchange.first_byte_ms,
        exchange.own_ms,
        1 if exchange.streamed else 0,
        exchange.request_bytes,
        exchange.response_bytes,
        cost,
        None if cost is None else cost / 1_000_000,
        exchange.output_tokens_per_second,
        *_token_values(exchange.usage),
    )


def _token_values(usage: Usage) -> tuple[Value, ...]:
    """Return the sums that users query, and the fields."""
    if usage is NOT_SAID:
        return _NO_TOKENS
    values = _usage_values(usage)
    fresh, output, read, written = values[:4]
    prompt = known_sum((fresh, read, written))
    return (prompt, output, known_sum((prompt, output)), *values)


def exchange_of(row: sqlite3.Row | tuple[Any, ...]) -> Exchange:
    """Read a row of `SELECT_EXCHANGES`; a row of an older program has no attempts."""
    said = dict(zip(EXCHANGE_COLUMNS, row, strict=True))
    usage = {column: said[column] for column in _USAGE_COLUMNS if said[column] is not None}
    return Exchange(
        id=said["id"],
        timestamp_ms=said["timestamp"],
        method=said["method"],
        path=said["path"],
        account_id=said["account_used"],
        status_code=said["status_code"] or 0,
        success=bool(said["success"]),
        error_message=said["error_message"],
        response_time_ms=said["response_time_ms"] or 0,
        first_byte_ms=said["first_byte_ms"],
        own_ms=said["own_ms"],
        model=said["model"],
        usage=Usage(model=said["model"], **usage) if usage else NOT_SAID,
        cost_microusd=said["cost_microusd"],
        output_tokens_per_second=said["output_tokens_per_second"],
        session=said["session"],
        client=said["client"],
        client_key_id=said["client_key"],
        streamed=bool(said["streamed"]),
        request_bytes=said["request_bytes"] or 0,
        response_bytes=said["response_bytes"] or 0,
        attempts=decode_attempts(said["attempts"]),
    )


def binding_row(binding: Binding) -> tuple[Value, ...]:
    """Return the values of a binding in the order of `upsert_bindings`."""
    return (binding.key, binding.account_id, binding.bound_at_ms, binding.used_at_ms)


def latest_bindings(bindings: Sequence[Binding]) -> dict[str, int]:
    """Return when each account was bound last, in milliseconds."""
    latest: dict[str, int] = {}
    for binding in bindings:
        latest[binding.account_id] = max(binding.bound_at_ms, latest.get(binding.account_id, 0))
    return latest
