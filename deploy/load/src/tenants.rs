//! The run's own tenants: made over the admin API before it, deleted after it, whatever happened.
//!
//! Nothing can leave them: both channels are off, and everybody in them is a test identity.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{self, Answer, Door};
use crate::limits::{LIMIT, Limit, PROBED};

/// How their slugs begin.
const PREFIX: &str = "load-";

/// Their name for people: by both together a left-over is told from anybody's tenant.
const NAME: &str = "Load test (deleted after its run)";

/// The desk that makes and deletes them.
pub(crate) struct Tenants {
    desk: Door,
    key: String,
    made: Mutex<Vec<String>>,
}

impl Tenants {
    pub(crate) fn new(desk: Door, key: String) -> Self {
        Self { desk, key, made: Mutex::default() }
    }

    /// Whether this key may be used there, before anything is made.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        self.ask(Method::GET, "?limit=1", None, 200).await.map(drop)
    }

    /// Makes one that lists these people, with every limit far above what a run may ask for.
    pub(crate) async fn open(&self, identities: &[Value]) -> anyhow::Result<String> {
        let wide = json!({"quota": 100_000, "window": 1});
        let limits = json!({
            "login-client": wide, "code-client": wide, "register-client": wide, "refresh-client": wide,
            "api-client": wide, "tenant-total": {"quota": 1_000_000, "window": 1},
        });
        let settings = json!({"limits": limits, "test_identities": identities, "tokens": {"max_sessions": 1_000}});
        self.make(settings).await
    }

    /// Makes one with the limits that `limits` goes above.
    pub(crate) async fn limited(&self) -> anyhow::Result<String> {
        let own = |limit: Limit| json!({"quota": limit.quota, "window": limit.window.as_secs()});
        let mut limits = json!({"tenant-total": {"quota": 1_000_000, "window": 1}});
        for limit in PROBED.iter().map(|(limit, _)| *limit).chain([LIMIT]) {
            if let Some(members) = limits.as_object_mut() {
                members.insert(limit.name.to_owned(), own(limit));
            }
        }
        self.make(json!({"limits": limits})).await
    }

    async fn make(&self, mut settings: Value) -> anyhow::Result<String> {
        let slug = format!("{PREFIX}{:016x}", random());
        // Noted before it is asked for: a request that was broken off may have made it.
        self.made().push(slug.clone());
        let wanted = json!({"slug": slug, "name": NAME, "profile": "classic"});
        let answer = self.answer(Method::POST, "", Some(&wanted)).await?;
        if answer.status != 201 {
            self.made().pop();
            return Err(self.refusal(&answer));
        }
        for channel in ["sms", "email"] {
            if let Some(members) = settings.as_object_mut() {
                members.insert(channel.to_owned(), json!({"mode": "off"}));
            }
        }
        self.ask(Method::PATCH, &format!("/{slug}/settings"), Some(&settings), 200).await?;
        Ok(slug)
    }

    /// Deletes all that were made; the slugs of those that could not be, with the last reason.
    pub(crate) async fn close(&self) -> Result<usize, (Vec<String>, anyhow::Error)> {
        let made = std::mem::take(&mut *self.made());
        let (mut left, mut why, count) = (Vec::new(), None, made.len());
        for slug in made {
            // After one that could not be reached the others would only wait too.
            let unreachable = why.as_ref().is_some_and(|error: &anyhow::Error| error.is::<Unreachable>());
            if unreachable {
                left.push(slug);
            } else if let Err(error) = self.delete(&slug).await {
                left.push(slug);
                why = Some(error);
            }
        }
        match why {
            None => Ok(count),
            Some(error) => Err((left, error)),
        }
    }

    async fn delete(&self, slug: &str) -> anyhow::Result<()> {
        let answer = self.answer(Method::DELETE, &format!("/{slug}"), None).await?;
        // Not there: it was never made.
        if matches!(answer.status, 200 | 404) { Ok(()) } else { bail!("answered {}", answer.shown()) }
    }

    fn made(&self) -> MutexGuard<'_, Vec<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what earlier runs left behind; how many.
    pub(crate) async fn clean_up(&self) -> anyhow::Result<usize> {
        let mut after = String::new();
        loop {
            let page = self.ask(Method::GET, &format!("?limit=100&after={after}"), None, 200).await?;
            let items = page.json.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let member =
                |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let ours =
                items.iter().filter(|item| member(item, "slug").starts_with(PREFIX) && member(item, "name") == NAME);
            self.made().extend(ours.map(|item| member(item, "slug")));
            match page.json.get("next").and_then(Value::as_str) {
                Some(next) => next.clone_into(&mut after),
                None => break,
            }
        }
        self.close().await.map_err(|(left, error)| error.context(format!("{} are left", left.len())))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>, expected: u16) -> anyhow::Result<Answer> {
        let answer = self.answer(method, path, body).await?;
        if answer.status == expected { Ok(answer) } else { Err(self.refusal(&answer)) }
    }

    fn refusal(&self, answer: &Answer) -> anyhow::Error {
        let (base, shown) = (self.desk.base(), answer.shown());
        match answer.status {
            401 | 403 => anyhow::anyhow!(
                "the admin API at {base} does not take this key for that ({shown}): the root key is needed, a tenant's \
                 own makes no tenants"
            ),
            404 => anyhow::anyhow!("there is no admin API at {base} ({shown}): is that the admin listener?"),
            _ => anyhow::anyhow!("the admin API at {base} answered {shown}: {}", answer.text("message")),
        }
    }

    async fn answer(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut call = self.desk.call(method, &format!("/admin/v1/tenants{path}")).bearer_auth(&self.key);
        if let Some(body) = body {
            call = call.json(body);
        }
        let answer = client::ask(call).await.map_err(|why| anyhow::Error::new(Unreachable(why)));
        answer.with_context(|| format!("the admin API at {}", self.desk.base()))
    }
}

/// No answer at all.
#[derive(Debug)]
struct Unreachable(String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

/// Different in every run and at every call.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
