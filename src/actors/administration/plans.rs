//! Tenants as a file wants them: every one is judged as it will be, before any is written.
//!
//! ```text
//!   blueprint ─┐
//!              ├─► the tenant as it will be ─► its document, judged by its profile and domains ─► plan
//!   tenant ────┘        slugs and domains, against storage and the plans before it ──────────────┘
//! ```
//!
//! A tenant and its document are written together, so no half of a plan is ever judged by the other
//! half's past. What another admin does between judging and writing is noticed at the write.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::apps::{self, AppFacts, MOST_APPS};
use super::tenants::{Change, Replace};
use super::{Administration, Holder, Refusal, Tenant};
use crate::domain::app::App;
use crate::domain::fault::Fault;
use crate::domain::ids::TenantId;
use crate::domain::naming;
use crate::domain::policy::Profile;
use crate::domain::settings::Settings;
use crate::storage::{NewTenant, StorageError, TenantChange, TenantChanged};

/// A tenant as somebody wants it, whether or not there is one; what is not given stays.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// Which tenant.
    pub slug: String,
    /// Its name for people; the slug for a new one.
    pub name: Option<String>,
    /// Its defaults and floors; the strict ones for a new one.
    pub profile: Option<Profile>,
    /// All of its host names.
    pub domains: Option<Vec<String>>,
    /// The whole settings document.
    pub settings: Option<Value>,
    /// Apps that it has, known by their audiences; others are left alone.
    pub apps: Vec<AppFacts>,
}

/// What makes a tenant as it is wanted, found to be allowed.
#[derive(Debug)]
pub struct Plan {
    /// As it is; none if it is to be made.
    pub before: Option<Tenant>,
    /// As it will be, but for its apps.
    pub after: Tenant,
    /// Its apps that are to be made or changed, with what is there of them.
    pub apps: Vec<(Option<App>, AppFacts)>,
}

/// What of a file cannot be.
#[derive(Debug)]
pub enum Unplannable {
    /// These members, by the slug of their blueprint.
    Invalid(Vec<(String, Vec<Fault>)>),
    /// Nothing was decided.
    Failed(Refusal),
}

impl From<Refusal> for Unplannable {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal)
    }
}

/// What the plans so far will have taken and given up.
#[derive(Default)]
struct Claims {
    slugs: BTreeSet<String>,
    domains: BTreeMap<String, Option<TenantId>>,
}

impl Claims {
    fn note(&mut self, before: Option<&Tenant>, after: &Tenant) {
        for domain in before.into_iter().flat_map(|before| &before.domains) {
            self.domains.insert(domain.clone(), None);
        }
        for domain in &after.domains {
            self.domains.insert(domain.clone(), Some(after.id));
        }
    }
}

impl Administration {
    /// What makes every tenant as it is wanted, in that order.
    ///
    /// For those alone who hold the master key anyway: others could try what a credential is.
    ///
    /// # Errors
    /// [`Unplannable`], with every fault of every blueprint.
    pub async fn plan(&self, wanted: &[Blueprint]) -> Result<Vec<Plan>, Unplannable> {
        let (mut plans, mut bad, mut claims) = (Vec::new(), Vec::new(), Claims::default());
        for blueprint in wanted {
            let mut faults = Vec::new();
            let plan = self.plan_one(blueprint, &mut claims, &mut faults).await?;
            if faults.is_empty() {
                plans.push(plan);
            } else {
                bad.push((blueprint.slug.clone(), faults));
            }
        }
        if bad.is_empty() { Ok(plans) } else { Err(Unplannable::Invalid(bad)) }
    }

    /// Writes a tenant and its document as planned, but not its apps. The tenant as it is then.
    ///
    /// # Errors
    /// [`Refusal::Outdated`], [`Refusal::SlugTaken`] or [`Refusal::DomainTaken`] if somebody came between.
    pub async fn carry_out(&self, holder: &Holder, plan: &Plan) -> Result<Tenant, Refusal> {
        let Plan { before, after, .. } = plan;
        let Some(before) = before else {
            let Tenant { id, slug, name, profile, settings, domains, created_at, .. } = after.clone();
            return self.create(holder, NewTenant { id, slug, name, profile, settings, domains, created_at }).await;
        };
        if before == after {
            return Ok(before.clone());
        }
        let events = self.change_events(holder, before, after);
        let change = TenantChange { after, key: holder.key, saved_at: self.0.clock.now() };
        match self.0.storage.tenants().update(&change, &events).await? {
            TenantChanged::SlugTaken => Err(Refusal::SlugTaken),
            TenantChanged::DomainTaken => Err(Refusal::DomainTaken),
            TenantChanged::Outdated => Err(Refusal::Outdated),
            TenantChanged::Changed => {
                self.show_change().await;
                self.0.storage.tenants().find(after.id).await?.ok_or(Refusal::NotFound)
            }
        }
    }

