//! `guichet tenant apply`: tenants as files, for people who keep them in git.
//!
//! ```toml
//! [[tenant]]
//! slug = "acme"
//! name = "Acme"
//! domains = ["login.acme.example"]
//! [tenant.settings.otp.sms]
//! length = 8
//! [[tenant.apps]]
//! name = "Shop"
//! audience = "https://shop.acme.example"
//! ```
//!
//! The same documents as the admin API's, by the same rules. What stands in the file is made so, and
//! applying it again changes nothing. `settings`, if given, is the whole document, but a credential
//! that is not in it is kept as the API keeps it; tenants and apps that are not in it are left alone.
//! The whole file is judged before anything is written; then each tenant is written with its document,
//! in the file's order.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::map::Entry as Member;

use super::{Stop, print};
use crate::actors::administration::apps::AppFacts;
use crate::actors::administration::plans::{Blueprint, Plan, Unplannable};
use crate::actors::administration::{Administration, Expected, Holder, Refusal, Tenant};
use crate::config;
use crate::domain::app::App;
use crate::domain::fault::Fault;
use crate::domain::policy::Profile;
use crate::domain::settings::document;
use crate::secret::ExposeSecret as _;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tenant: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    slug: String,
    name: Option<String>,
    profile: Option<Profile>,
    domains: Option<Vec<String>>,
    settings: Option<Value>,
    #[serde(default)]
    apps: Vec<AppEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AppEntry {
    name: String,
    audience: String,
    #[serde(default)]
    origins: Vec<String>,
}

impl From<Entry> for Blueprint {
    fn from(entry: Entry) -> Self {
        let Entry { slug, name, profile, domains, settings, apps } = entry;
        let facts = |app: AppEntry| AppFacts { name: app.name, audience: app.audience, origins: app.origins };
        Self { slug, name, profile, domains, settings, apps: apps.into_iter().map(facts).collect() }
    }
}

/// Makes tenants what the file says, or says what that would change. Nothing is written unless all of it may be.
pub(super) async fn apply(administration: &Administration, path: &Path, dry_run: bool) -> Result<(), Stop> {
    let document = config::document(path).map_err(Stop::Wrong)?;
    let file: File = serde_path_to_error::deserialize(document)
        .map_err(|error| Stop::Wrong(format!("{}: {}: {}", path.display(), error.path(), error.inner())))?;
    let blueprints: Vec<_> = file.tenant.into_iter().map(Blueprint::from).collect();
    let plans = administration.plan(&blueprints).await.map_err(|unplannable| match unplannable {
        Unplannable::Failed(refusal) => refused(refusal),
        Unplannable::Invalid(bad) => Stop::Wrong(told(&bad)),
    })?;
    for plan in plans {
        let slug = plan.after.slug.clone();
        let applied = Applying { administration, dry_run }.run(plan).await;
        applied.map_err(|stop| match stop {
            Stop::Wrong(text) => Stop::Wrong(format!("tenant {slug}: {text}")),
            Stop::Failed(text) => Stop::Failed(format!("tenant {slug}: {text}")),
        })?;
    }
    Ok(())
}

