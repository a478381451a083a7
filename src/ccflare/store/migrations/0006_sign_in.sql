-- Sign-ins that wait for their code. They live for minutes, and end with their first use.

CREATE TABLE sign_in_flows (
    id TEXT PRIMARY KEY, -- SHA-256 of the state, in hexadecimal; the state itself is not kept
    name TEXT NOT NULL, -- of the account
    mode TEXT NOT NULL,
    verifier TEXT NOT NULL,
    priority INTEGER NOT NULL,
    tier INTEGER NOT NULL,
    base_url TEXT,
    account_id TEXT, -- whose sign-in is renewed; NULL when the account is new
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
