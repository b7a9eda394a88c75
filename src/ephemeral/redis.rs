//! The store in Redis, for any number of nodes: one script call per verdict, one key per book.
//!
//! - **Keys** `{prefix}:{<tenant>:<whose>}:<kind>` share a hash tag per account or contact, so
//!   that every script stays in one slot of a Redis Cluster.
//! - **Time** is Redis' own, plus the clock's shift (zero outside tests). Expiry is a value judged
//!   in the script; the TTL only sweeps.
//! - **Deadlines**: a call whose reply was lost is repeated once, under the same operation id, and
//!   both together end within the deadline. Then it is [`EphemeralError::Unavailable`], and may
//!   have run.
//! - **Fail-over**: replication is asynchronous. `wait_replicas` makes the calls that change
//!   attempts wait until that many replicas have them, or fail.

mod budget;
mod link;
mod listener;
mod script;

use std::collections::BTreeMap;
use std::time::Duration;

use ::redis::{RedisError, Value, cmd};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use self::link::{Link, is_lost, meaning, unavailable};
use self::listener::Listener;
use self::script::Script;
use super::{
    AttemptSubject, CodeOwner, CodeSubject, Consume, EphemeralError, EphemeralStore, Epoch, Guess, LimitCheck,
    MOST_TALLIED, MailCount, MailVerdict, REVOCATION_BACKLOG, RecipientCount, Reservation, Revocation, SendCode,
    Settle, Tally, hex,
};
use crate::clock::Clock;
use crate::domain::budget::{BudgetPolicy, BudgetUsage, Spend, SpendVerdict};
use crate::domain::ids::{ChallengeId, SessionId, TenantId};
use crate::domain::limits::bucket::{Rate, Verdict};
use crate::domain::limits::spray::{SprayRule, SprayVerdict};
use crate::domain::lockout::{Counter, Lane, Lifted, Reserve, Settlement, VERDICT_MEMORY};
use crate::domain::otp::{CodeRules, SendVerdict, TryVerdict};
use crate::domain::policy::{LockoutPolicy, ResendPolicy};
use crate::domain::time::Timestamp;
use crate::entropy::Entropy;
use crate::secret::{ExposeSecret as _, SecretString};

/// How to reach a Redis and how long to wait for it.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://` or `rediss://`, with user and password; for a cluster, some of its nodes,
    /// separated by commas.
    pub url: SecretString,
    /// Whether it is a Redis Cluster.
    pub cluster: bool,
    /// What every key begins with, so that one Redis may serve two installations.
    pub key_prefix: String,
    /// How long one reply may take.
    pub response_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Replicas that must have an attempt before its verdict counts; 0 asks for none.
    pub wait_replicas: u32,
}

impl RedisSettings {
    fn nodes(&self) -> Vec<String> {
        self.url.expose_secret().split(',').map(|node| node.trim().to_owned()).collect()
    }

    /// Two replies and one renewed connection: what a call with its one repeat may take.
    fn deadline(&self) -> Duration {
        2 * self.response_timeout + self.connect_timeout
    }
}

/// The store of any number of nodes.
pub struct RedisStore {
    link: Link,
    settings: RedisSettings,
    clock: Clock,
    entropy: Entropy,
    /// The epoch last seen; what account keys must carry.
    epoch: ArcSwapOption<Epoch>,
    heard: broadcast::Sender<Revocation>,
    _listener: AbortOnDropHandle<()>,
}

/// Whether a call whose reply was lost may be made again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Once,
    Never,
}

impl RedisStore {
    /// Connects and subscribes, or says within the time for connecting that it cannot.
    ///
    /// # Errors
    /// [`EphemeralError::Unavailable`] if Redis does not answer in time,
    /// [`EphemeralError::Misconfigured`] if it refuses the address or the credentials.
    pub async fn connect(settings: RedisSettings, clock: Clock, entropy: Entropy) -> Result<Self, EphemeralError> {
        let heard = broadcast::Sender::new(REVOCATION_BACKLOG);
        let link = Link::connect(&settings).await?;
        let channel = format!("{}:revocations", settings.key_prefix);
        let listener = Listener::new(&settings, channel, heard.clone())?;
        let first = listener.subscribe().await?;
        let listening = AbortOnDropHandle::new(tokio::spawn(listener.run(first)));
        Ok(Self { link, settings, clock, entropy, epoch: ArcSwapOption::empty(), heard, _listener: listening })
    }

