-- How a payload is packed. 1: head, request and response are a frame each. 2: all is in the frame `head`.

ALTER TABLE payloads ADD COLUMN packing INTEGER NOT NULL DEFAULT 1;
