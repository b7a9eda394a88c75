//! Who takes part: test identities, signed up before the run as far as the scenario needs them.
//!
//! Every fixed code here is the kit's own, or the file's. Nothing is sent to anybody.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{self, Answer, Door};
use crate::plan::{CODES_A_DEVICE, PER_TENANT, Plan};
use crate::tenants::{Tenants, random};

/// The fixed code of every identity that the kit lists.
const CODE: &str = "471147";

/// And the password of those with an address.
const PASSWORD: &str = "correct horse battery staple";

/// Sign-ups at once while the people are made.
const AT_ONCE: usize = 16;

/// A listed number or address, in its tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The tenant's path, `/t/{slug}`.
    #[serde(skip)]
    pub(crate) tenant: Arc<str>,
    pub(crate) phone: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) code: String,
    pub(crate) password: Option<String>,
}

/// Someone on a device that guichet knows.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) identity: Identity,
    pub(crate) device: String,
    /// Codes that the device may still be sent in this hour.
    pub(crate) codes: u32,
}

/// A session and the tokens it stands at.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) tenant: Arc<str>,
    pub(crate) refresh_token: String,
}

/// An access token, and the tenant it is good in.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    pub(crate) tenant: Arc<str>,
    pub(crate) token: String,
}

/// What one arrival at a time may have.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    free: Mutex<VecDeque<(Instant, T)>>,
    count: Semaphore,
}

impl<T> Pool<T> {
    fn new(items: Vec<T>) -> Self {
        let now = Instant::now();
        let count = Semaphore::new(items.len());
        Self { free: Mutex::new(items.into_iter().map(|item| (now, item)).collect()), count }
    }

    /// The one that has rested longest, once there is one.
    pub(crate) async fn next(&self) -> Option<T> {
        self.count.acquire().await.ok()?.forget();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front().map(|(_, item)| item)
    }

    /// The one that has rested longest, if it has rested enough.
    pub(crate) fn rested(&self) -> Option<T> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.front().filter(|(ready, _)| *ready <= Instant::now())?;
        self.count.try_acquire().ok()?.forget();
        free.pop_front().map(|(_, item)| item)
    }

    /// Gives it back, to be had after a rest.
    pub(crate) fn put(&self, item: T, rest: Duration) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push_back((Instant::now() + rest, item));
        self.count.add_permits(1);
    }
}

/// Everybody, by what they are there for.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) newcomers: Pool<Identity>,
    pub(crate) phones: Pool<Known>,
    pub(crate) sessions: Pool<Session>,
    mailboxes: Vec<Known>,
    passes: Vec<Pass>,
    turn: AtomicUsize,
}

impl People {
    /// Makes tenants for the plan and signs up everybody who is to be known already.
    pub(crate) async fn in_own_tenants(
        door: &Door,
        tenants: &Tenants,
        plan: Plan,
        most: usize,
    ) -> anyhow::Result<Self> {
        let count = plan.tenants(most)?;
        let mut crowd = identities(plan);
        let mut listed = Vec::with_capacity(crowd.len());
        for at in 0..count {
            let members = crowd.split_off(crowd.len().saturating_sub(PER_TENANT));
            let list: Vec<_> = members.iter().map(Identity::setting).collect();
            let slug =
                tenants.open(&list).await.with_context(|| format!("cannot make tenant {} of {count}", at + 1))?;
            let tenant: Arc<str> = format!("/t/{slug}").into();
            listed.extend(members.into_iter().map(|member| Identity { tenant: tenant.clone(), ..member }));
        }
        // Settings are in force on every node within a second, by guichet's promise.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        Self::prepare(door, plan, listed).await
    }

    /// Takes the identities of a file, and of the plan what they are enough for.
    pub(crate) async fn of_file(door: &Door, slug: &str, file: &Path, plan: Plan) -> anyhow::Result<Self> {
        let tenant: Arc<str> = format!("/t/{slug}").into();
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        let listed: Vec<Identity> = serde_json::from_str(&text)
            .with_context(|| format!("{name} is no list of {{\"phone\" or \"email\", \"code\", \"password\"}}"))?;
        let complete = |one: &Identity| {
            one.phone.is_some() != one.email.is_some() && (one.email.is_none() || one.password.is_some())
        };
        ensure!(listed.iter().all(complete), "{name}: each identity has a `phone`, or an `email` with a `password`");
        let listed = listed.into_iter().map(|one| Identity { tenant: tenant.clone(), ..one }).collect();
        Self::prepare(door, plan, listed).await
    }

