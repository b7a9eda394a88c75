//! The tenant directory: who the tenants are, and their own settings.

use std::collections::BTreeMap;

use sqlx::types::{Json, Uuid};

use super::apps;
use super::engine::{Database, Tx};
use super::error::StorageError;
use crate::domain::app::App;
use crate::domain::ids::TenantId;
use crate::domain::policy::Profile;
use crate::domain::settings::Settings;
use crate::domain::time::Timestamp;

const INSERT: &str = "
    INSERT INTO tenants (id, slug, name, profile, settings, version, created_at)
    VALUES ($1, $2, $3, $4, $5, 1, $6)
    ON CONFLICT (slug) DO NOTHING";

const INSERT_VERSION: &str = "
    INSERT INTO settings_versions (tenant_id, version, settings, saved_at) VALUES ($1, 1, $2, $3)";

const INSERT_DOMAIN: &str = "
    INSERT INTO tenant_domains (domain, tenant_id, position) VALUES ($1, $2, $3) ON CONFLICT (domain) DO NOTHING";

const ALL: &str = "SELECT id, slug, name, profile, CAST(settings AS TEXT) AS settings, version, created_at
      FROM tenants ORDER BY created_at, id";
const ALL_DOMAINS: &str = "SELECT tenant_id, domain FROM tenant_domains ORDER BY position";
const BY_SLUG: &str = "SELECT id, slug, name, profile, CAST(settings AS TEXT) AS settings, version, created_at
      FROM tenants WHERE slug = $1";
const DOMAINS: &str = "SELECT tenant_id, domain FROM tenant_domains WHERE tenant_id = $1 ORDER BY position";

const REVISION: &str = "SELECT revision FROM directory_revision";
const NEXT_REVISION: &str = "UPDATE directory_revision SET revision = revision + 1";

/// A tenant to be made.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Its id.
    pub id: TenantId,
    /// Its name in paths.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// Its defaults and floors.
    pub profile: Profile,
    /// Its own values.
    pub settings: Settings,
    /// Host names that lead to it, lower case; the first binds SMS codes.
    pub domains: Vec<String>,
    /// When.
    pub created_at: Timestamp,
}

/// What became of a new tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantCreated {
    /// It exists now.
    Created,
    /// Another tenant has the slug.
    SlugTaken,
    /// Another tenant has one of the domains.
    DomainTaken,
}

/// A tenant as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name in paths.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// Its defaults and floors.
    pub profile: Profile,
    /// Its own values.
    pub settings: Settings,
    /// Host names that lead to it, in the order they were named.
    pub domains: Vec<String>,
    /// Its applications, oldest first.
    pub apps: Vec<App>,
    /// Grows with every change of the settings.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The tenant directory.
#[derive(Debug, Clone, Copy)]
pub struct Tenants<'a> {
    pub(super) db: &'a Database,
}

