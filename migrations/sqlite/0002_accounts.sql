CREATE TABLE accounts (
    tenant_id        BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id               BLOB NOT NULL,
    username         TEXT,
    first_name       TEXT,
    last_name        TEXT,
    -- The e-mail registration's `phoneNumber`, unproven: no contact, never messaged.
    phone_as_given   TEXT,
    locale           TEXT,
    disabled         INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    -- An unproven registration ends here; NULL from the moment a contact is proven.
    unverified_until INTEGER,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX accounts_lapsing ON accounts (unverified_until) WHERE unverified_until IS NOT NULL;

-- A table of its own, so that one constraint makes any kind of contact unique within its tenant.
CREATE TABLE contacts (
    tenant_id  BLOB NOT NULL,
    kind       TEXT NOT NULL,
    value      TEXT NOT NULL,
    account_id BLOB NOT NULL,
    proven_at  INTEGER,
    PRIMARY KEY (tenant_id, kind, value),
    UNIQUE (tenant_id, account_id, kind),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE CASCADE
) STRICT;

-- Apart from the account, so that reading an account never touches the hash.
CREATE TABLE credentials (
    tenant_id     BLOB NOT NULL,
    account_id    BLOB NOT NULL,
    -- PHC string (argon2id).
    password_hash TEXT NOT NULL,
    -- Grows when the password changes, not when the same one is hashed anew.
    version       INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, account_id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE CASCADE
) STRICT;

-- The link's token is derived from its id and is kept nowhere.
CREATE TABLE links (
    tenant_id  BLOB NOT NULL,
    id         BLOB NOT NULL,
    account_id BLOB NOT NULL,
    purpose    TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX links_by_account ON links (tenant_id, account_id);
CREATE INDEX links_by_end ON links (expires_at);

-- A proof of a phone number registers one account, even if its consumption was lost in a fail-over.
CREATE TABLE proofs (
    tenant_id    BLOB NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    challenge_id BLOB NOT NULL,
    spent_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, challenge_id)
) STRICT;
CREATE INDEX proofs_by_age ON proofs (spent_at);

CREATE TABLE devices (
    tenant_id    BLOB NOT NULL,
    id           BLOB NOT NULL,
    account_id   BLOB NOT NULL,
    kind         TEXT NOT NULL,
    digest       BLOB NOT NULL,
    -- Address prefix where a `User-Agent` was trusted: from elsewhere it counts among strangers.
    trusted_from TEXT,
    label        TEXT,
    created_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, account_id, kind, digest),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE CASCADE
) STRICT;

-- Mirror of the lockout book, from which an emptied ephemeral store is seeded.
CREATE TABLE attempts (
    tenant_id  BLOB NOT NULL,
    account_id BLOB NOT NULL,
    -- `s`, a device id, or `*`: the version at which the whole book was last cleared.
    lane       TEXT NOT NULL,
    counter    TEXT NOT NULL,
    -- The book's version: an older mirror never overwrites a newer one.
    version    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, account_id, lane),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE CASCADE
) STRICT;

-- One row per lock, so that it is mailed, announced and ended once, by whichever node is first.
CREATE TABLE locks (
    tenant_id    BLOB NOT NULL,
    -- The attempt that made it.
    id           BLOB NOT NULL,
    account_id   BLOB NOT NULL,
    lane         TEXT NOT NULL,
    locked_until INTEGER NOT NULL,
    ended_at     INTEGER,
    end_cause    TEXT,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX locks_by_account ON locks (tenant_id, account_id);
CREATE INDEX locks_in_force ON locks (locked_until) WHERE ended_at IS NULL;
