//! Making, changing and ending tenants.

use serde::Deserialize;

use super::judgement::policy_faults;
use super::{Administration, Expected, Holder, Refusal, TRIES, Tenant};
use crate::actors::failure::Failure;
use crate::domain::contact::Region;
use crate::domain::event::{Event, EventKind};
use crate::domain::fault::Fault;
use crate::domain::ids::TenantId;
use crate::domain::locale::Locale;
use crate::domain::naming;
use crate::domain::policy::Profile;
use crate::domain::role::Role;
use crate::domain::settings::Settings;
use crate::storage::{NewTenant, Purged, TenantChange, TenantChanged, TenantCreated};

/// Host names that may lead to one tenant.
const MOST_DOMAINS: usize = 20;

/// Characters of a name.
const LONGEST_NAME: usize = 100;

/// A tenant that somebody wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name in paths.
    pub slug: String,
    /// Its name for people; the slug if not given.
    pub name: Option<String>,
    /// Its defaults and floors.
    pub profile: Profile,
    /// Host names that lead to it.
    pub domains: Vec<String>,
    /// Where national phone forms belong.
    pub region: Option<Region>,
    /// Its language.
    pub locale: Option<Locale>,
}

/// What of a tenant is to change; what is not given stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Its name in paths, and so its issuer: tokens made before are worth nothing.
    pub slug: Option<String>,
    /// Its name for people.
    pub name: Option<String>,
    /// Its defaults and floors.
    pub profile: Option<Profile>,
    /// All of its host names.
    pub domains: Replace<Vec<String>>,
    /// Where national phone forms belong; its settings say so too.
    pub region: Replace<Region>,
    /// Its language, likewise.
    pub locale: Replace<Locale>,
}

/// What becomes of a member that may be taken back.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(from = "Option<T>")]
pub enum Replace<T> {
    /// It stays.
    #[default]
    Not,
    /// It is this, or what it is where nobody says anything.
    With(Option<T>),
}

impl<T> From<Option<T>> for Replace<T> {
    fn from(member: Option<T>) -> Self {
        Self::With(member)
    }
}

impl<T> Replace<T> {
    /// Whether it is another from now on.
    const fn is_given(&self) -> bool {
        matches!(self, Self::With(_))
    }

    fn applied_to(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Not => before,
            Self::With(after) => after,
        }
    }
}

impl Change {
    /// The tenant as it would be then; `bad` takes what of the change cannot be.
    pub(super) fn applied_to(&self, tenant: &Tenant, bad: &mut Vec<Fault>) -> Tenant {
        let mut after = tenant.clone();
        if let Some(slug) = &self.slug {
            check_slug(slug, bad);
            after.slug.clone_from(slug);
        }
        if let Some(name) = &self.name {
            after.name = checked_name(name, bad);
        }
        after.profile = self.profile.unwrap_or(after.profile);
        if let Replace::With(domains) = &self.domains {
            after.domains = checked_domains(domains.as_deref().unwrap_or_default(), bad);
        }
        after.settings.region = self.region.applied_to(after.settings.region);
        after.settings.locale = self.locale.applied_to(after.settings.locale);
        after
    }
}

