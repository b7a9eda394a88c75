-- Written just before a message is handed to a sender: whoever finds it on a row whose lease has ended
-- knows that the message may have left, and does not simply send it again.
ALTER TABLE outbox ADD COLUMN handed_at BIGINT;
ALTER TABLE outbox ADD COLUMN handed_to TEXT;

-- Claims ask for one tenant's rows of one channel at a time, those overdue for longest first.
DROP INDEX outbox_queued;
CREATE INDEX outbox_due ON outbox (tenant_id, kind, lease_until) WHERE state = 'queued';
CREATE INDEX outbox_ending ON outbox (not_after) WHERE state = 'queued';
CREATE INDEX outbox_handed ON outbox (tenant_id, handed_to) WHERE state = 'queued' AND handed_at IS NOT NULL;

-- One row per attempt at a message. Outlives the message, so it names nobody: no address, no text, no code.
CREATE TABLE deliveries (
    tenant_id  UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id         UUID NOT NULL,
    message_id UUID NOT NULL,
    sender     TEXT NOT NULL,
    channel    TEXT NOT NULL,
    template   TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    latency    BIGINT NOT NULL,
    -- skipped, refused, temporary, unknown, accepted, sent, undelivered or delivered.
    state      TEXT NOT NULL,
    -- When a receipt last changed the state.
    told_at    BIGINT,
    stage      TEXT,
    code       TEXT,
    -- What the provider calls the message; receipts bear it.
    reference  TEXT,
    -- Keyed digest of the contact, so that somebody who knows it finds what was sent there.
    recipient  BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX deliveries_by_message ON deliveries (tenant_id, message_id);
CREATE INDEX deliveries_by_reference ON deliveries (tenant_id, sender, reference) WHERE reference IS NOT NULL;
CREATE INDEX deliveries_by_recipient ON deliveries (tenant_id, recipient, id);
CREATE INDEX deliveries_by_age ON deliveries (at);

-- Receipts that came before the provider's own answer was written down.
CREATE TABLE early_receipts (
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    sender    TEXT NOT NULL,
    reference TEXT NOT NULL,
    state     TEXT NOT NULL,
    code      TEXT,
    at        BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, sender, reference, state)
);
CREATE INDEX early_receipts_by_age ON early_receipts (at);
