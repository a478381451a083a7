-- Who may use the proxy, who is signed in to the dashboard, and by whose key each exchange came.

CREATE TABLE client_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL, -- proxy, admin
    digest BLOB NOT NULL UNIQUE, -- SHA-256 of the key; the key itself is not kept
    store_payloads INTEGER NOT NULL, -- 0: what is said with it is not kept
    created_at INTEGER NOT NULL,
    revoked_at INTEGER, -- rows are never deleted: the history keeps the name
    last_used INTEGER
);

CREATE UNIQUE INDEX idx_client_keys_name ON client_keys (name) WHERE revoked_at IS NULL;

CREATE TABLE dashboard_sessions (
    digest BLOB PRIMARY KEY, -- SHA-256 of the cookie's value
    key_id TEXT NOT NULL, -- client_keys.id
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

ALTER TABLE requests ADD COLUMN client_key TEXT; -- client_keys.id; NULL when none was needed
ALTER TABLE series ADD COLUMN client_key TEXT NOT NULL DEFAULT ''; -- '' when there is none