impl Administration {
    /// The tenant of that slug, if the holder may see it: another's looks like none.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub async fn tenant(&self, holder: &Holder, slug: &str) -> Result<Tenant, Refusal> {
        let found = self.0.storage.tenants().find_by_slug(slug).await?;
        found.filter(|tenant| holder.tenant.is_none_or(|own| own == tenant.id)).ok_or(Refusal::NotFound)
    }

    /// Tenants by slug, from just after `after`; a tenant's key sees its own alone.
    ///
    /// # Errors
    /// What storage may give.
    pub async fn tenants(&self, holder: &Holder, after: &str, limit: u32) -> Result<Vec<Tenant>, Refusal> {
        let Some(own) = holder.tenant else { return Ok(self.0.storage.tenants().page(after, limit).await?) };
        let found = self.0.storage.tenants().find(own).await?;
        Ok(found.into_iter().filter(|tenant| tenant.slug.as_str() > after).collect())
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// [`Refusal::Invalid`], [`Refusal::SlugTaken`], [`Refusal::DomainTaken`].
    pub async fn make_tenant(&self, holder: &Holder, wanted: Wanted) -> Result<Tenant, Refusal> {
        let now = self.0.clock.now();
        let settings = Settings { region: wanted.region, locale: wanted.locale, ..Settings::default() };
        let mut bad = Vec::new();
        check_slug(&wanted.slug, &mut bad);
        let name = checked_name(wanted.name.as_deref().unwrap_or(&wanted.slug), &mut bad);
        let domains = checked_domains(&wanted.domains, &mut bad);
        bad.extend(policy_faults(wanted.profile, &settings));
        if !bad.is_empty() {
            return Err(Refusal::Invalid(bad));
        }
        let id = TenantId::at(now, self.0.entropy.bytes());
        let Wanted { slug, profile, .. } = wanted;
        let tenant = NewTenant { id, slug, name, profile, settings, domains, created_at: now };
        self.create(holder, tenant).await
    }

    /// Writes a new tenant.
    pub(super) async fn create(&self, holder: &Holder, tenant: NewTenant) -> Result<Tenant, Refusal> {
        let event = self.event(holder, tenant.id, EventKind::AuthzAdmin, "tenant_made");
        match self.0.storage.tenants().create_noted(&tenant, &[event]).await? {
            TenantCreated::SlugTaken => Err(Refusal::SlugTaken),
            TenantCreated::DomainTaken => Err(Refusal::DomainTaken),
            TenantCreated::Created => {
                self.show_change().await;
                self.tenant(holder, &tenant.slug).await
            }
        }
    }

    /// Changes a tenant, but of its settings the region and the language alone. Slug, profile and domains are
    /// the platform's to change.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`], [`Refusal::Invalid`] (a profile's floors hold for the settings there
    /// are), [`Refusal::SlugTaken`], [`Refusal::DomainTaken`], [`Refusal::IsDefault`] for its slug,
    /// [`Refusal::Outdated`], [`Refusal::NotFound`].
    pub async fn change_tenant(
        &self,
        holder: &Holder,
        mut tenant: Tenant,
        change: &Change,
        expected: &Expected,
    ) -> Result<Tenant, Refusal> {
        let beyond = change.slug.is_some() || change.profile.is_some() || change.domains.is_given();
        if beyond && holder.role < Role::PlatformAdmin {
            self.overreached(holder);
            return Err(Refusal::Forbidden);
        }
        for _ in 0..TRIES {
            if !expected.is_met_by(tenant.version) {
                return Err(Refusal::Outdated);
            }
            let mut bad = Vec::new();
            let after = change.applied_to(&tenant, &mut bad);
            if bad.is_empty() && after == tenant {
                return Ok(tenant);
            }
            if bad.is_empty() {
                bad = self.faults(after.clone()).await?;
            }
            if !bad.is_empty() {
                return Err(Refusal::Invalid(bad));
            }
            if after.slug != tenant.slug && self.is_default(&tenant) {
                return Err(Refusal::IsDefault);
            }
            let change = TenantChange { after: &after, key: holder.key, saved_at: self.0.clock.now() };
            let events = self.change_events(holder, &tenant, &after);
            let is_changed = match self.0.storage.tenants().update(&change, &events).await? {
                TenantChanged::SlugTaken => return Err(Refusal::SlugTaken),
                TenantChanged::DomainTaken => return Err(Refusal::DomainTaken),
                TenantChanged::Outdated => false,
                TenantChanged::Changed => true,
            };
            if is_changed {
                self.show_change().await;
            }
            tenant = self.0.storage.tenants().find(tenant.id).await?.ok_or(Refusal::NotFound)?;
            if is_changed {
                return Ok(tenant);
            }
        }
        Err(Failure::Overloaded.into())
    }

    /// Ends a tenant: no node knows it within a poll, then all it owned is removed and counted. One
    /// whose end was broken off is ended by asking again.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::IsDefault`].
    pub async fn end_tenant(&self, slug: &str) -> Result<Purged, Refusal> {
        let end = self.0.storage.tenant_end();
        let id = match self.0.storage.tenants().find_by_slug(slug).await? {
            Some(tenant) if self.is_default(&tenant) => return Err(Refusal::IsDefault),
            Some(tenant) => {
                end.begin(tenant.id, self.0.clock.now()).await?;
                tenant.id
            }
            None => end.unfinished(slug).await?.ok_or(Refusal::NotFound)?,
        };
        self.show_change().await;
        let purged = end.finish(id).await?;
        tracing::info!(tenant.id = %id, tenant.slug = slug, "a tenant was ended");
        Ok(purged)
    }

    /// What the audit log says of a tenant that is another one from now on: facts and settings, each if it is.
    pub(super) fn change_events(&self, holder: &Holder, before: &Tenant, after: &Tenant) -> Vec<Event> {
        let facts = Tenant { settings: before.settings.clone(), ..after.clone() };
        let causes = [(facts != *before, "tenant_changed"), (after.settings != before.settings, "settings_changed")];
        let of = |(_, cause)| self.event(holder, after.id, EventKind::AuthzAdmin, cause);
        causes.into_iter().filter(|(happens, _)| *happens).map(of).collect()
    }

    fn is_default(&self, tenant: &Tenant) -> bool {
        self.0.source.default_slug() == Some(tenant.slug.as_str())
    }
}

fn check_slug(slug: &str, bad: &mut Vec<Fault>) {
    if !naming::is_slug(slug) {
        bad.push(Fault::new("/slug", "invalid", "1 to 63 lower-case letters, digits and inner dashes."));
    }
}

/// A name for people, trimmed.
fn checked_name(name: &str, bad: &mut Vec<Fault>) -> String {
    let name = name.trim();
    if !is_label(name) {
        bad.push(Fault::new("/name", "invalid", format!("1 to {LONGEST_NAME} printable characters.")));
    }
    name.to_owned()
}

/// Whether a text can stand where people read it: 1 to 100 printable characters.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

/// Domains in their one spelling.
fn checked_domains(domains: &[String], bad: &mut Vec<Fault>) -> Vec<String> {
    if domains.len() > MOST_DOMAINS {
        bad.push(Fault::new("/domains", "too_many", format!("At most {MOST_DOMAINS}.")));
        return Vec::new();
    }
    let mut checked = Vec::new();
    for (at, typed) in domains.iter().enumerate() {
        let pointer = format!("/domains/{at}");
        match naming::domain(typed) {
            None => bad.push(Fault::new(pointer, "invalid", "Not a full host name.")),
            Some(domain) if checked.contains(&domain) => {
                bad.push(Fault::new(pointer, "repeated", "This domain stands here twice."));
            }
            Some(domain) => checked.push(domain),
        }
    }
    checked
}
