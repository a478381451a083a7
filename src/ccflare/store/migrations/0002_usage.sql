-- What an answer said about its usage, and what it cost. NULL means: upstream did not say, or the price is not known.

ALTER TABLE requests ADD COLUMN cost_microusd INTEGER; -- cost_usd is the same in dollars
ALTER TABLE requests ADD COLUMN cache_creation_5m_tokens INTEGER;
ALTER TABLE requests ADD COLUMN cache_creation_1h_tokens INTEGER;
ALTER TABLE requests ADD COLUMN thinking_tokens INTEGER; -- a part of output_tokens
ALTER TABLE requests ADD COLUMN web_search_requests INTEGER;
ALTER TABLE requests ADD COLUMN service_tier TEXT;
ALTER TABLE requests ADD COLUMN inference_geo TEXT;
ALTER TABLE requests ADD COLUMN speed TEXT;
ALTER TABLE requests ADD COLUMN stop_reason TEXT;
