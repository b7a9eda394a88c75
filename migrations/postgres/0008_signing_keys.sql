-- Keys change by a schedule: next, active, retiring, gone. `active` stays what it was, so that an older
-- node finds the key that signs, and the unique index keeps it one.
ALTER TABLE signing_keys ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
-- When it begins to sign; NULL for a key from before there was a schedule: when it was made.
ALTER TABLE signing_keys ADD COLUMN active_from BIGINT;
-- When a retiring key is to go: its last token has run out then.
ALTER TABLE signing_keys ADD COLUMN gone_from BIGINT;
-- What every node polls.
ALTER TABLE signing_keys ADD COLUMN changed_at BIGINT NOT NULL DEFAULT 0;
-- Of several nodes that find a key due, one makes it.
CREATE UNIQUE INDEX signing_keys_one_next ON signing_keys (tenant_id) WHERE state = 'next';
CREATE INDEX signing_keys_by_change ON signing_keys (changed_at);
