//! What must survive: accounts, sessions, locks, messages to send, the audit log.
//!
//! One set of statements on two databases, PostgreSQL and SQLite. The actors call it; it calls
//! nobody. It is the last judge wherever a promise must hold on several nodes at once, and keeps it
//! with unique keys and conditional updates, never with memory of its own. A fact, the messages
//! that tell of it and the audit events that name it share one transaction ([`Notes`]).
//!
//! ```text
//!  storage.accounts().find(tenant, id)
//!     │        │
//!     │        └─ a handle per family of tables: a cheap borrow, one file each
//!     └─ Database: pools of one engine ─► fetch_optional!/execute! ─► the same SQL text on either
//! ```
//!
//! Every statement filters on its tenant, except these, which serve the installation as a whole:
//! `meta` and `nodes` (facts about the installation), the tenant directory (`tenants::ALL`, `BY_SLUG`, `REVISION`,
//! `PAGE`, `apps::ALL`), `admin_keys::BY_DIGEST` (the digest says whose it is),
//! `sessions::REVOKED_SINCE` (every node refuses for every tenant), `attempts::DUE`,
//! `signing_keys::{STANDINGS, CHANGED_SINCE}`,
//! `outbox::{LINES, EXPIRED, DEPTH}` and all of `housekeeping` and `master_key`.
//!
//! Rows are locked downwards: account, session, refresh token or revocation; and message before delivery.
//! What judges an account as a whole queues on its row first (`accounts::lock`) and reads what the other
//! committed; refreshing and ending one session begin at the session's row, as deleting it does, so none
//! of them deadlock.

#[macro_use]
mod engine;
#[macro_use]
mod row;

mod accounts;
mod admin_keys;
mod apps;
mod attempts;
mod audit;
mod deliveries;
mod devices;
mod error;
mod housekeeping;
mod links;
mod master_key;
mod meta;
mod migrations;
mod nodes;
mod notes;
mod outbox;
mod passwords;
mod people;
mod sessions;
mod signing_keys;
mod tenant_end;
mod tenants;

pub use accounts::{
    Accounts, ContactChange, ContactChanged, Credential, EmailRegistered, EmailRegistration, Invited, PhoneRegistered,
    PhoneRegistration,
};
pub use admin_keys::{AdminKey, AdminKeys};
pub use apps::Apps;
pub use attempts::{Attempts, Mirror};
pub use audit::{Audit, AuditEntry, AuditFilter, AuditPage};
pub use deliveries::{Attempt, Deliveries, Delivery, Noted, Receipt};
pub use devices::{Device, Devices, NewDevice};
pub use engine::{PoolSettings, Target};
pub use error::StorageError;
pub use housekeeping::{Housekeeping, SweepPace, Swept};
pub use links::{Link, LinkPurpose, Links, NewLink, Verified};
pub use master_key::{KeyRotated, MasterKeyRotation, Resealed, Resealer};
pub use meta::Meta;
pub use nodes::Nodes;
pub use notes::{Birth, Notes};
pub use outbox::{Claimed, Depth, HandedOver, Lines, Outbox, Settled};
pub use passwords::{Passwords, Reset};
pub use people::{
    Kept, KeptLink, KeptLock, KeptMessage, KeptSession, LockInForce, People, PeopleFilter, PeoplePage, Person, Status,
};
pub use sessions::{Opened, Opening, RefreshRow, Revocation, Rotation, Sessions};
pub use signing_keys::{KeyChange, SigningKey, SigningKeys};
pub use tenant_end::{Purged, TenantEnd};
pub use tenants::{
    NewSettings, NewTenant, SettingsVersion, Tenant, TenantChange, TenantChanged, TenantCreated, Tenants,
};

use engine::Database;

/// The durable store. Clones share the pools.
#[derive(Debug, Clone)]
pub struct Storage {
    db: Database,
}

impl Storage {
    /// Opens the pools and proves that the database answers. Does not migrate.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] if it does not answer, [`StorageError::Internal`] if the URL or
    /// the file cannot be used.
    pub async fn open(target: &Target, settings: &PoolSettings) -> Result<Self, StorageError> {
        Ok(Self { db: Database::open(target, settings).await? })
    }

    /// Closes the pools, waiting for what is under way.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// One round trip, for readiness.
    pub async fn ping(&self) -> Result<(), StorageError> {
        execute!(self.db.read(), "SELECT 1").map(drop)
    }

    /// Brings the schema to this binary's version. Any number of nodes may do so at once.
    pub async fn migrate(&self) -> Result<(), StorageError> {
        migrations::run(&self.db).await
    }

    /// Whether every migration this binary knows has been applied.
    pub async fn schema_is_current(&self) -> Result<bool, StorageError> {
        migrations::all_applied(&self.db).await
    }

    /// Facts about the installation itself.
    pub const fn meta(&self) -> Meta<'_> {
        Meta { db: &self.db }
    }

    /// The tenant directory.
    pub const fn tenants(&self) -> Tenants<'_> {
        Tenants { db: &self.db }
    }

    /// Nodes that run on this database.
    pub const fn nodes(&self) -> Nodes<'_> {
        Nodes { db: &self.db }
    }

    /// Another master key in the place of this one.
    pub const fn master_key_rotation(&self) -> MasterKeyRotation<'_> {
        MasterKeyRotation { db: &self.db }
    }

    /// The end of tenants.
    pub const fn tenant_end(&self) -> TenantEnd<'_> {
        TenantEnd { db: &self.db }
    }

    /// Keys to the admin API.
    pub const fn admin_keys(&self) -> AdminKeys<'_> {
        AdminKeys { db: &self.db }
    }

    /// Tenants' applications.
    pub const fn apps(&self) -> Apps<'_> {
        Apps { db: &self.db }
    }

    /// People and how they are reached.
    pub const fn accounts(&self) -> Accounts<'_> {
        Accounts { db: &self.db }
    }

    /// How administrators find people.
    pub const fn people(&self) -> People<'_> {
        People { db: &self.db }
    }

    /// Mailed links.
    pub const fn links(&self) -> Links<'_> {
        Links { db: &self.db }
    }

    /// Setting a new password.
    pub const fn passwords(&self) -> Passwords<'_> {
        Passwords { db: &self.db }
    }

    /// Trusted devices.
    pub const fn devices(&self) -> Devices<'_> {
        Devices { db: &self.db }
    }

    /// The mirror of the lockout book, and locks.
    pub const fn attempts(&self) -> Attempts<'_> {
        Attempts { db: &self.db }
    }

    /// Sign-ins, their refresh tokens and their ends.
    pub const fn sessions(&self) -> Sessions<'_> {
        Sessions { db: &self.db }
    }

    /// Keys that sign tokens.
    pub const fn signing_keys(&self) -> SigningKeys<'_> {
        SigningKeys { db: &self.db }
    }

    /// Messages waiting to be sent.
    pub const fn outbox(&self) -> Outbox<'_> {
        Outbox { db: &self.db }
    }

    /// What became of every attempt to deliver one.
    pub const fn deliveries(&self) -> Deliveries<'_> {
        Deliveries { db: &self.db }
    }

    /// The audit log.
    pub const fn audit(&self) -> Audit<'_> {
        Audit { db: &self.db }
    }

    /// Removal of what no longer matters.
    pub const fn housekeeping(&self) -> Housekeeping<'_> {
        Housekeeping { db: &self.db }
    }
}
