//! Why a story could not be told to its end, by what the caller can do about it.
//!
//! Refusals of the protocol are outcomes and never come here. Each lower room has its own small
//! error; this is where they meet, are logged once, and become one of four answers.

use std::time::Duration;

use super::ask::AskError;
use super::hasher::HashError;
use crate::ephemeral::EphemeralError;
use crate::storage::StorageError;
use crate::telemetry::causes;

/// Nothing was decided. Each variant is one answer of the front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Too many requests wait for this one account (429 `account_busy`).
    #[error("the account is busy")]
    Busy,
    /// The node has more work than it can do (503 `overloaded`).
    #[error("overloaded")]
    Overloaded,
    /// A store is away or too slow (503 `dependency_unavailable`).
    #[error("a store is away")]
    Unavailable,
    /// A bug or a broken row (500); the log says which.
    #[error("internal failure")]
    Internal,
}

impl Failure {
    /// When it is worth asking again.
    #[must_use]
    pub const fn retry_after(self) -> Duration {
        match self {
            Self::Busy | Self::Overloaded => Duration::from_secs(1),
            Self::Unavailable | Self::Internal => Duration::from_secs(2),
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable { .. } => {
                tracing::warn!(error = causes(&error), "storage is away");
                Self::Unavailable
            }
            error => {
                tracing::error!(error = causes(&error), "storage failed");
                Self::Internal
            }
        }
    }
}

impl From<EphemeralError> for Failure {
    fn from(error: EphemeralError) -> Self {
        match error {
            EphemeralError::Unavailable { .. } => {
                tracing::warn!(error = causes(&error), "the ephemeral store is away");
                Self::Unavailable
            }
            error => {
                tracing::error!(error = causes(&error), "the ephemeral store failed");
                Self::Internal
            }
        }
    }
}

impl From<HashError> for Failure {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Shed => Self::Overloaded,
            HashError::Failed(error) => {
                tracing::error!(%error, "hashing failed");
                Self::Internal
            }
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Busy => Self::Busy,
            AskError::TimedOut => Self::Unavailable,
            AskError::Crashed => Self::Internal,
        }
    }
}
