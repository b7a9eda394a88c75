//! Facts about the installation itself.

use super::engine::{Database, Text};
use super::error::StorageError;

const KEEP: &str = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
const READ: &str = "SELECT value FROM meta WHERE name = $1";

/// No rows if nothing was ever migrated: asking the table itself would be an error then.
const TABLE: Text = Text {
    postgres: "SELECT count(*) FROM pg_class WHERE oid = to_regclass('meta')",
    sqlite: "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'",
};

pub(super) const MASTER_KEY: &str = "master_key_fingerprint";

/// Facts about the installation itself.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    pub(super) db: &'a Database,
}

impl Meta<'_> {
    /// Whether another master key than this one seals this database's secrets. Keeps nothing, and may
    /// be asked of a database that was never migrated.
    pub async fn has_other_master_key(&self, fingerprint: &str) -> Result<bool, StorageError> {
        let table = fetch_optional!(self.db.read(), (i64,), self.db.pick(TABLE))?;
        if table.is_none_or(|(count,)| count == 0) {
            return Ok(false);
        }
        let kept = fetch_optional!(self.db.read(), (String,), READ, MASTER_KEY)?;
        Ok(kept.is_some_and(|(kept,)| kept != fingerprint))
    }

    /// Whether this master key is the one that seals this database's secrets. The first key ever
    /// shown is kept (as a fingerprint) and is the right one from then on.
    pub async fn confirm_master_key(&self, fingerprint: &str) -> Result<bool, StorageError> {
        execute!(self.db.write(), KEEP, MASTER_KEY, fingerprint)?;
        let kept = fetch_optional!(self.db.read(), (String,), READ, MASTER_KEY)?;
        Ok(kept.is_some_and(|(kept,)| kept == fingerprint))
    }
}
