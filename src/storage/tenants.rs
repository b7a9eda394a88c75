//! The tenant directory: who the tenants are, and their own settings.

use std::collections::BTreeMap;

use sqlx::types::{Json, Uuid};

use super::engine::{Database, Tx};
use super::error::StorageError;
use super::{apps, notes};
use crate::domain::app::App;
use crate::domain::event::Event;
use crate::domain::ids::{KeyId, TenantId};
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
      FROM tenants WHERE ending_at IS NULL ORDER BY created_at, id";
const ALL_DOMAINS: &str = "SELECT tenant_id, domain FROM tenant_domains ORDER BY position";
const BY_SLUG: &str = "SELECT id, slug, name, profile, CAST(settings AS TEXT) AS settings, version, created_at
      FROM tenants WHERE slug = $1 AND ending_at IS NULL";
const BY_ID: &str = "SELECT id, slug, name, profile, CAST(settings AS TEXT) AS settings, version, created_at
      FROM tenants WHERE id = $1 AND ending_at IS NULL";
const PAGE: &str = "SELECT id, slug, name, profile, CAST(settings AS TEXT) AS settings, version, created_at
      FROM tenants WHERE slug > $1 AND ending_at IS NULL ORDER BY slug LIMIT $2";
const DOMAINS: &str = "SELECT tenant_id, domain FROM tenant_domains WHERE tenant_id = $1 ORDER BY position";
const BY_DOMAIN: &str = "SELECT tenant_id FROM tenant_domains WHERE domain = $1";

/// A profile's floors may be judged against the settings of that version only.
const UPDATE: &str = "
    UPDATE tenants SET slug = $3, name = $4, profile = $5, settings = $6, version = version + 1
     WHERE id = $1 AND version = $2 AND ending_at IS NULL";
const FORGET_DOMAINS: &str = "DELETE FROM tenant_domains WHERE tenant_id = $1";

const SAVE: &str = "
    UPDATE tenants SET settings = $4, version = version + 1
     WHERE id = $1 AND version = $2 AND profile = $3 AND ending_at IS NULL";
const KEEP_VERSION: &str = "
    INSERT INTO settings_versions (tenant_id, version, settings, key_id, saved_at) VALUES ($1, $2, $3, $4, $5)";
const VERSIONS: &str = "
    SELECT version, key_id, saved_at FROM settings_versions
     WHERE tenant_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3";
const VERSION: &str = "
    SELECT CAST(settings AS TEXT) AS settings FROM settings_versions WHERE tenant_id = $1 AND version = $2";

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
    /// Grows with every change of it or of its settings.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A tenant that is another one from now on: facts and settings, judged by one another.
#[derive(Debug, Clone, Copy)]
pub struct TenantChange<'a> {
    /// As it is to be but for its apps; its version is the one that this replaces.
    pub after: &'a Tenant,
    /// Who changes it; none for the root key and the command line.
    pub key: Option<KeyId>,
    /// When.
    pub saved_at: Timestamp,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantChanged {
    /// It is in force.
    Changed,
    /// Another tenant has the slug.
    SlugTaken,
    /// Another tenant has one of the domains.
    DomainTaken,
    /// It changed meanwhile, or it is gone.
    Outdated,
}

/// A settings document to take the place of another.
#[derive(Debug, Clone, Copy)]
pub struct NewSettings<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// The version it replaces.
    pub replaces: u64,
    /// The profile it was judged against.
    pub profile: Profile,
    /// The document.
    pub settings: &'a Settings,
    /// Who saves it; none for the root key and the command line.
    pub key: Option<KeyId>,
    /// When.
    pub saved_at: Timestamp,
}

/// One settings document that a tenant had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingsVersion {
    /// Its number.
    pub version: u64,
    /// Who saved it; none for the root key and the command line.
    pub key: Option<KeyId>,
    /// When.
    pub saved_at: Timestamp,
}

/// The tenant directory.
#[derive(Debug, Clone, Copy)]
pub struct Tenants<'a> {
    pub(super) db: &'a Database,
}