    /// Runs a script on the book under `key` and reads its verdict.
    async fn call<T: DeserializeOwned>(
        &self,
        script: &Script,
        key: &str,
        ask: serde_json::Value,
        repeat: Repeat,
    ) -> Result<T, EphemeralError> {
        self.call_all(script, &[key.to_owned()], ask, repeat).await
    }

    /// The same on several keys of one slot.
    async fn call_all<T: DeserializeOwned>(
        &self,
        script: &Script,
        keys: &[String],
        ask: serde_json::Value,
        repeat: Repeat,
    ) -> Result<T, EphemeralError> {
        let ask = self.with_time(ask).to_string();
        let running = async {
            match script.run(&self.link, keys, &ask).await {
                Err(error) if repeat == Repeat::Once && is_lost(&error) => script.run(&self.link, keys, &ask).await,
                reply => reply,
            }
        };
        let reply = self.in_time(running).await?;
        serde_json::from_str(&reply).map_err(|error| EphemeralError::Corrupt(Box::new(error)))
    }

    async fn in_time<T>(&self, running: impl Future<Output = Result<T, RedisError>>) -> Result<T, EphemeralError> {
        timeout(self.settings.deadline(), running).await.map_err(unavailable)?.map_err(meaning)
    }

    /// Runs a script that changes attempts, and waits for the replicas that must have it.
    async fn call_attempts<T: DeserializeOwned>(
        &self,
        script: &Script,
        tenant: TenantId,
        subject: AttemptSubject,
        mut ask: serde_json::Value,
    ) -> Result<T, EphemeralError> {
        if ask.get("epoch").is_none() {
            set(&mut ask, "epoch", json!(self.epoch.load().as_deref()));
        }
        let verdict = self.call(script, &self.attempts_key(tenant, subject), ask, Repeat::Once).await?;
        self.wait_for_replicas().await?;
        Ok(verdict)
    }

    /// `WAIT` speaks for the writes of its own connection; all scripts go over this one.
    async fn wait_for_replicas(&self) -> Result<(), EphemeralError> {
        let wanted = self.settings.wait_replicas;
        if wanted == 0 {
            return Ok(());
        }
        let patience = self.settings.response_timeout / 2;
        let mut wait = cmd("WAIT");
        wait.arg(wanted).arg(millis(patience));
        let reached: u32 = self.in_time(self.link.query(&wait)).await?;
        if reached >= wanted { Ok(()) } else { Err(unavailable(TooFewReplicas { wanted, reached })) }
    }

    fn with_time(&self, mut ask: serde_json::Value) -> serde_json::Value {
        set(&mut ask, "shift", json!(self.clock.shift_millis()));
        set(&mut ask, "memory", json!(millis(VERDICT_MEMORY)));
        ask
    }

    fn key(&self, tenant: TenantId, whose: &str, kind: &str) -> String {
        format!("{}:{{{tenant}:{whose}}}:{kind}", self.settings.key_prefix)
    }

    fn attempts_key(&self, tenant: TenantId, subject: AttemptSubject) -> String {
        self.key(tenant, &whose(subject), "attempts")
    }

    fn mails_key(&self, tenant: TenantId, mail: &MailCount<'_>) -> String {
        self.key(tenant, &hex(&mail.contact), &format!("mails:{}", mail.class))
    }

    /// All limits of a tenant stand in one slot, so that one script asks several.
    fn limit_key(&self, tenant: TenantId, check: &LimitCheck) -> String {
        self.key(tenant, "limits", &format!("{}:{}", check.name, check.subject))
    }

    fn codes_key(&self, tenant: TenantId, subject: &CodeSubject) -> String {
        let whose = match &subject.owner {
            CodeOwner::Contact(digest) => hex(digest),
            CodeOwner::Account(account) => account.to_string(),
        };
        self.key(tenant, &whose, &format!("codes:{}", subject.purpose.as_str()))
    }

