CREATE TABLE sessions (
    tenant_id        UUID NOT NULL,
    id               UUID NOT NULL,
    account_id       UUID NOT NULL,
    client_id        TEXT NOT NULL,
    proof            TEXT NOT NULL,
    -- Unique, so that one consumed challenge opens one session.
    challenge_id     UUID,
    -- No foreign key: the session may outlive the memory of its device.
    device_id        UUID,
    label            TEXT,
    authenticated_at BIGINT NOT NULL,
    refreshed_at     BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    ended_at         BIGINT,
    end_cause        TEXT,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, challenge_id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX sessions_by_account ON sessions (tenant_id, account_id, authenticated_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE refresh_tokens (
    tenant_id        UUID NOT NULL,
    -- SHA-256: the token itself is kept nowhere.
    digest           BYTEA NOT NULL,
    session_id       UUID NOT NULL,
    replaced_at      BIGINT,
    successor_digest BYTEA,
    -- The successor, sealed under a key derived from the token it replaces, for a repeat within the grace.
    successor_sealed BYTEA,
    PRIMARY KEY (tenant_id, digest),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (tenant_id, session_id);
CREATE INDEX refresh_tokens_sealed ON refresh_tokens (replaced_at) WHERE successor_sealed IS NOT NULL;

-- What every node polls to refuse tokens of ended sessions. Without foreign keys: an erased account's
-- tokens must still be refused.
CREATE TABLE revocations (
    tenant_id  UUID NOT NULL,
    session_id UUID NOT NULL,
    revoked_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, session_id)
);
CREATE INDEX revocations_by_age ON revocations (revoked_at);
