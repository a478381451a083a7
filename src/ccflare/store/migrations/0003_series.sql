-- Which exchanges belong together, and their sums by time: every chart reads these, only lists read requests.

CREATE TABLE series (
    id INTEGER PRIMARY KEY, -- made of the other columns: every process finds the same
    account TEXT NOT NULL, -- accounts.id; '' when no account was used
    model TEXT NOT NULL, -- '' when none is known; '(other)' for models beyond the bound
    status INTEGER NOT NULL, -- 0 when there is none
    outcome TEXT NOT NULL -- success, disconnected, rate_limited, overloaded, client_error, server_error, ...
);

ALTER TABLE requests ADD COLUMN series INTEGER; -- series.id

UPDATE requests SET
    series = series_id(account_used, model, status_code, success),
    cost_microusd = COALESCE(cost_microusd, CAST(ROUND(NULLIF(cost_usd, 0) * 1000000) AS INTEGER));

CREATE INDEX idx_requests_series ON requests (series, timestamp);

UPDATE requests SET series = series_id(account_used, '(other)', status_code, success)
WHERE series NOT IN (SELECT series FROM requests GROUP BY series ORDER BY COUNT(*) DESC, series LIMIT 5000);

INSERT INTO series
SELECT series, COALESCE(account_used, ''),
    CASE series WHEN series_id(account_used, model, status_code, success) THEN series_model(model) ELSE '(other)' END,
    COALESCE(status_code, 0), outcome_of(status_code, success)
FROM requests WHERE rowid IN (SELECT MIN(rowid) FROM requests GROUP BY series);

-- A NULL sum means: upstream never said, or no price was known. `time` is the begin in milliseconds, UTC.

CREATE TABLE rollup_minute (
    time INTEGER NOT NULL,
    series INTEGER NOT NULL, -- series.id
    requests INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    failover_attempts INTEGER NOT NULL,
    response_time_ms INTEGER NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL, -- how many exchanges first_byte_ms is the sum of
    speed_tokens INTEGER NOT NULL, -- output tokens of the exchanges whose speed is known
    speed_ms INTEGER NOT NULL, -- the time these took, from first content to last
    unpriced INTEGER NOT NULL, -- exchanges with tokens and without a cost
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER, -- all cache writes
    cache_creation_5m_tokens INTEGER,
    cache_creation_1h_tokens INTEGER,
    thinking_tokens INTEGER, -- a part of output_tokens
    web_search_requests INTEGER,
    cost_microusd INTEGER,
    latency BLOB, -- histogram of response times
    PRIMARY KEY (time, series)
) WITHOUT ROWID;

-- What is not in the others yet; `time` is a minute.

CREATE TABLE rollup_new (
    time INTEGER NOT NULL,
    series INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    failover_attempts INTEGER NOT NULL,
    response_time_ms INTEGER NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    speed_tokens INTEGER NOT NULL,
    speed_ms INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER,
    cache_creation_5m_tokens INTEGER,
    cache_creation_1h_tokens INTEGER,
    thinking_tokens INTEGER,
    web_search_requests INTEGER,
    cost_microusd INTEGER,
    latency BLOB,
    PRIMARY KEY (time, series)
) WITHOUT ROWID;

CREATE TABLE rollup_hour (
    time INTEGER NOT NULL,
    series INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    failover_attempts INTEGER NOT NULL,
    response_time_ms INTEGER NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    speed_tokens INTEGER NOT NULL,
    speed_ms INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER,
    cache_creation_5m_tokens INTEGER,
    cache_creation_1h_tokens INTEGER,
    thinking_tokens INTEGER,
    web_search_requests INTEGER,
    cost_microusd INTEGER,
    latency BLOB,
    PRIMARY KEY (time, series)
) WITHOUT ROWID;

CREATE TABLE rollup_day (
    time INTEGER NOT NULL,
    series INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    failover_attempts INTEGER NOT NULL,
    response_time_ms INTEGER NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    speed_tokens INTEGER NOT NULL,
    speed_ms INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER,
    cache_creation_5m_tokens INTEGER,
    cache_creation_1h_tokens INTEGER,
    thinking_tokens INTEGER,
    web_search_requests INTEGER,
    cost_microusd INTEGER,
    latency BLOB,
    PRIMARY KEY (time, series)
) WITHOUT ROWID;

CREATE TABLE rollup_ever (
    time INTEGER NOT NULL, -- 0: everything there ever was
    series INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    failover_attempts INTEGER NOT NULL,
    response_time_ms INTEGER NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    first_bytes INTEGER NOT NULL,
    speed_tokens INTEGER NOT NULL,
    speed_ms INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER,
    cache_creation_5m_tokens INTEGER,
    cache_creation_1h_tokens INTEGER,
    thinking_tokens INTEGER,
    web_search_requests INTEGER,
    cost_microusd INTEGER,
    latency BLOB,
    PRIMARY KEY (time, series)
) WITHOUT ROWID;