    async fn plan_one(&self, wanted: &Blueprint, claims: &mut Claims, bad: &mut Vec<Fault>) -> Result<Plan, Refusal> {
        let before = self.0.storage.tenants().find_by_slug(&wanted.slug).await?;
        let mut after = self.facts_of(wanted, before.as_ref(), bad);
        if !claims.slugs.insert(wanted.slug.clone()) {
            bad.push(Fault::new("/slug", "repeated", "This tenant stands here twice."));
        }
        if before.is_none() && self.0.storage.tenant_end().unfinished(&wanted.slug).await?.is_some() {
            bad.push(Fault::new("/slug", "tenant_exists", "A tenant of this slug is being ended: end it again first."));
        }
        bad.extend(self.taken_domains(wanted, after.id, claims).await?);
        claims.note(before.as_ref(), &after);
        match self.settings_of(wanted, before.as_ref(), &after).await.map_err(|refusal| refusal.below("/settings")) {
            Ok(settings) => after.settings = settings,
            Err(Refusal::Invalid(faults)) => bad.extend(faults),
            Err(refusal) => return Err(refusal),
        }
        let apps = apps_of(wanted, &after, bad);
        Ok(Plan { before, after, apps })
    }

    /// The tenant but for its settings and apps.
    fn facts_of(&self, wanted: &Blueprint, before: Option<&Tenant>, bad: &mut Vec<Fault>) -> Tenant {
        let Blueprint { slug, name, profile, domains, .. } = wanted.clone();
        let domains = domains.map_or(Replace::Not, |domains| Replace::With(Some(domains)));
        let change = Change { slug: Some(slug), name, profile, domains, ..Change::default() };
        if let Some(before) = before {
            return change.applied_to(before, bad);
        }
        let now = self.0.clock.now();
        let blank = Tenant {
            id: TenantId::at(now, self.0.entropy.bytes()),
            slug: wanted.slug.clone(),
            name: wanted.slug.clone(),
            profile: Profile::AsvsL1,
            settings: Settings::default(),
            domains: Vec::new(),
            apps: Vec::new(),
            version: 0,
            created_at: now,
        };
        change.applied_to(&blank, bad)
    }

    async fn taken_domains(
        &self,
        wanted: &Blueprint,
        tenant: TenantId,
        claims: &Claims,
    ) -> Result<Vec<Fault>, StorageError> {
        let mut bad = Vec::new();
        for (at, typed) in wanted.domains.iter().flatten().enumerate() {
            let Some(domain) = naming::domain(typed) else { continue };
            let holder = match claims.domains.get(&domain) {
                Some(claimed) => *claimed,
                None => self.0.storage.tenants().holder_of_domain(&domain).await?,
            };
            if holder.is_some_and(|holder| holder != tenant) {
                let why = "This domain belongs to another tenant.";
                bad.push(Fault::new(format!("/domains/{at}"), "domain_taken", why));
            }
        }
        Ok(bad)
    }

    async fn settings_of(
        &self,
        wanted: &Blueprint,
        before: Option<&Tenant>,
        after: &Tenant,
    ) -> Result<Settings, Refusal> {
        if let Some(document) = &wanted.settings {
            return self.planned(after, document).await;
        }
        // What stands already and stays what it is was judged when it was saved.
        if before != Some(after) {
            let bad = self.faults(after.clone()).await?;
            if !bad.is_empty() {
                return Err(Refusal::Invalid(bad));
            }
        }
        Ok(after.settings.clone())
    }
}

/// The apps that are to be made or changed.
fn apps_of(wanted: &Blueprint, tenant: &Tenant, bad: &mut Vec<Fault>) -> Vec<(Option<App>, AppFacts)> {
    let (mut audiences, mut steps) = (BTreeSet::new(), Vec::new());
    for (at, facts) in wanted.apps.iter().enumerate() {
        if !audiences.insert(facts.audience.as_str()) {
            let why = "Another app here has this audience.";
            bad.push(Fault::new(format!("/apps/{at}/audience"), "repeated", why));
        }
        let known = tenant.apps.iter().find(|app| app.audience == facts.audience).cloned();
        match apps::checked(facts.clone()) {
            Ok(facts) if known.as_ref().is_some_and(|app| app.name == facts.name && app.origins == facts.origins) => {}
            Ok(facts) => steps.push((known, facts)),
            Err(faults) => bad.extend(faults.into_iter().map(|fault| fault.below(&format!("/apps/{at}")))),
        }
    }
    if tenant.apps.len() + steps.iter().filter(|(known, _)| known.is_none()).count() > MOST_APPS {
        bad.push(Fault::new("/apps", "too_many", format!("A tenant has at most {MOST_APPS}.")));
    }
    steps
}
