CREATE TABLE sessions (
    tenant_id        BLOB NOT NULL,
    id               BLOB NOT NULL,
    account_id       BLOB NOT NULL,
    client_id        TEXT NOT NULL,
    proof            TEXT NOT NULL,
    -- Unique, so that one consumed challenge opens one session.
    challenge_id     BLOB,
    -- No foreign key: the session may outlive the memory of its device.
    device_id        BLOB,
    label            TEXT,
    authenticated_at INTEGER NOT NULL,
    refreshed_at     INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    ended_at         INTEGER,
    end_cause        TEXT,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, challenge_id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX sessions_by_account ON sessions (tenant_id, account_id, authenticated_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE refresh_tokens (
    tenant_id        BLOB NOT NULL,
    -- SHA-256: the token itself is kept nowhere.
    digest           BLOB NOT NULL,
    session_id       BLOB NOT NULL,
    replaced_at      INTEGER,
    successor_digest BLOB,
    -- The successor, sealed under a key derived from the token it replaces, for a repeat within the grace.
    successor_sealed BLOB,
    PRIMARY KEY (tenant_id, digest),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (tenant_id, session_id);
CREATE INDEX refresh_tokens_sealed ON refresh_tokens (replaced_at) WHERE successor_sealed IS NOT NULL;

-- What every node polls to refuse tokens of ended sessions. Without foreign keys: an erased account's
-- tokens must still be refused.
CREATE TABLE revocations (
    tenant_id  BLOB NOT NULL,
    session_id BLOB NOT NULL,
    revoked_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, session_id)
) STRICT;
CREATE INDEX revocations_by_age ON revocations (revoked_at);
