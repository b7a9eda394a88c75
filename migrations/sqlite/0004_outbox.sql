-- Written in the transaction of the fact it tells of. Holds ids, never a code, a link or a text.
CREATE TABLE outbox (
    tenant_id   BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id          BLOB NOT NULL,
    kind        TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    locale      TEXT NOT NULL,
    content     TEXT NOT NULL,
    -- Past this it is not sent: a code never outlives itself.
    not_after   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    -- queued, sent, dead or expired.
    state       TEXT NOT NULL,
    -- Whose turn it is to send, and until when; born leased to the node that wrote it.
    node_id     BLOB NOT NULL,
    lease_until INTEGER NOT NULL,
    -- Grows with every claim; a settlement under an older one changes nothing.
    claim       INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    reason      TEXT,
    settled_at  INTEGER,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX outbox_queued ON outbox (tenant_id, created_at) WHERE state = 'queued';
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE settled_at IS NOT NULL;

-- Names ids only, so that it may be kept longer than the people in it; hence no foreign keys.
CREATE TABLE audit (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id  BLOB NOT NULL,
    account_id BLOB,
    kind       TEXT NOT NULL,
    at         INTEGER NOT NULL,
    cause      TEXT
) STRICT;
CREATE INDEX audit_by_tenant ON audit (tenant_id, sequence);
CREATE INDEX audit_by_age ON audit (at);