    async fn prepare(door: &Door, plan: Plan, listed: Vec<Identity>) -> anyhow::Result<Self> {
        let (mut numbers, mut addresses): (Vec<_>, Vec<_>) = listed.into_iter().partition(|one| one.phone.is_some());
        addresses.truncate(plan.mailboxes);
        // Those who must exist come first: a newcomer can be anybody who is left.
        let sessions: Vec<_> = numbers.drain(..plan.sessions.min(numbers.len())).collect();
        let phones: Vec<_> = numbers.drain(..plan.phones.min(numbers.len())).collect();
        for (wanted, there, what) in [
            (plan.sessions, sessions.len(), "number for sessions"),
            (plan.phones, phones.len(), "number more for `code`"),
            (plan.newcomers, numbers.len(), "number more for `sign-up`"),
            (plan.mailboxes, addresses.len(), "address for `log-in`"),
        ] {
            ensure!(wanted == 0 || there > 0, "the identities lack a {what}");
        }
        let sessions = for_each(sessions, door, |door, one| async move {
            let entered = sign_up(&door, &one).await?;
            let (token, refresh_token) = (entered.text("token"), entered.text("refresh_token"));
            Ok((Pass { tenant: one.tenant.clone(), token }, Session { tenant: one.tenant, refresh_token }))
        })
        .await?;
        let phones = for_each(phones, door, |door, one| async move {
            let device = sign_up(&door, &one).await?.text("device_token");
            Ok(Known { identity: one, device, codes: CODES_A_DEVICE })
        })
        .await?;
        let mailboxes = for_each(addresses, door, |door, one| async move {
            let device = enrol(&door, &one).await?;
            Ok(Known { identity: one, device, codes: 0 })
        })
        .await?;
        let (passes, sessions) = sessions.into_iter().unzip();
        Ok(Self {
            newcomers: Pool::new(numbers),
            phones: Pool::new(phones),
            sessions: Pool::new(sessions),
            mailboxes,
            passes,
            turn: AtomicUsize::new(0),
        })
    }

    /// Somebody with an address, each in turn.
    pub(crate) fn mailbox(&self) -> Option<&Known> {
        self.mailboxes.get(self.turn.fetch_add(1, Ordering::Relaxed) % self.mailboxes.len().max(1))
    }

    /// A token, each in turn.
    pub(crate) fn pass(&self) -> Option<&Pass> {
        self.passes.get(self.turn.fetch_add(1, Ordering::Relaxed) % self.passes.len().max(1))
    }
}

impl Identity {
    /// As the tenant's settings list it.
    fn setting(&self) -> Value {
        match (&self.phone, &self.email) {
            (Some(phone), _) => json!({"phone": phone, "code": self.code}),
            (None, email) => json!({"email": email, "code": self.code}),
        }
    }
}

/// Numbers and addresses for a plan, other ones in every run.
fn identities(plan: Plan) -> Vec<Identity> {
    let from = random() % 9_000_000;
    let none =
        |code: &str| Identity { tenant: "".into(), phone: None, email: None, code: code.to_owned(), password: None };
    let numbers = (0..(plan.newcomers + plan.phones + plan.sessions) as u64)
        .map(|n| Identity { phone: Some(format!("+22177{:07}", (from + n) % 10_000_000)), ..none(CODE) });
    let addresses = (0..plan.mailboxes).map(|n| Identity {
        email: Some(format!("person-{n}@load.test")),
        password: Some(PASSWORD.to_owned()),
        ..none(CODE)
    });
    numbers.chain(addresses).collect()
}

/// Runs a step for each, a few at a time; the first error ends it.
async fn for_each<T, R, S, F>(items: Vec<T>, door: &Door, step: S) -> anyhow::Result<Vec<R>>
where
    T: Send + 'static,
    R: Send + 'static,
    S: Fn(Door, T) -> F,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let (mut running, mut done) = (JoinSet::new(), Vec::with_capacity(items.len()));
    for item in items {
        if running.len() >= AT_ONCE
            && let Some(result) = running.join_next().await
        {
            done.push(result??);
        }
        running.spawn(step(door.clone(), item));
    }
    while let Some(result) = running.join_next().await {
        done.push(result??);
    }
    Ok(done)
}

