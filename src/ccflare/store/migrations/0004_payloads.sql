-- What was said in exchanges, without credentials, compressed. Each turn of a conversation repeats what came before:
-- so a session's payloads are compressed against each other, and the group they form is dropped together.

CREATE TABLE payload_groups (
    id TEXT PRIMARY KEY, -- of its first payload
    ended INTEGER NOT NULL, -- arrival of its latest exchange
    bytes INTEGER NOT NULL -- of all its payloads
);

CREATE INDEX idx_payload_groups_ended ON payload_groups (ended, id, bytes);

CREATE TABLE payloads (
    id TEXT PRIMARY KEY, -- requests.id
    timestamp INTEGER NOT NULL, -- arrival
    group_id TEXT NOT NULL,
    base TEXT, -- the payload of the same group that head and request are compressed against; NULL: none
    bytes INTEGER NOT NULL, -- of the three that follow
    head BLOB NOT NULL, -- zstd of JSON: everything but the bodies
    request BLOB, -- zstd of the body; NULL when it is empty
    response BLOB
);

CREATE INDEX idx_payloads_group ON payloads (group_id);
