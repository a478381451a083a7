"""What the original program's writer does for an exchange, as far as it is known: the control of what ours does.

Its tables and indexes are those of a database that it has made. For each exchange it executes four statements, each a
transaction of its own: the row, what was said as JSON with bodies in base64, the account's counters, and the usage when
it is known. They stand in a queue and are executed one after another, here by the same SQLite as ours and from Python
instead of TypeScript: what encodes, and what binds values, is C in both.
"""

import sqlite3
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from ccflare.payload import Captured
from ccflare.records import Exchange
from ccflare.wire import Headers, pairs_of

_SCHEMA = """
    CREATE TABLE accounts (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, provider TEXT DEFAULT 'anthropic', api_key TEXT,
        refresh_token TEXT NOT NULL, access_token TEXT, expires_at INTEGER, created_at INTEGER NOT NULL,
        last_used INTEGER, request_count INTEGER DEFAULT 0, total_requests INTEGER DEFAULT 0,
        account_tier INTEGER DEFAULT 1, rate_limited_until INTEGER, session_start INTEGER,
        session_request_count INTEGER DEFAULT 0, paused INTEGER DEFAULT 0, rate_limit_reset INTEGER,
        rate_limit_status TEXT, rate_limit_remaining INTEGER
    );
    CREATE INDEX idx_accounts_paused ON accounts(paused) WHERE paused = 0;
    CREATE INDEX idx_accounts_name ON accounts(name);
    CREATE INDEX idx_accounts_rate_limited ON accounts(rate_limited_until) WHERE rate_limited_until IS NOT NULL;
    CREATE INDEX idx_accounts_session ON accounts(session_start, session_request_count) WHERE session_start IS NOT NULL;
    CREATE INDEX idx_accounts_request_count ON accounts(request_count DESC, last_used);
    CREATE TABLE requests (
        id TEXT PRIMARY KEY, timestamp INTEGER NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, account_used TEXT,
        status_code INTEGER, success BOOLEAN, error_message TEXT, response_time_ms INTEGER,
        failover_attempts INTEGER DEFAULT 0, model TEXT, prompt_tokens INTEGER DEFAULT 0,
        completion_tokens INTEGER DEFAULT 0, total_tokens INTEGER DEFAULT 0, cost_usd REAL DEFAULT 0,
        output_tokens_per_second REAL, input_tokens INTEGER DEFAULT 0, cache_read_input_tokens INTEGER DEFAULT 0,
        cache_creation_input_tokens INTEGER DEFAULT 0, output_tokens INTEGER DEFAULT 0, agent_used TEXT
    );
    CREATE INDEX idx_requests_timestamp ON requests(timestamp DESC);
    CREATE INDEX idx_requests_timestamp_account ON requests(timestamp DESC, account_used);
    CREATE INDEX idx_requests_model_timestamp ON requests(model, timestamp DESC) WHERE model IS NOT NULL;
    CREATE INDEX idx_requests_success_timestamp ON requests(success, timestamp DESC);
    CREATE INDEX idx_requests_account_timestamp ON requests(account_used, timestamp DESC);
    CREATE INDEX idx_requests_cost_model ON requests(cost_usd, model, timestamp DESC)
        WHERE cost_usd > 0 AND model IS NOT NULL;
    CREATE INDEX idx_requests_response_time ON requests(model, response_time_ms)
        WHERE response_time_ms IS NOT NULL AND model IS NOT NULL;
    CREATE INDEX idx_requests_tokens ON requests(timestamp DESC, total_tokens) WHERE total_tokens > 0;
    CREATE TABLE request_payloads (
        id TEXT PRIMARY KEY, json TEXT NOT NULL, FOREIGN KEY (id) REFERENCES requests(id) ON DELETE CASCADE
    );
"""
_ROW = """
    INSERT INTO requests (id, timestamp, method, path, account_used, status_code, success, error_message,
        response_time_ms, failover_attempts)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PAYLOAD = "INSERT INTO request_payloads (id, json) VALUES (?, ?)"
_COUNTERS = """
    UPDATE accounts
    SET last_used = ?, request_count = request_count + 1, total_requests = total_requests + 1,
        session_request_count = session_request_count + 1
    WHERE id = ?"""
_USAGE = """
    UPDATE requests
    SET model = ?, prompt_tokens = ?, completion_tokens = ?, total_tokens = ?, cost_usd = ?,
        output_tokens_per_second = ?, input_tokens = ?, cache_read_input_tokens = ?,
        cache_creation_input_tokens = ?, output_tokens = ?
    WHERE id = ?"""


def write(path: Path, accounts: Iterable[str], exchanges: Iterable[tuple[Exchange, Captured]]) -> float:
    """Write exchanges one statement after another; return how many a second."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        connection.executemany(
            "INSERT INTO accounts (id, name, refresh_token, created_at) VALUES (?, ?, '', 1)",
            [(each, each) for each in accounts],
        )
        queue = deque[Callable[[], None]]()
        count, began = 0, time.perf_counter()
        for exchange, captured in exchanges:
            count += 1
            queue.extend(partial(job, connection, exchange, captured) for job in _JOBS)
            while queue:
                queue.popleft()()
        return count / (time.perf_counter() - began)


def _write_row(connection: sqlite3.Connection, of: Exchange, _captured: Captured) -> None:
    values = (of.id, of.timestamp_ms, of.method, of.path, of.account_id, of.status_code, of.success, of.error_message)
    connection.execute(_ROW, (*values, of.response_time_ms, of.failover_attempts))


def _write_payload(connection: sqlite3.Connection, of: Exchange, captured: Captured) -> None:
    answer, meta = captured.response.content().data, {"accountId": of.account_id, "timestamp": of.timestamp_ms}
    said = {
        "request": {
            "headers": _fields(captured.request_headers),
            "body": b64encode(captured.request.content().data).decode(),
        },
        "response": {
            "status": captured.status,
            "headers": _fields(pairs_of(captured.response_lines)),
            "body": b64encode(answer).decode(),
        },
        "meta": meta | {"success": of.success, "isStream": of.streamed, "retry": 0},
    }
    connection.execute(_PAYLOAD, (of.id, msgspec.json.encode(said).decode()))


def _count(connection: sqlite3.Connection, of: Exchange, _captured: Captured) -> None:
    connection.execute(_COUNTERS, (of.timestamp_ms, of.account_id))


def _write_usage(connection: sqlite3.Connection, of: Exchange, _captured: Captured) -> None:
    usage = of.usage
    tokens = (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_write_tokens, usage.output_tokens)
    cost = None if of.cost_microusd is None else of.cost_microusd / 1e6
    sums = (usage.prompt_tokens, usage.output_tokens, usage.total_tokens, cost, of.output_tokens_per_second)
    connection.execute(_USAGE, (of.model, *sums, *tokens, of.id))


def _fields(headers: Headers) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


_JOBS = (_write_row, _write_payload, _count, _write_usage)
