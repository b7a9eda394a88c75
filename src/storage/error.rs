//! What a caller of storage can do about a failure.
//!
//! Refusals that belong to the protocol (an address taken, a link used) are outcomes of the methods,
//! not errors. No variant's text holds SQL or a stored value.

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why storage could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Out of reach, overloaded or out of patience: the same call may succeed later.
    #[error("storage is out of reach")]
    Unavailable(#[source] Source),
    /// The write contradicts what is stored; names the constraint where the database tells.
    #[error("the write conflicts with what is stored ({0})")]
    Conflict(String),
    /// A stored value cannot be read back; names the column.
    #[error("a stored value cannot be read back ({0})")]
    Corrupt(String),
    /// A fault of ours or of the set-up.
    #[error("storage failed")]
    Internal(#[source] Source),
}

impl StorageError {
    /// A value of `column` is not in the form it was written in.
    pub(super) fn corrupt(column: &str) -> Self {
        Self::Corrupt(column.to_owned())
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match error {
            E::ColumnDecode { index, .. } => Self::Corrupt(index),
            E::Database(failure) if failure.is_unique_violation() || failure.is_foreign_key_violation() => {
                Self::Conflict(failure.constraint().unwrap_or("unnamed").to_owned())
            }
            E::Database(failure) if failure.code().is_some_and(|code| passes(&code)) => {
                Self::Unavailable(Box::new(E::Database(failure)))
            }
            E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::Protocol(_) => {
                Self::Unavailable(Box::new(error))
            }
            other => Self::Internal(Box::new(other)),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StorageError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(cause) => cause.into(),
            other => Self::Internal(Box::new(other)),
        }
    }
}

/// Whether a database's error code tells of a state that passes by itself.
///
/// PostgreSQL: connection (08), resources (53), operator intervention and statement time-out (57),
/// rolled back for another's sake (40), lock not available (55P03), read-only after a fail-over
/// (25006). SQLite (primary code in the low byte): BUSY 5, LOCKED 6, IOERR 10, FULL 13, CANTOPEN 14.
fn passes(code: &str) -> bool {
    if code.len() == 5 && !code.starts_with("00") {
        return ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
            || code == "55P03"
            || code == "25006";
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13 | 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for code in ["57P01", "57014", "08006", "53300", "40P01", "5", "517", "13"] {
            assert!(passes(code), "{code}");
        }
        for code in ["42P01", "23505", "22P02", "1", "2067"] {
            assert!(!passes(code), "{code}");
        }
    }
}
