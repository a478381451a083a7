-- What upstream said last about each account's rate-limit windows and budgets, so that a restart knows it.

CREATE TABLE account_windows (
    account_id TEXT PRIMARY KEY, -- accounts.id
    said_at INTEGER NOT NULL,
    windows TEXT NOT NULL, -- JSON array: name, utilization (0 to 1), status, reset_ms, samples of the last hour
    budgets TEXT NOT NULL -- JSON array: name, limit, remaining, reset_ms
) WITHOUT ROWID;