    fn grant_key(&self, tenant: TenantId, digest: [u8; 32]) -> String {
        self.key(tenant, &hex(&digest), "grant")
    }

    fn revoked_key(&self, tenant: TenantId) -> String {
        self.key(tenant, "sessions", "revoked")
    }
}

/// A subject of attempts, in keys.
fn whose(subject: AttemptSubject) -> String {
    match subject {
        AttemptSubject::Account(account) => account.to_string(),
        AttemptSubject::Shadow(bucket) => format!("shadow-{bucket}"),
    }
}

/// Fewer replicas than asked for had the write in time.
#[derive(Debug, thiserror::Error)]
#[error("{reached} of {wanted} replicas confirmed a write in time")]
struct TooFewReplicas {
    wanted: u32,
    reached: u32,
}

fn set(ask: &mut serde_json::Value, name: &str, value: serde_json::Value) {
    if let Some(members) = ask.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn lockout_numbers(policy: &LockoutPolicy) -> serde_json::Value {
    json!({
        "threshold": policy.threshold,
        "window": millis(policy.window),
        "duration": millis(policy.duration),
        "hard_limit": policy.hard_limit,
    })
}

fn resend_numbers(resend: &ResendPolicy) -> serde_json::Value {
    json!({ "cooldown": millis(resend.cooldown), "per_hour": resend.per_hour, "per_day": resend.per_day })
}

/// Every text in a reply of `INFO`: one from a single Redis, one per node from a cluster.
fn texts(reply: &Value) -> Vec<String> {
    match reply {
        Value::BulkString(bytes) => vec![String::from_utf8_lossy(bytes).into_owned()],
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(_, value)| texts(value)).collect(),
        _ => Vec::new(),
    }
}

#[async_trait]
impl EphemeralStore for RedisStore {
    /// Asks `INFO`, which managed offerings allow where they forbid `CONFIG`.
    async fn check(&self) -> Result<(), EphemeralError> {
        let mut info = cmd("INFO");
        info.arg("memory");
        let reply: Value = self.in_time(self.link.query(&info)).await?;
        let reports = texts(&reply);
        let mut policies =
            reports.iter().map(|report| report.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")));
        match policies.find(|policy| policy.is_none_or(|policy| policy.trim() != "noeviction")) {
            Some(policy) => Err(EphemeralError::Misconfigured(format!(
                "Redis may evict keys, and with them locks (maxmemory-policy is {}): set maxmemory-policy to noeviction",
                policy.map_or("not told", str::trim)
            ))),
            None if reports.is_empty() => {
                Err(EphemeralError::Misconfigured("Redis does not tell its maxmemory-policy".to_owned()))
            }
            None => Ok(()),
        }
    }

    async fn ping(&self) -> Result<(), EphemeralError> {
        self.epoch().await.map(|_| ())
    }

    async fn epoch(&self) -> Result<Epoch, EphemeralError> {
        let key = format!("{}:epoch", self.settings.key_prefix);
        let proposed = Epoch::new(self.entropy.bytes());
        let epoch: Epoch = self.call(&script::EPOCH, &key, json!({ "proposed": proposed }), Repeat::Once).await?;
        self.epoch.store(Some(epoch.clone().into()));
        Ok(epoch)
    }

    async fn reserve_attempt(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        ask: &Reserve,
    ) -> Result<Reservation, EphemeralError> {
        let ask = json!({
            "policy": lockout_numbers(policy),
            "operation": ask.operation,
            "attempt": ask.attempt,
            "lane": ask.lane,
            "lease": millis(ask.lease),
        });
        self.call_attempts(&script::RESERVE, tenant, subject, ask).await
    }

    async fn confirm_lapsed(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        version: u64,
    ) -> Result<(), EphemeralError> {
        let _: bool =
            self.call_attempts(&script::CONFIRM_LAPSED, tenant, subject, json!({ "version": version })).await?;
        Ok(())
    }

    async fn seed_attempts(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        epoch: &Epoch,
        version: u64,
        counters: &BTreeMap<Lane, Counter>,
    ) -> Result<(), EphemeralError> {
        let ask = json!({ "epoch": epoch, "version": version, "counters": counters });
        let _: bool = self.call_attempts(&script::SEED, tenant, subject, ask).await?;
        Ok(())
    }

    async fn settle_attempt(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        settle: Settle,
    ) -> Result<Settlement, EphemeralError> {
        let ask = json!({
            "policy": lockout_numbers(policy),
            "operation": settle.operation,
            "attempt": settle.attempt,
            "outcome": settle.outcome,
        });
        self.call_attempts(&script::SETTLE, tenant, subject, ask).await
    }

    async fn clear_attempts(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
    ) -> Result<Option<u64>, EphemeralError> {
        let ask = json!({ "policy": lockout_numbers(policy) });
        self.call_attempts(&script::CLEAR, tenant, subject, ask).await
    }

    async fn lift_lock(
        &self,
        tenant: TenantId,
        subject: AttemptSubject,
        policy: &LockoutPolicy,
        lane: Lane,
    ) -> Result<Option<Lifted>, EphemeralError> {
        let ask = json!({ "policy": lockout_numbers(policy), "lane": lane });
        self.call_attempts(&script::LIFT, tenant, subject, ask).await
    }

    async fn send_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        rules: &CodeRules,
        ask: &SendCode,
    ) -> Result<SendVerdict, EphemeralError> {
        let ask = json!({
            "operation": ask.operation,
            "fresh": ask.fresh,
            "key_id": ask.key_id,
            "lane": ask.lane,
            "credential": ask.credential,
            "length": rules.code.length,
            "ttl": millis(rules.code.ttl),
            "tries": rules.code.tries,
            "resend": resend_numbers(&rules.resend(ask.lane)),
        });
        self.call(&script::SEND_CODE, &self.codes_key(tenant, subject), ask, Repeat::Once).await
    }