/// Proves the number, and registers it if nobody has. What signing in answered.
async fn sign_up(door: &Door, one: &Identity) -> anyhow::Result<Answer> {
    let path = |path: &str| format!("{}{path}", one.tenant);
    step(door, &path("/auth/request-code"), &json!({"phone": one.phone})).await?;
    let proven = step(door, &path("/auth/verify-code"), &json!({"phone": one.phone, "code": one.code})).await?;
    if !proven.text("token").is_empty() {
        return Ok(proven);
    }
    step(door, &path("/auth/register"), &registration(one, &proven)).await
}

/// The body that registers a proven number.
pub(crate) fn registration(one: &Identity, proven: &Answer) -> Value {
    let proof = proven.text("registration_token");
    json!({"phone": one.phone, "first_name": "Load", "last_name": "Test", "registration_token": proof})
}

/// Registers the address, or confirms this device for who has it already. The device's token.
async fn enrol(door: &Door, one: &Identity) -> anyhow::Result<String> {
    let path = |path: &str| format!("{}{path}", one.tenant);
    let body = json!({"username": one.email, "email": one.email, "password": one.password});
    let registered = client::ask(door.post(&path("/api/auth/register"), &body)).await.map_err(anyhow::Error::msg)?;
    let device = registered.text("device_token");
    if registered.status == 201 && !device.is_empty() {
        return Ok(device);
    }
    let log_in = step(door, &path("/api/auth/login"), &json!({"email": one.email, "password": one.password})).await?;
    let (email, challenge) = (&one.email, log_in.text("challenge_id"));
    let answer = json!({"email": email, "otp": one.code, "challenge_id": challenge});
    let confirmed = step(door, &path("/api/auth/verify-otp"), &answer).await?;
    Ok(confirmed.text("device_token"))
}

/// One request that must succeed.
async fn step(door: &Door, path: &str, body: &Value) -> anyhow::Result<Answer> {
    let answer = client::ask(door.post(path, body)).await;
    let answer = answer.map_err(|why| anyhow::anyhow!("{}{path}: {why}", door.base()))?;
    match answer.status {
        200 | 201 => Ok(answer),
        429 => bail!(
            "{path} answered 429 while the people were made: wait {} s (a limit of the tenant), or take fewer",
            answer.retry_after.unwrap_or_default()
        ),
        _ => bail!("{path} answered {} while the people were made: {}", answer.shown(), answer.text("message")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_had_after_its_rest() {
        let pool = Pool::new(vec!["awa"]);
        let rest = Duration::from_secs(32);

        let one = pool.rested().unwrap();
        assert_eq!(pool.rested(), None);
        pool.put(one, rest);

        assert_eq!(pool.rested(), None);
        tokio::time::advance(rest).await;
        assert_eq!(pool.rested(), Some("awa"));
    }

    #[tokio::test]
    async fn one_arrival_at_a_time_has_a_session_and_the_next_waits_for_it() {
        let pool = Arc::new(Pool::new(vec!["awa"]));
        let one = pool.next().await.unwrap();
        let other = tokio::spawn({
            let pool = pool.clone();
            async move { pool.next().await }
        });
        tokio::task::yield_now().await;
        assert!(!other.is_finished());

        pool.put(one, Duration::ZERO);

        assert_eq!(other.await.unwrap(), Some("awa"));
    }

    #[test]
    fn everybody_is_somebody_else_and_listed_with_the_code() {
        let plan = Plan { newcomers: 30, phones: 20, mailboxes: 10, sessions: 5 };

        let people: Vec<_> = identities(plan).iter().map(Identity::setting).collect();

        assert_eq!(people.len(), plan.people());
        assert!(people.iter().all(|one| one["code"] == CODE));
        let mut contacts: Vec<_> = people.iter().map(|one| format!("{}{}", one["phone"], one["email"])).collect();
        contacts.sort_unstable();
        contacts.dedup();
        assert_eq!(contacts.len(), plan.people());
    }
}
