-- The tables users already query, under the names and columns they know, and what this program adds to them.
-- Instants are integer milliseconds since the epoch. NULL in a token or cost column means: upstream did not say.

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    provider TEXT DEFAULT 'anthropic',
    api_key TEXT,
    refresh_token TEXT NOT NULL, -- the empty string for an account that has an API key
    access_token TEXT,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    last_used INTEGER,
    request_count INTEGER DEFAULT 0,
    total_requests INTEGER DEFAULT 0,
    account_tier INTEGER DEFAULT 1,
    rate_limited_until INTEGER,
    session_start INTEGER, -- when a session was bound to the account last
    session_request_count INTEGER DEFAULT 0, -- requests since then
    paused INTEGER DEFAULT 0,
    rate_limit_reset INTEGER,
    rate_limit_status TEXT,
    rate_limit_remaining INTEGER,
    base_url TEXT,
    priority INTEGER DEFAULT 0,
    paused_by TEXT,
    paused_reason TEXT,
    paused_at INTEGER,
    limited_reason TEXT,
    auth_failed_reason TEXT,
    expired_reason TEXT
);

CREATE UNIQUE INDEX idx_accounts_unique_name ON accounts (name);

CREATE TABLE requests (
    id TEXT PRIMARY KEY,
    timestamp INTEGER NOT NULL, -- arrival
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    account_used TEXT, -- accounts.id; NULL when no account was used; stays when the account is removed
    status_code INTEGER,
    success BOOLEAN,
    error_message TEXT,
    response_time_ms INTEGER,
    failover_attempts INTEGER DEFAULT 0,
    model TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    total_tokens INTEGER,
    cost_usd REAL,
    output_tokens_per_second REAL,
    input_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER,
    output_tokens INTEGER,
    agent_used TEXT,
    attempts TEXT, -- JSON array, one object per upstream try
    session TEXT,
    client TEXT,
    first_byte_ms INTEGER,
    own_ms REAL,
    streamed INTEGER DEFAULT 0,
    request_bytes INTEGER DEFAULT 0,
    response_bytes INTEGER DEFAULT 0
);

CREATE INDEX idx_requests_timestamp ON requests (timestamp);

CREATE TABLE sessions (
    key TEXT PRIMARY KEY, -- a hash
    account_id TEXT NOT NULL,
    bound_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX idx_sessions_bound ON sessions (bound_at);