    async fn give_back_send(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        lane: Lane,
        sent_at: Timestamp,
    ) -> Result<(), EphemeralError> {
        let ask = json!({ "lane": lane, "sent_at": sent_at });
        let _: bool = self.call(&script::GIVE_BACK_SEND, &self.codes_key(tenant, subject), ask, Repeat::Once).await?;
        Ok(())
    }

    async fn guess_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        rules: &CodeRules,
        guess: &Guess,
    ) -> Result<TryVerdict, EphemeralError> {
        let ask = json!({
            "operation": guess.operation,
            "lane": guess.lane,
            "wanted": guess.wanted,
            "credential": guess.credential,
            "tries": rules.code.tries,
            "streak": rules.streak,
            "silence": millis(rules.silence),
            "wrong_per_day": rules.wrong_per_day,
        });
        self.call(&script::GUESS_CODE, &self.codes_key(tenant, subject), ask, Repeat::Once).await
    }

    async fn consume_code(
        &self,
        tenant: TenantId,
        subject: &CodeSubject,
        consume: &Consume,
    ) -> Result<bool, EphemeralError> {
        let ask = json!({ "operation": consume.operation, "lane": consume.lane, "answered": consume.answered });
        self.call(&script::CONSUME_CODE, &self.codes_key(tenant, subject), ask, Repeat::Once).await
    }

    async fn count_mail(
        &self,
        tenant: TenantId,
        resend: &ResendPolicy,
        mail: &MailCount<'_>,
    ) -> Result<MailVerdict, EphemeralError> {
        let mut ask = resend_numbers(resend);
        set(&mut ask, "operation", json!(mail.operation));
        self.call(&script::COUNT_MAIL, &self.mails_key(tenant, mail), ask, Repeat::Once).await
    }

    async fn give_back_mail(&self, tenant: TenantId, mail: &MailCount<'_>) -> Result<(), EphemeralError> {
        let ask = json!({ "operation": mail.operation });
        let _: bool = self.call(&script::GIVE_BACK_MAIL, &self.mails_key(tenant, mail), ask, Repeat::Once).await?;
        Ok(())
    }

    async fn check_limits(&self, tenant: TenantId, checks: &[LimitCheck]) -> Result<Verdict, EphemeralError> {
        let keys: Vec<_> = checks.iter().map(|check| self.limit_key(tenant, check)).collect();
        let checks = checks.iter().map(|check| {
            let Rate { requests, window } = check.rate;
            json!({ "requests": requests, "window": millis(window), "enforced": check.enforced })
        });
        let ask = json!({ "checks": checks.collect::<Vec<_>>() });
        self.call_all(&script::CHECK_LIMITS, &keys, ask, Repeat::Once).await
    }

    async fn count_compared(
        &self,
        tenant: TenantId,
        rule: &SprayRule,
        tally: &Tally,
    ) -> Result<SprayVerdict, EphemeralError> {
        let keys = [self.key(tenant, "limits", "compared"), self.key(tenant, "limits", "compared-accounts")];
        let accounts: Vec<_> = tally.accounts.iter().take(MOST_TALLIED).copied().map(whose).collect();
        let ask = json!({
            "window": millis(rule.window),
            "most_failures": rule.failures,
            "most_accounts": rule.accounts,
            "percent": rule.percent,
            "attempts": tally.attempts,
            "failures": tally.failures,
            "accounts": accounts,
        });
        self.call_all(&script::COUNT_COMPARED, &keys, ask, Repeat::Never).await
    }

    async fn count_recipient(&self, message: &RecipientCount) -> Result<MailVerdict, EphemeralError> {
        budget::count_recipient(self, message).await
    }

    async fn give_back_recipient(&self, message: &RecipientCount) -> Result<(), EphemeralError> {
        budget::give_back_recipient(self, message).await
    }

    async fn take_budget(
        &self,
        tenant: TenantId,
        policy: &BudgetPolicy,
        spend: &Spend,
    ) -> Result<SpendVerdict, EphemeralError> {
        budget::take(self, tenant, policy, spend).await
    }

    async fn give_back_budget(&self, tenant: TenantId, spend: &Spend) -> Result<(), EphemeralError> {
        budget::give_back(self, tenant, spend).await
    }

    async fn count_verified(&self, tenant: TenantId, region: &str) -> Result<(), EphemeralError> {
        budget::verified(self, tenant, region).await
    }

    async fn budget_usage(&self, tenant: TenantId) -> Result<BudgetUsage, EphemeralError> {
        budget::usage(self, tenant).await
    }

    async fn put_grant(
        &self,
        tenant: TenantId,
        digest: [u8; 32],
        challenge: ChallengeId,
        ttl: Duration,
    ) -> Result<(), EphemeralError> {
        let ask = json!({ "challenge": challenge, "ttl": millis(ttl) });
        let _: bool = self.call(&script::PUT_GRANT, &self.grant_key(tenant, digest), ask, Repeat::Once).await?;
        Ok(())
    }

    async fn take_grant(&self, tenant: TenantId, digest: [u8; 32]) -> Result<Option<ChallengeId>, EphemeralError> {
        self.call(&script::TAKE_GRANT, &self.grant_key(tenant, digest), json!({}), Repeat::Never).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), EphemeralError> {
        let ask = json!({
            "session": revocation.session,
            "until": revocation.until,
            "channel": format!("{}:revocations", self.settings.key_prefix),
            "notice": json!(revocation).to_string(),
        });
        let _: bool = self.call(&script::REVOKE, &self.revoked_key(revocation.tenant), ask, Repeat::Once).await?;
        Ok(())
    }

    async fn revocations(&self, tenant: TenantId) -> Result<Vec<Revocation>, EphemeralError> {
        let marks: BTreeMap<SessionId, Timestamp> =
            self.call(&script::REVOCATIONS, &self.revoked_key(tenant), json!({}), Repeat::Once).await?;
        Ok(marks.into_iter().map(|(session, until)| Revocation { tenant, session, until }).collect())
    }

    fn subscribe(&self) -> broadcast::Receiver<Revocation> {
        self.heard.subscribe()
    }
}
