-- Facts about the installation itself.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE tenants (
    id         UUID NOT NULL PRIMARY KEY,
    slug       TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    profile    TEXT NOT NULL,
    settings   JSONB NOT NULL,
    -- Grows with every change of the settings, so that nodes notice a newer document.
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- A host name leads to one tenant, so the name alone is the key.
CREATE TABLE tenant_domains (
    domain    TEXT NOT NULL PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    -- The order they were named in: the first one binds SMS codes.
    position  BIGINT NOT NULL
);
CREATE INDEX tenant_domains_by_tenant ON tenant_domains (tenant_id);

CREATE TABLE signing_keys (
    tenant_id      UUID NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    kid            TEXT NOT NULL,
    algorithm      TEXT NOT NULL,
    -- Sealed under the master key: a dump of this table signs nothing.
    sealed_private BYTEA NOT NULL,
    public_jwk     JSONB NOT NULL,
    active         BOOLEAN NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, kid)
);
-- Two nodes that both make a tenant's first key end up with one.
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (tenant_id) WHERE active;
