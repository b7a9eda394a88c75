-- Written in the transaction of the fact it tells of. Holds ids, never a code, a link or a text.
CREATE TABLE outbox (
    tenant_id   UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id          UUID NOT NULL,
    kind        TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    locale      TEXT NOT NULL,
    content     JSONB NOT NULL,
    -- Past this it is not sent: a code never outlives itself.
    not_after   BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    -- queued, sent, dead or expired.
    state       TEXT NOT NULL,
    -- Whose turn it is to send, and until when; born leased to the node that wrote it.
    node_id     UUID NOT NULL,
    lease_until BIGINT NOT NULL,
    -- Grows with every claim; a settlement under an older one changes nothing.
    claim       BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    reason      TEXT,
    settled_at  BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX outbox_queued ON outbox (tenant_id, created_at) WHERE state = 'queued';
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE settled_at IS NOT NULL;

-- Names ids only, so that it may be kept longer than the people in it; hence no foreign keys.
CREATE TABLE audit (
    sequence   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  UUID NOT NULL,
    account_id UUID,
    kind       TEXT NOT NULL,
    at         BIGINT NOT NULL,
    cause      TEXT
);
CREATE INDEX audit_by_tenant ON audit (tenant_id, sequence);
CREATE INDEX audit_by_age ON audit (at);