impl Tenants<'_> {
    /// Makes a tenant with its domains, or nothing.
    pub async fn create(&self, tenant: &NewTenant) -> Result<TenantCreated, StorageError> {
        self.create_noted(tenant, &[]).await
    }

    /// The same, with what the audit log says of it.
    pub async fn create_noted(&self, tenant: &NewTenant, events: &[Event]) -> Result<TenantCreated, StorageError> {
        let mut tx = self.db.begin().await?;
        let outcome = insert(&mut tx, tenant).await?;
        if outcome == TenantCreated::Created {
            notes::write_events(&mut tx, events).await?;
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
        self.whole(row).await.map(Some)
    }

    /// The tenant with that id.
    pub async fn find(&self, tenant: TenantId) -> Result<Option<Tenant>, StorageError> {
        let Some(row) = fetch_optional!(self.db.read(), TenantRow, BY_ID, tenant.uuid())? else { return Ok(None) };
        self.whole(row).await.map(Some)
    }

    /// Whose domain that is, be it of a tenant that is being ended.
    pub async fn holder_of_domain(&self, domain: &str) -> Result<Option<TenantId>, StorageError> {
        let found = fetch_optional!(self.db.read(), (Uuid,), BY_DOMAIN, domain)?;
        Ok(found.map(|(tenant,)| tenant.into()))
    }

    /// Tenants by slug, from just after `after`.
    pub async fn page(&self, after: &str, limit: u32) -> Result<Vec<Tenant>, StorageError> {
        let mut tenants = Vec::new();
        for row in fetch_all!(self.db.read(), TenantRow, PAGE, after, i64::from(limit))? {
            tenants.push(self.whole(row).await?);
        }
        Ok(tenants)
    }

    async fn whole(&self, row: TenantRow) -> Result<Tenant, StorageError> {
        let domains = fetch_all!(self.db.read(), (Uuid, String), DOMAINS, row.id)?;
        let apps = apps::of(self.db, row.id).await?;
        row.into_tenant(domains.into_iter().map(|(_, domain)| domain).collect(), apps)
    }

    /// Makes a tenant another one, as a version of its own: whoever looked at an earlier one learns so.
    pub async fn update(&self, change: &TenantChange<'_>, events: &[Event]) -> Result<TenantChanged, StorageError> {
        let mut tx = self.db.begin().await?;
        let after = change.after;
        let (tenant, replaces, settings) = (after.id.uuid(), number(after.version), Json(&after.settings));
        let updated = execute!(
            tx.on(),
            UPDATE,
            tenant,
            replaces,
            after.slug.as_str(),
            after.name.as_str(),
            after.profile.as_str(),
            settings,
        );
        match updated {
            Ok(0) => return Ok(TenantChanged::Outdated),
            Err(StorageError::Conflict(_)) => return Ok(TenantChanged::SlugTaken),
            outcome => outcome?,
        };
        let (key, saved_at) = (change.key.map(KeyId::uuid), change.saved_at.as_millis());
        execute!(tx.on(), KEEP_VERSION, tenant, replaces.saturating_add(1), settings, key, saved_at)?;
        execute!(tx.on(), FORGET_DOMAINS, tenant)?;
        if !insert_domains(&mut tx, after.id, &after.domains).await? {
            return Ok(TenantChanged::DomainTaken);
        }
        notes::write_events(&mut tx, events).await?;
        directory_changed(&mut tx).await?;
        tx.commit().await?;
        Ok(TenantChanged::Changed)
    }

    /// Puts a settings document in the place of the one it was made from; false if that is no longer
    /// the one in force.
    pub async fn save_settings(&self, new: &NewSettings<'_>, event: &Event) -> Result<bool, StorageError> {
        let mut tx = self.db.begin().await?;
        let (tenant, replaces) = (new.tenant.uuid(), number(new.replaces));
        let settings = Json(new.settings);
        if execute!(tx.on(), SAVE, tenant, replaces, new.profile.as_str(), settings)? == 0 {
            return Ok(false);
        }
        let (key, saved_at) = (new.key.map(KeyId::uuid), new.saved_at.as_millis());
        execute!(tx.on(), KEEP_VERSION, tenant, replaces.saturating_add(1), settings, key, saved_at)?;
        notes::write_events(&mut tx, std::slice::from_ref(event)).await?;
        directory_changed(&mut tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The settings documents a tenant had, newest first, from just before the version `before`.
    pub async fn versions(
        &self,
        tenant: TenantId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<SettingsVersion>, StorageError> {
        let before = before.map_or(i64::MAX, number);
        let rows =
            fetch_all!(self.db.read(), (i64, Option<Uuid>, i64), VERSIONS, tenant.uuid(), before, i64::from(limit))?;
        let read = |(version, key, saved_at): (i64, Option<Uuid>, i64)| {
            Ok(SettingsVersion {
                version: unsigned(version)?,
                key: key.map(KeyId::from),
                saved_at: Timestamp::from_millis(saved_at),
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// The document of that version.
    pub async fn version(&self, tenant: TenantId, version: u64) -> Result<Option<Settings>, StorageError> {
        let found = fetch_optional!(self.db.read(), (String,), VERSION, tenant.uuid(), number(version))?;
        found.map(|(settings,)| document(&settings, "settings_versions.settings")).transpose()
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
    let all_free = insert_domains(tx, tenant.id, &tenant.domains).await?;
    Ok(if all_free { TenantCreated::Created } else { TenantCreated::DomainTaken })
}

/// False if one of them belongs to a tenant already.
async fn insert_domains(tx: &mut Tx, tenant: TenantId, domains: &[String]) -> Result<bool, StorageError> {
    for (position, domain) in (0_i64..).zip(domains) {
        if execute!(tx.on(), INSERT_DOMAIN, domain.as_str(), tenant.uuid(), position)? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Versions as the databases keep them.
fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn unsigned(version: i64) -> Result<u64, StorageError> {
    u64::try_from(version).map_err(|_| StorageError::corrupt("tenants.version"))
}

fn document(text: &str, column: &str) -> Result<Settings, StorageError> {
    serde_json::from_str(text).map_err(|_| StorageError::corrupt(column))
}

row! {
    struct TenantRow {
        id: Uuid,
        slug: String,
        name: String,
        profile: String,
        settings: String,
        version: i64,
        created_at: i64,
    }
}

impl TenantRow {
    fn into_tenant(self, domains: Vec<String>, apps: Vec<App>) -> Result<Tenant, StorageError> {
        Ok(Tenant {
            id: self.id.into(),
            slug: self.slug,
            name: self.name,
            profile: self.profile.parse().map_err(|_| StorageError::corrupt("tenants.profile"))?,
            settings: document(&self.settings, "tenants.settings")?,
            domains,
            apps,
            version: unsigned(self.version)?,
            created_at: Timestamp::from_millis(self.created_at),
        })
    }
}
