-- Which account an upstream object (file, batch, container, ...) belongs to, and the prices that were fetched last.

CREATE TABLE object_owners (
    object_id TEXT PRIMARY KEY, -- as upstream names it
    account_id TEXT NOT NULL, -- accounts.id
    used_at INTEGER NOT NULL -- when it was seen or asked for, exact to a day
) WITHOUT ROWID;

CREATE INDEX idx_object_owners_used ON object_owners (used_at);

CREATE TABLE price_table (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    encoded BLOB NOT NULL, -- JSON
    fetched_at INTEGER NOT NULL
);
