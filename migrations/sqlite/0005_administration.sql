-- One row: grows with every change that a node's tenant directory must show, so that nodes need not
-- read every tenant to learn that nothing changed.
CREATE TABLE directory_revision (
    id       INTEGER NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO directory_revision (id, revision) VALUES (1, 1);

-- Every settings document a tenant ever had, for a look back and a roll-back. Credentials are sealed in it.
CREATE TABLE settings_versions (
    tenant_id BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    version   INTEGER NOT NULL,
    settings  TEXT NOT NULL,
    -- The admin key that saved it; NULL for the root key and the command line.
    key_id    BLOB,
    saved_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, version)
) STRICT;
INSERT INTO settings_versions (tenant_id, version, settings, saved_at)
SELECT id, version, settings, created_at FROM tenants;

-- Keys to the admin API, by digest: the key itself is shown once and kept nowhere.
CREATE TABLE admin_keys (
    tenant_id  BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id         BLOB NOT NULL,
    role       TEXT NOT NULL,
    name       TEXT NOT NULL,
    digest     BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

-- Applications: audiences of tokens and origins of browsers.
CREATE TABLE apps (
    tenant_id     BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id            BLOB NOT NULL,
    name          TEXT NOT NULL,
    audience      TEXT NOT NULL,
    origins       TEXT NOT NULL,
    secret_digest BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

-- Who did it, where an admin did; NULL where the person did.
ALTER TABLE audit ADD COLUMN key_id BLOB;

-- Made through a test identity: marked for good.
ALTER TABLE accounts ADD COLUMN test INTEGER NOT NULL DEFAULT 0;
