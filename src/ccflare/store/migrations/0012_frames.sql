-- Payloads that are written together share a frame. Packing 3: it begins with their lengths, as a line of JSON.

ALTER TABLE payloads ADD COLUMN frame_of TEXT; -- the payload, earlier in its group, whose `head` has the frame; NULL: this one
ALTER TABLE payloads ADD COLUMN place INTEGER NOT NULL DEFAULT 0; -- which payload of the frame it is
