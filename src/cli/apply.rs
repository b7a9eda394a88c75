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

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Stop, print};
use crate::actors::administration::apps::AppFacts;
use crate::actors::administration::tenants::{Change, Wanted};
use crate::actors::administration::{Administration, Expected, Holder, Refusal, Tenant};
use crate::config;
use crate::domain::fault::Fault;
use crate::domain::naming;
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

/// Makes tenants what the file says, or says what that would change.
pub(super) async fn apply(administration: &Administration, path: &Path, dry_run: bool) -> Result<(), Stop> {
    let document = config::document(path).map_err(Stop::Wrong)?;
    let file: File = serde_path_to_error::deserialize(document)
        .map_err(|error| Stop::Wrong(format!("{}: {}: {}", path.display(), error.path(), error.inner())))?;
    for entry in file.tenant {
        let slug = entry.slug.clone();
        let applied = Applying { administration, slug: &slug, dry_run }.run(entry).await;
        applied.map_err(|stop| match stop {
            Stop::Wrong(text) => Stop::Wrong(format!("tenant {slug}: {text}")),
            Stop::Failed(text) => Stop::Failed(format!("tenant {slug}: {text}")),
        })?;
    }
    Ok(())
}

/// Changes one tenant's settings by a merge patch put together from `path=value` words.
pub(super) async fn set(administration: &Administration, slug: &str, words: &[String]) -> Result<(), Stop> {
    let tenant = administration.tenant(&Holder::ROOT, slug).await.map_err(refused)?;
    let mut patch = Value::Object(serde_json::Map::new());
    for word in words {
        let (path, value) =
            word.split_once('=').ok_or_else(|| Stop::Wrong(format!("`{word}`: expected PATH=VALUE")))?;
        // What is no JSON is a text: `region=SN` as well as `otp.sms.length=8`.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let nested = path.rsplit('.').fold(value, |value, step| serde_json::json!({ step: value }));
        // Not `merged`: in a patch null is a wish, not an absence.
        overlay(&mut patch, nested);
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

fn overlay(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(members), Value::Object(changes)) => {
            for (name, change) in changes {
                overlay(members.entry(name).or_insert(Value::Null), change);
            }
        }
        (target, change) => *target = change,
    }
}

struct Applying<'a> {
    administration: &'a Administration,
    slug: &'a str,
    dry_run: bool,
}

impl Applying<'_> {
    async fn run(&self, entry: Entry) -> Result<(), Stop> {
        let tenant = match self.administration.tenant(&Holder::ROOT, self.slug).await {
            Ok(tenant) => self.change(tenant, &entry).await?,
            Err(Refusal::NotFound) => match self.make(&entry).await? {
                Some(tenant) => tenant,
                None => return Ok(()),
            },
            Err(refusal) => return Err(refused(refusal)),
        };
        let tenant = match &entry.settings {
            Some(settings) => self.settings(tenant, settings).await?,
            None => tenant,
        };
        for app in entry.apps {
            self.app(&tenant, app).await?;
        }
        Ok(())
    }

    fn say(&self, what: &str) -> Result<(), Stop> {
        print(&format!("{}{}: {what}", if self.dry_run { "would: " } else { "" }, self.slug))
    }

    async fn make(&self, entry: &Entry) -> Result<Option<Tenant>, Stop> {
        self.say("make the tenant")?;
        if self.dry_run {
            return Ok(None);
        }
        let wanted = Wanted {
            slug: entry.slug.clone(),
            name: entry.name.clone(),
            profile: entry.profile.unwrap_or(Profile::AsvsL1),
            domains: entry.domains.clone().unwrap_or_default(),
            region: None,
            locale: None,
        };
        self.administration.make_tenant(&Holder::ROOT, wanted).await.map(Some).map_err(refused)
    }

    async fn change(&self, tenant: Tenant, entry: &Entry) -> Result<Tenant, Stop> {
        let change = Change {
            slug: None,
            name: entry.name.clone().filter(|name| *name != tenant.name),
            profile: entry.profile.filter(|profile| *profile != tenant.profile),
            domains: entry.domains.clone().filter(|domains| {
                // What is no domain is refused when it is tried.
                domains.iter().map(|typed| naming::domain(typed).unwrap_or_default()).ne(tenant.domains.iter().cloned())
            }),
        };
        let parts = [
            ("name", change.name.is_some()),
            ("profile", change.profile.is_some()),
            ("domains", change.domains.is_some()),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect();
        if parts.is_empty() {
            return Ok(tenant);
        }
        self.say(&format!("change {}", parts.join(", ")))?;
        if self.dry_run {
            return Ok(tenant);
        }
        self.administration.change_tenant(&Holder::ROOT, tenant, &change, &Expected::Any).await.map_err(refused)
    }

    async fn settings(&self, tenant: Tenant, settings: &Value) -> Result<Tenant, Stop> {
        let after = self.administration.planned(&tenant, settings).await.map_err(refused)?;
        if after == tenant.settings {
            return Ok(tenant);
        }
        let (before, after) = (document::shown(&tenant.settings), document::shown(&after));
        let names = |document: &Value| {
            document.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let mut sections: Vec<_> = names(&before).into_iter().chain(names(&after)).collect();
        sections.sort_unstable();
        sections.dedup();
        sections.retain(|section| before.get(section) != after.get(section));
        self.say(&format!("change settings: {}", sections.join(", ")))?;
        if self.dry_run {
            return Ok(tenant);
        }
        self.administration.apply_settings(&Holder::ROOT, tenant, settings).await.map_err(refused)
    }

    async fn app(&self, tenant: &Tenant, entry: AppEntry) -> Result<(), Stop> {
        let known = tenant.apps.iter().find(|app| app.audience == entry.audience);
        let facts = AppFacts { name: entry.name, audience: entry.audience, origins: entry.origins };
        match known {
            Some(app) if app.name == facts.name && app.origins == facts.origins => Ok(()),
            Some(app) => {
                self.say(&format!("change app {}", app.id))?;
                if self.dry_run {
                    return Ok(());
                }
                let changed = self.administration.change_app(&Holder::ROOT, tenant, app.clone(), facts).await;
                changed.map(drop).map_err(refused)
            }
            None => {
                self.say(&format!("make app {}", facts.name))?;
                if self.dry_run {
                    return Ok(());
                }
                let made = self.administration.make_app(&Holder::ROOT, tenant, facts).await.map_err(refused)?;
                print(&format!("  client_id {}  secret {}   (shown this once)", made.0.id, made.1.expose_secret()))
            }
        }
    }
}

/// A refusal in words for the person at the terminal.
pub(super) fn refused(refusal: Refusal) -> Stop {
    let line = |fault: Fault| format!("{} ({}): {}", fault.pointer, fault.code, fault.message);
    match refusal {
        Refusal::Invalid(faults) => Stop::Wrong(faults.into_iter().map(line).collect::<Vec<_>>().join("\n")),
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
