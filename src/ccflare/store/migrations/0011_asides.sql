-- What an account is not asked for at the moment, and when a person last wanted it to be tried again.

ALTER TABLE account_windows ADD COLUMN asides TEXT; -- JSON array: model, family, until_ms, reason; NULL: none
ALTER TABLE accounts ADD COLUMN resumed_at INTEGER; -- milliseconds since the epoch