impl Tenants<'_> {
    /// Makes a tenant with its domains, or nothing.
    pub async fn create(&self, tenant: &NewTenant) -> Result<TenantCreated, StorageError> {
        let mut tx = self.db.begin().await?;
        let outcome = insert(&mut tx, tenant).await?;
        if outcome == TenantCreated::Created {
            directory_changed(&mut tx).await?;
            tx.commit().await?;
        }
        Ok(outcome)
    }

    /// Grows with every change that the directory must show; cheap to ask often.
    pub async fn revision(&self) -> Result<i64, StorageError> {
        let found = fetch_optional!(self.db.read(), (i64,), REVISION)?;
        found.map(|(revision,)| revision).ok_or_else(|| StorageError::corrupt("directory_revision"))
    }

    /// Every tenant that can be read, oldest first: one that cannot holds up no other.
    pub async fn all(&self) -> Result<Vec<Tenant>, StorageError> {
        let rows = fetch_all!(self.db.read(), TenantRow, ALL)?;
        let mut domains: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        for (tenant, domain) in fetch_all!(self.db.read(), (Uuid, String), ALL_DOMAINS)? {
            domains.entry(tenant).or_default().push(domain);
        }
        let mut apps: BTreeMap<Uuid, Vec<App>> = BTreeMap::new();
        for (tenant, app) in apps::all(self.db).await? {
            apps.entry(tenant).or_default().push(app);
        }
        let readable = |row: TenantRow| {
            let id = TenantId::from(row.id);
            let own = domains.remove(&row.id).unwrap_or_default();
            let apps = apps.remove(&row.id).unwrap_or_default();
            let read = row.into_tenant(own, apps);
            read.inspect_err(|error| tracing::error!(%error, tenant.id = %id, "a tenant cannot be read")).ok()
        };
        Ok(rows.into_iter().filter_map(readable).collect())
    }

    /// The tenant of that name.
    pub async fn find_by_slug(&self, slug: &str) -> Result<Option<Tenant>, StorageError> {
        let Some(row) = fetch_optional!(self.db.read(), TenantRow, BY_SLUG, slug)? else { return Ok(None) };
        let domains = fetch_all!(self.db.read(), (Uuid, String), DOMAINS, row.id)?;
        let apps = apps::of(self.db, row.id).await?;
        row.into_tenant(domains.into_iter().map(|(_, domain)| domain).collect(), apps).map(Some)
    }

    /// The tenant of that slug, made from `tenant` if there is none yet; safe on several nodes at once.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if one of its domains belongs to another tenant.
    pub async fn ensure_default(&self, tenant: &NewTenant) -> Result<Tenant, StorageError> {
        if let Some(found) = self.find_by_slug(&tenant.slug).await? {
            return Ok(found);
        }
        self.create(tenant).await?;
        let found = self.find_by_slug(&tenant.slug).await?;
        found.ok_or_else(|| StorageError::Conflict("tenant_domains".to_owned()))
    }
}

/// Every node reads the directory anew at its next poll. The row is every writer's, so it is taken
/// last, just before the commit.
pub(super) async fn directory_changed(tx: &mut Tx) -> Result<(), StorageError> {
    execute!(tx.on(), NEXT_REVISION).map(drop)
}

async fn insert(tx: &mut Tx, tenant: &NewTenant) -> Result<TenantCreated, StorageError> {
    let inserted = execute!(
        tx.on(),
        INSERT,
        tenant.id.uuid(),
        tenant.slug.as_str(),
        tenant.name.as_str(),
        tenant.profile.as_str(),
        Json(&tenant.settings),
        tenant.created_at.as_millis(),
    )?;
    if inserted == 0 {
        return Ok(TenantCreated::SlugTaken);
    }
    let settings = Json(&tenant.settings);
    execute!(tx.on(), INSERT_VERSION, tenant.id.uuid(), settings, tenant.created_at.as_millis())?;
    for (position, domain) in (0_i64..).zip(&tenant.domains) {
        if execute!(tx.on(), INSERT_DOMAIN, domain.as_str(), tenant.id.uuid(), position)? == 0 {
            return Ok(TenantCreated::DomainTaken);
        }
    }
    Ok(TenantCreated::Created)
}

#[derive(sqlx::FromRow)]
struct TenantRow {
    id: Uuid,
    slug: String,
    name: String,
    profile: String,
    settings: String,
    version: i64,
    created_at: i64,
}

impl TenantRow {
    fn into_tenant(self, domains: Vec<String>, apps: Vec<App>) -> Result<Tenant, StorageError> {
        Ok(Tenant {
            id: self.id.into(),
            slug: self.slug,
            name: self.name,
            profile: self.profile.parse().map_err(|_| StorageError::corrupt("tenants.profile"))?,
            settings: serde_json::from_str(&self.settings).map_err(|_| StorageError::corrupt("tenants.settings"))?,
            domains,
            apps,
            version: u64::try_from(self.version).map_err(|_| StorageError::corrupt("tenants.version"))?,
            created_at: Timestamp::from_millis(self.created_at),
        })
    }
}
