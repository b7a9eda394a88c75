//! What an admin may do: tenants, their settings, keys and apps.
//!
//! No mailbox here: storage's conditional updates are the only order that two nodes share. Every
//! change writes its audit line in its own transaction and is in force on this node before it is
//! answered, on the others at their next poll.
//!
//! - [`keys`]: who holds a key and what it opens; making and forgetting keys
//! - [`tenants`]: making, changing and ending tenants
//! - [`plans`]: tenants as a file wants them, all judged before one is written
//! - [`settings`]: the settings document, its versions, its credentials
//! - `judgement`: whether a tenant may live by a document, before it is saved
//! - [`people`]: a tenant's people, locks and audit log
//! - [`messages`]: the delivery log, *send test*, texts
//! - [`apps`]: applications and their secrets
//! - [`signing_keys`]: what tokens are signed with
//! - [`master_key`]: another key for everything that is sealed

pub mod apps;
mod judgement;
pub mod keys;
pub mod master_key;
pub mod messages;
pub mod people;
pub mod plans;
pub mod settings;
pub mod signing_keys;
pub mod tenants;

use std::sync::Arc;

use super::auditor::Auditor;
use super::failure::Failure;
use super::keyring::Keyring;
use super::senders::Maker;
use super::tenant_source::TenantSource;
use crate::clock::Clock;
use crate::delivery::template::Templates;
use crate::domain::event::{Event, EventKind};
use crate::domain::fault::Fault;
use crate::domain::ids::{AccountId, KeyId, TenantId};
use crate::domain::role::Role;
use crate::entropy::Entropy;
use crate::secret::SecretString;
use crate::storage::{Storage, StorageError};
use crate::tenant::TenantContext;

pub use crate::storage::Tenant;

/// Who asks: what a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// What they may do.
    pub role: Role,
    /// The only tenant they see; none sees all.
    pub tenant: Option<TenantId>,
    /// Their key; none for the root key and the command line.
    pub key: Option<KeyId>,
}

impl Holder {
    /// The platform's administrator: the root key, or a person at the command line.
    pub const ROOT: Self = Self { role: Role::PlatformAdmin, tenant: None, key: None };
}

/// How often a change is made anew because another came between.
const TRIES: u32 = 5;

/// Which versions of a tenant an admin will have replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Expected {
    /// Whichever there is.
    #[default]
    Any,
    /// One of these.
    OneOf(Vec<u64>),
}

impl Expected {
    fn is_met_by(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => versions.contains(&version),
        }
    }
}

/// Why an admin does not get what was asked for. Unlike people at the front door, admins are told.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such thing, or it is another tenant's.
    NotFound,
    /// The holder's role does not reach so far.
    Forbidden,
    /// These members cannot be taken.
    Invalid(Vec<Fault>),
    /// Another tenant has the slug.
    SlugTaken,
    /// Another tenant has one of the domains.
    DomainTaken,
    /// Another app has the audience.
    AudienceTaken,
    /// The tenant has as many of them as one may have.
    Full,
    /// Bare requests belong to this tenant: it cannot go.
    IsDefault,
    /// What the holder looked at has changed since.
    Outdated,
    /// Nothing was decided.
    Failed(Failure),
}

impl Refusal {
    /// The same, where the document that was judged is a member of what was sent, at this pointer.
    #[must_use]
    pub fn below(self, pointer: &str) -> Self {
        match self {
            Self::Invalid(faults) => Self::Invalid(faults.into_iter().map(|fault| fault.below(pointer)).collect()),
            other => other,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

/// What admins may ask. Clones share everything.
#[derive(Clone)]
pub struct Administration(Arc<Parts>);

/// What it stands on.
pub struct Parts {
    /// What is kept.
    pub storage: Storage,
    /// The tenants as this node shows them.
    pub source: TenantSource,
    /// Makes the senders of tenants' own, and seals their credentials.
    pub maker: Maker,
    /// Judges tenants' texts.
    pub templates: Templates,
    /// Hears of keys that went too far.
    pub auditor: Auditor,
    /// The keys that tokens are signed with.
    pub keyring: Keyring,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Opens everything.
    pub root_key: SecretString,
}

impl Administration {
    /// Puts it together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// A tenant as the rest of the house knows it, for stories that are told to it.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] if it is gone, or was made on another node in this very moment.
    pub async fn context(&self, tenant: TenantId) -> Result<TenantContext, Refusal> {
        if let Some(found) = self.0.source.tenants().snapshot().by_id(tenant) {
            return Ok(found.clone());
        }
        self.0.source.refresh().await?;
        self.0.source.tenants().snapshot().by_id(tenant).cloned().ok_or(Refusal::NotFound)
    }

    /// An audit line about what `holder` does to `tenant`; `cause` is a word from a fixed set.
    #[must_use]
    pub fn event(&self, holder: &Holder, tenant: TenantId, kind: EventKind, cause: &'static str) -> Event {
        self.event_of(holder, tenant, None, kind, cause)
    }

    /// The same about one account.
    #[must_use]
    pub fn event_of(
        &self,
        holder: &Holder,
        tenant: TenantId,
        account: Option<AccountId>,
        kind: EventKind,
        cause: &'static str,
    ) -> Event {
        Event { tenant, account, kind, at: self.0.clock.now(), cause: Some(cause), key: holder.key, subject: None }
    }

    /// Shows this node what was just written. The others see it at their next poll, and so does this
    /// one if the rows cannot be read now.
    async fn show_change(&self) {
        if let Err(error) = self.0.source.refresh().await {
            tracing::warn!(%error, "a change is in force at the next poll only");
        }
    }
}
