-- What became of refreshing tokens, who is at it, and with which salt the credentials are sealed.

ALTER TABLE accounts ADD COLUMN last_refresh_at INTEGER;
ALTER TABLE accounts ADD COLUMN refresh_failed_at INTEGER;
ALTER TABLE accounts ADD COLUMN refresh_error TEXT; -- of the last failure; stays until the account is signed in again

CREATE TABLE token_leases (
    account_id TEXT PRIMARY KEY,
    holder TEXT NOT NULL, -- a random name of the process that refreshes
    until INTEGER NOT NULL -- milliseconds since the epoch
) WITHOUT ROWID;

CREATE TABLE vault (
    id INTEGER PRIMARY KEY CHECK (id = 1), -- no row: the credentials are in clear
    salt BLOB NOT NULL,
    proof TEXT NOT NULL -- sealed with the key in force: opens with that key and no other
);