INSERT INTO rollup_minute
SELECT timestamp - timestamp % 60000, series, COUNT(*),
    SUM(COALESCE(streamed, 0)), SUM(COALESCE(failover_attempts, 0)), SUM(COALESCE(response_time_ms, 0)),
    SUM(COALESCE(first_byte_ms, 0)), COUNT(first_byte_ms),
    SUM(CASE WHEN output_tokens_per_second > 0 THEN COALESCE(output_tokens, 0) ELSE 0 END),
    SUM(CASE WHEN output_tokens_per_second > 0
        THEN CAST(COALESCE(output_tokens, 0) * 1000 / output_tokens_per_second + 0.5 AS INTEGER) ELSE 0 END),
    SUM(total_tokens IS NOT NULL AND cost_microusd IS NULL),
    SUM(COALESCE(request_bytes, 0)), SUM(COALESCE(response_bytes, 0)),
    SUM(input_tokens), SUM(output_tokens), SUM(cache_read_input_tokens), SUM(cache_creation_input_tokens),
    SUM(cache_creation_5m_tokens), SUM(cache_creation_1h_tokens), SUM(thinking_tokens), SUM(web_search_requests),
    SUM(cost_microusd), latency_of(response_time_ms)
FROM requests WHERE timestamp >= (SELECT MAX(timestamp) FROM requests) - 3 * 86400000 GROUP BY 1, 2;

INSERT INTO rollup_hour
SELECT timestamp - timestamp % 3600000, series, COUNT(*),
    SUM(COALESCE(streamed, 0)), SUM(COALESCE(failover_attempts, 0)), SUM(COALESCE(response_time_ms, 0)),
    SUM(COALESCE(first_byte_ms, 0)), COUNT(first_byte_ms),
    SUM(CASE WHEN output_tokens_per_second > 0 THEN COALESCE(output_tokens, 0) ELSE 0 END),
    SUM(CASE WHEN output_tokens_per_second > 0
        THEN CAST(COALESCE(output_tokens, 0) * 1000 / output_tokens_per_second + 0.5 AS INTEGER) ELSE 0 END),
    SUM(total_tokens IS NOT NULL AND cost_microusd IS NULL),
    SUM(COALESCE(request_bytes, 0)), SUM(COALESCE(response_bytes, 0)),
    SUM(input_tokens), SUM(output_tokens), SUM(cache_read_input_tokens), SUM(cache_creation_input_tokens),
    SUM(cache_creation_5m_tokens), SUM(cache_creation_1h_tokens), SUM(thinking_tokens), SUM(web_search_requests),
    SUM(cost_microusd), latency_of(response_time_ms)
FROM requests WHERE timestamp >= (SELECT MAX(timestamp) FROM requests) - 64 * 86400000 GROUP BY 1, 2;

INSERT INTO rollup_day
SELECT timestamp - timestamp % 86400000, series, COUNT(*),
    SUM(COALESCE(streamed, 0)), SUM(COALESCE(failover_attempts, 0)), SUM(COALESCE(response_time_ms, 0)),
    SUM(COALESCE(first_byte_ms, 0)), COUNT(first_byte_ms),
    SUM(CASE WHEN output_tokens_per_second > 0 THEN COALESCE(output_tokens, 0) ELSE 0 END),
    SUM(CASE WHEN output_tokens_per_second > 0
        THEN CAST(COALESCE(output_tokens, 0) * 1000 / output_tokens_per_second + 0.5 AS INTEGER) ELSE 0 END),
    SUM(total_tokens IS NOT NULL AND cost_microusd IS NULL),
    SUM(COALESCE(request_bytes, 0)), SUM(COALESCE(response_bytes, 0)),
    SUM(input_tokens), SUM(output_tokens), SUM(cache_read_input_tokens), SUM(cache_creation_input_tokens),
    SUM(cache_creation_5m_tokens), SUM(cache_creation_1h_tokens), SUM(thinking_tokens), SUM(web_search_requests),
    SUM(cost_microusd), latency_of(response_time_ms)
FROM requests GROUP BY 1, 2;

INSERT INTO rollup_ever
SELECT 0, series, SUM(requests),
    SUM(streamed), SUM(failover_attempts), SUM(response_time_ms), SUM(first_byte_ms), SUM(first_bytes),
    SUM(speed_tokens), SUM(speed_ms), SUM(unpriced), SUM(request_bytes), SUM(response_bytes),
    SUM(input_tokens), SUM(output_tokens), SUM(cache_read_input_tokens), SUM(cache_creation_input_tokens),
    SUM(cache_creation_5m_tokens), SUM(cache_creation_1h_tokens), SUM(thinking_tokens), SUM(web_search_requests),
    SUM(cost_microusd), latency_sum(latency)
FROM rollup_day GROUP BY series;

CREATE TABLE former_accounts (
    id TEXT PRIMARY KEY, -- requests.account_used
    name TEXT NOT NULL,
    removed_at INTEGER NOT NULL
) WITHOUT ROWID;