/// Every fault on a line of its own, with whose it is.
fn told(bad: &[(String, Vec<Fault>)]) -> String {
    let lines = bad.iter().flat_map(|(slug, faults)| {
        faults.iter().map(move |fault| format!("tenant {}: {}", slug.escape_debug(), line(fault)))
    });
    std::iter::once("nothing was applied".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// Changes one tenant's settings by a merge patch put together from `path=value` words.
pub(super) async fn set(administration: &Administration, slug: &str, words: &[String]) -> Result<(), Stop> {
    let tenant = administration.tenant(&Holder::ROOT, slug).await.map_err(|refusal| match refusal {
        Refusal::NotFound => Stop::no_tenant(slug),
        other => refused(other),
    })?;
    let mut patch = Value::Object(serde_json::Map::new());
    for word in words {
        let (path, value) =
            word.split_once('=').ok_or_else(|| Stop::Wrong(format!("`{word}`: expected PATH=VALUE")))?;
        // What is no JSON is a text: `region=SN` as well as `otp.sms.length=8`.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let nested = path.rsplit('.').fold(value, |value, step| serde_json::json!({ step: value }));
        // Not `merged`: in a patch null is a wish, not an absence.
        if !overlay(&mut patch, nested) {
            return Err(Stop::Wrong(format!("`{word}`: another word already sets this, or what it stands in")));
        }
    }
    let before = tenant.version;
    let after = administration.change_settings(&Holder::ROOT, tenant, &patch, &Expected::Any).await;
    let after = after.map_err(refused)?;
    if after.version == before {
        print("nothing to change")
    } else {
        print(&format!("settings are at version {}", after.version))
    }
}

/// Puts a change beside those that are there; false if one of them says something else of the same member.
fn overlay(target: &mut Value, change: Value) -> bool {
    let (Value::Object(members), Value::Object(changes)) = (target, change) else { return false };
    changes.into_iter().all(|(name, change)| match members.entry(name) {
        Member::Vacant(free) => {
            free.insert(change);
            true
        }
        Member::Occupied(mut taken) => overlay(taken.get_mut(), change),
    })
}

struct Applying<'a> {
    administration: &'a Administration,
    dry_run: bool,
}

impl Applying<'_> {
    async fn run(&self, plan: Plan) -> Result<(), Stop> {
        let slug = plan.after.slug.as_str();
        for step in steps(&plan) {
            self.say(slug, &step)?;
        }
        if self.dry_run {
            return plan.apps.iter().try_for_each(|(known, facts)| self.say(slug, &app_step(known.as_ref(), facts)));
        }
        let tenant = self.administration.carry_out(&Holder::ROOT, &plan).await.map_err(refused)?;
        for (known, facts) in plan.apps {
            self.say(&tenant.slug, &app_step(known.as_ref(), &facts))?;
            self.app(&tenant, known, facts).await?;
        }
        Ok(())
    }

    fn say(&self, slug: &str, what: &str) -> Result<(), Stop> {
        print(&format!("{}{slug}: {what}", if self.dry_run { "would: " } else { "" }))
    }

    async fn app(&self, tenant: &Tenant, known: Option<App>, facts: AppFacts) -> Result<(), Stop> {
        let Some(app) = known else {
            let (app, secret) = self.administration.make_app(&Holder::ROOT, tenant, facts).await.map_err(refused)?;
            return print(&format!("  client_id {}  secret {}   (shown this once)", app.id, secret.expose_secret()));
        };
        let changed = self.administration.change_app(&Holder::ROOT, tenant, app, facts).await;
        changed.map(drop).map_err(refused)
    }
}

/// What is to be done to the tenant itself.
fn steps(plan: &Plan) -> Vec<String> {
    let after = &plan.after;
    let mut steps = Vec::new();
    if let Some(before) = &plan.before {
        let parts = [
            ("name", before.name != after.name),
            ("profile", before.profile != after.profile),
            ("domains", before.domains != after.domains),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect();
        if !parts.is_empty() {
            steps.push(format!("change {}", parts.join(", ")));
        }
    } else {
        steps.push("make the tenant".to_owned());
    }
    let sections = changed_sections(plan.before.as_ref(), after);
    if !sections.is_empty() {
        steps.push(format!("change settings: {}", sections.join(", ")));
    }
    steps
}

/// Sections of the settings in which the two differ, by name.
fn changed_sections(before: Option<&Tenant>, after: &Tenant) -> Vec<String> {
    let settings = before.map(|before| before.settings.clone()).unwrap_or_default();
    let (before, after) = (document::shown(&settings), document::shown(&after.settings));
    let names = |document: &Value| document.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let (mut sections, more): (Vec<_>, Vec<_>) = (names(&before), names(&after));
    sections.extend(more);
    sections.sort_unstable();
    sections.dedup();
    sections.retain(|section| before.get(section) != after.get(section));
    sections
}

fn app_step(known: Option<&App>, facts: &AppFacts) -> String {
    match known {
        Some(app) => format!("change app {}", app.id),
        None => format!("make app {}", facts.name),
    }
}

fn line(fault: &Fault) -> String {
    format!("{} ({}): {}", fault.pointer, fault.code, fault.message)
}

/// A refusal in words for the person at the terminal.
pub(super) fn refused(refusal: Refusal) -> Stop {
    match refusal {
        Refusal::Invalid(faults) => Stop::Wrong(faults.iter().map(line).collect::<Vec<_>>().join("\n")),
        Refusal::NotFound => Stop::Failed("there is no such thing".to_owned()),
        Refusal::SlugTaken => Stop::Failed("another tenant has the slug".to_owned()),
        Refusal::DomainTaken => Stop::Failed("one of the domains belongs to another tenant".to_owned()),
        Refusal::AudienceTaken => Stop::Failed("another app has the audience".to_owned()),
        Refusal::Full => Stop::Failed("there can be no more of these".to_owned()),
        Refusal::IsDefault => Stop::Failed("bare requests belong to this tenant".to_owned()),
        Refusal::Forbidden => Stop::Failed("this is not allowed".to_owned()),
        Refusal::Outdated => Stop::Failed("it changed meanwhile: try again".to_owned()),
        Refusal::Failed(failure) => Stop::failed(failure),
    }
}
