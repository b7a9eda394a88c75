-- One row: grows with every change that a node's tenant directory must show, so that nodes need not
-- read every tenant to learn that nothing changed.
CREATE TABLE directory_revision (
    id       BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO directory_revision (id, revision) VALUES (1, 1);

-- Every settings document a tenant ever had, for a look back and a roll-back. Credentials are sealed in it.
CREATE TABLE settings_versions (
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    version   BIGINT NOT NULL,
    settings  JSONB NOT NULL,
    -- The admin key that saved it; NULL for the root key and the command line.
    key_id    UUID,
    saved_at  BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
INSERT INTO settings_versions (tenant_id, version, settings, saved_at)
SELECT id, version, settings, created_at FROM tenants;

-- Keys to the admin API, by digest: the key itself is shown once and kept nowhere.
CREATE TABLE admin_keys (
    tenant_id  UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id         UUID NOT NULL,
    role       TEXT NOT NULL,
    name       TEXT NOT NULL,
    digest     BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Applications: audiences of tokens and origins of browsers.
CREATE TABLE apps (
    tenant_id     UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id            UUID NOT NULL,
    name          TEXT NOT NULL,
    audience      TEXT NOT NULL,
    origins       JSONB NOT NULL,
    secret_digest BYTEA NOT NULL,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Who did it, where an admin did; NULL where the person did.
ALTER TABLE audit ADD COLUMN key_id UUID;

-- Made through a test identity: marked for good.
ALTER TABLE accounts ADD COLUMN test BOOLEAN NOT NULL DEFAULT FALSE;
