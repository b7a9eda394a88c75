//! Who may ask how often: one question per request, before any actor or story hears of it.
//!
//! ```text
//!   http ─► Limits::check ─► Shield (this node's memory) ──certain refusal──► 429, no store call
//!                               │ may fit
//!                               └─► EphemeralStore::check_limits (all limits at once, or none) ─► verdict
//!                                       │ away
//!                                       └─► the shield alone decides, at the full quota per node
//! ```
//!
//! **The store is the judge**, so that the limit is exact on any number of nodes. The `shield`
//! is this node's own copy of each bucket and never stricter than the store: it refuses only what
//! the store would refuse too, so refusing costs no round trip, and it keeps counting while the
//! store is away. Routes whose stories need the store answer 503 by themselves then; a limit alone
//! never makes a route unavailable.
//!
//! What this node remembers lies on its own steady scale, and of the store only spans are believed:
//! the two clocks need not agree.
//!
//! Only limits by client, app and tenant are asked here. What is counted by contact or account is
//! judged by its own book in the store, every time: a remembered refusal would tell a stranger
//! which contacts are busy. `spray` watches for guessing over many accounts, `away` for a store that does not
//! answer, [`wire`] says it all in header fields.

mod away;
mod shield;
mod spray;
pub mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::Counter;

use self::away::Away;
use self::shield::{MARGIN, Shield};
use self::spray::Spray;
use crate::clock::Clock;
use crate::domain::ids::{AppId, TenantId};
use crate::domain::limits::bucket::{Bucket, Rate, Verdict};
use crate::domain::limits::spray::STRANGERS_SHARE;
use crate::domain::limits::{LimitKey, LimitMode, LimitName, LimitPolicy, LimitSubject, OF_A_SITE};
use crate::domain::time::Timestamp;
use crate::ephemeral::{AttemptSubject, EphemeralStore, LimitCheck};
use crate::telemetry::{LIMIT_RECORDED, LIMIT_REFUSALS, LIMITS_SKIPPED, LIMITS_WITHOUT_STORE, causes};
use crate::tenant::TenantContext;

pub use self::shield::RefusedNow;

/// Buckets a node remembers: some 150 bytes each.
const MOST_REMEMBERED: usize = 100_000;

/// The bucket of a tenant as a whole where its own limit refuses nobody; not a limit of its own.
const TENANT_CEILING: &str = "tenant-ceiling";

/// The bucket of strangers' log-ins while a tenant is under attack; not a limit of its own.
const STRANGERS: &str = "login-stranger";

/// The highest pace the platform lets any tenant set: requests per default window of each limit.
#[derive(Debug, Clone, Default)]
pub struct Ceilings(BTreeMap<LimitName, u32>);

impl Ceilings {
    /// Ceilings by name; a limit without one has none.
    pub fn new(ceilings: impl IntoIterator<Item = (LimitName, u32)>) -> Self {
        Self(ceilings.into_iter().collect())
    }

    fn of(&self, name: LimitName) -> Option<Rate> {
        self.0.get(&name).map(|requests| Rate { requests: *requests, window: name.default_window() })
    }

    fn cap(&self, name: LimitName, rate: Rate) -> Rate {
        self.of(name).map_or(rate, |ceiling| rate.capped(ceiling))
    }
}

/// Who sends a request, as far as it can be believed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller {
    /// The client's address; none if only a proxy is known, which is everybody behind it.
    pub client: Option<IpAddr>,
    /// The app that showed its credential.
    pub app: Option<AppId>,
}

/// Where one limit stands for one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub name: LimitName,
    /// Its quota and window.
    pub rate: Rate,
    /// Requests that fit now.
    pub remaining: u64,
    /// How long until one more fits than now.
    pub more_in: Duration,
    /// Whether this request did not fit.
    pub over: bool,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on; these limits it passed.
    Admitted(Vec<Standing>),
    /// Not now; nothing was taken.
    Refused(Refusal),
}

/// A refusal: whoever waits as long as it says is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Every limit that refused for certain, and where the others stand; a client's own before that of
    /// the site around it, under one name.
    pub standings: Vec<Standing>,
    /// How long until all violated ones have room.
    pub wait: Duration,
}

/// One limit as it holds for a tenant, for the page that shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveLimit {
    /// Which.
    pub name: LimitName,
    /// What it counts by.
    pub key: LimitKey,
    /// Requests in the window, after the platform's ceiling.
    pub rate: Rate,
    /// What happens beyond them.
    pub mode: LimitMode,
    /// Who said so.
    pub source: LimitSource,
}

/// Where a limit's number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSource {
    /// The profile.
    Profile,
    /// The tenant's settings.
    Tenant,
    /// The tenant asked for more than the platform allows.
    Platform,
}

impl LimitSource {
    /// The word of the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Tenant => "tenant",
            Self::Platform => "platform",
        }
    }
}

/// The limits of all tenants. Clones share everything.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    store: Arc<dyn EphemeralStore>,
    clock: Clock,
    ceilings: Ceilings,
    shield: Shield,
    spray: Spray,
    refusals: Refusals,
    away: Away,
    has_warned: AtomicBool,
}

/// One limit of one request.
#[derive(Clone, Copy)]
struct Ask {
    name: LimitName,
    check: LimitCheck,
}

impl Ask {
    /// The client's own limit first, then that of the site around it.
    fn with_site(self) -> impl Iterator<Item = Self> {
        let LimitCheck { subject, rate, .. } = self.check;
        let of_site = |subject| LimitCheck { subject, rate: rate.times(OF_A_SITE), ..self.check };
        let site = subject.site().map(|subject| Self { check: of_site(subject), ..self });
        std::iter::once(self).chain(site)
    }
}

impl Limits {
    /// Limits judged by `store`.
    #[must_use]
    pub fn new(store: Arc<dyn EphemeralStore>, clock: Clock, ceilings: Ceilings) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            ceilings,
            shield: Shield::new(MOST_REMEMBERED),
            spray: Spray::default(),
            refusals: Refusals::default(),
            away: Away::default(),
            has_warned: AtomicBool::new(false),
        }))
    }

    /// Asks all limits of a request, and takes from all or from none.
    pub async fn check(&self, tenant: &TenantContext, names: &[LimitName], caller: &Caller) -> Decision {
        self.decide(tenant.id(), &self.asks(tenant, names, caller)).await
    }

    /// The refusal that [`check`](Self::check) would answer for certain, from this node's memory: no store is
    /// asked, and nothing is taken. None says nothing.
    #[must_use]
    pub fn known_refusal(&self, tenant: &TenantContext, names: &[LimitName], caller: &Caller) -> Option<Refusal> {
        let asks = self.asks(tenant, names, caller);
        let standings = self.0.shield.refuse(tenant.id(), &asks, self.0.clock.steady())?;
        Some(refused(&self.0.refusals.by_node, standings))
    }

    fn asks(&self, tenant: &TenantContext, names: &[LimitName], caller: &Caller) -> Vec<Ask> {
        let asks = names.iter().flat_map(|name| {
            let own = self.ask(tenant, *name, caller);
            own.into_iter().flat_map(Ask::with_site).chain(self.ask_ceiling(tenant, *name))
        });
        asks.collect()
    }

    /// What one tenant may take from the others is not its own to lift: where its limit refuses nobody, the
    /// platform's ceiling does.
    fn ask_ceiling(&self, tenant: &TenantContext, name: LimitName) -> Option<Ask> {
        if name.key() != LimitKey::Tenant || tenant.policy().limits.get(name).mode == LimitMode::Enforce {
            return None;
        }
        let (subject, rate) = (LimitSubject::Tenant, self.0.ceilings.of(name)?);
        Some(Ask { name, check: LimitCheck { name: TENANT_CEILING, subject, rate, enforced: true } })
    }

    /// Under a spraying attack, one more question for a log-in from a device that its account does
    /// not know: how long it has to wait, if it has to. Asked before anything is compared.
    pub async fn check_stranger(&self, tenant: &TenantContext, client: Option<LimitSubject>) -> Option<Duration> {
        if !self.0.spray.is_under_attack(tenant.id(), self.0.clock.steady()) {
            return None;
        }
        let (subject, policy) = (client?, self.policy(tenant, LimitName::LoginClient));
        let rate = policy.rate.divided_by(STRANGERS_SHARE);
        let check = LimitCheck { name: STRANGERS, subject, rate, enforced: policy.mode == LimitMode::Enforce };
        let asks: Vec<_> = Ask { name: LimitName::LoginClient, check }.with_site().collect();
        match self.decide(tenant.id(), &asks).await {
            Decision::Refused(refusal) => Some(refusal.wait),
            Decision::Admitted(_) => None,
        }
    }

    /// Takes note of a log-in whose password was compared.
    pub fn note_compared(&self, tenant: TenantId, subject: AttemptSubject, failed: bool) {
        self.0.spray.note(tenant, subject, failed);
    }

    /// Tells the store what this node compared since it last did, and learns who is under attack.
    /// The tenants for which that is news to all nodes.
    pub async fn tell_compared(&self) -> Vec<TenantId> {
        self.0.spray.tell(&*self.0.store, &self.0.clock).await
    }

    /// Forgets what no longer matters. Call it every few seconds.
    pub fn sweep(&self) {
        let now = self.0.clock.steady();
        self.0.shield.sweep(now);
        self.0.away.sweep(now);
    }

    /// Every limit of a tenant as it holds now.
    #[must_use]
    pub fn effective(&self, tenant: &TenantContext) -> Vec<EffectiveLimit> {
        let of = |name: &LimitName| {
            let (name, rules) = (*name, tenant.policy());
            let LimitPolicy { rate, mode } = rules.limits.shown(name, &rules.resend);
            let capped = self.0.ceilings.cap(name, rate);
            let source = match rules.limits.is_set(name) {
                _ if capped != rate => LimitSource::Platform,
                true => LimitSource::Tenant,
                false => LimitSource::Profile,
            };
            EffectiveLimit { name, key: name.key(), rate: capped, mode, source }
        };
        LimitName::ALL.iter().map(of).collect()
    }

    /// Whom this node refuses right now, as much as a tenant's administrator may see of them.
    #[must_use]
    pub fn refused_now(&self, tenant: TenantId) -> Vec<RefusedNow> {
        self.0.shield.refused_now(tenant, self.0.clock.steady())
    }

    fn policy(&self, tenant: &TenantContext, name: LimitName) -> LimitPolicy {
        let LimitPolicy { rate, mode } = tenant.policy().limits.get(name);
        LimitPolicy { rate: self.0.ceilings.cap(name, rate), mode }
    }

    fn ask(&self, tenant: &TenantContext, name: LimitName, caller: &Caller) -> Option<Ask> {
        let LimitPolicy { rate, mode } = self.policy(tenant, name);
        if mode == LimitMode::Off {
            return None;
        }
        let subject = match name.key() {
            LimitKey::Client => caller.client.map(LimitSubject::client).or_else(|| self.skip())?,
            LimitKey::App => LimitSubject::App(caller.app?.uuid()),
            LimitKey::Tenant => LimitSubject::Tenant,
            // Judged by their own books.
            LimitKey::Contact | LimitKey::Account => return None,
        };
        let check = LimitCheck { name: name.as_str(), subject, rate, enforced: mode == LimitMode::Enforce };
        Some(Ask { name, check })
    }

    /// One bucket for everybody behind a proxy would shut all of them out: better none.
    fn skip(&self) -> Option<LimitSubject> {
        metrics::counter!(LIMITS_SKIPPED).increment(1);
        if !self.0.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a trusted proxy names no client address: limits per client are skipped for its requests; let it \
                 send X-Forwarded-For, or state the address under an app's credential"
            );
        }
        None
    }

    async fn decide(&self, tenant: TenantId, asks: &[Ask]) -> Decision {
        if asks.is_empty() {
            return Decision::Admitted(Vec::new());
        }
        let inner = &*self.0;
        let asked_at = inner.clock.steady();
        let under_way = match inner.shield.reserve(tenant, asks, asked_at) {
            Ok(under_way) => under_way,
            Err(standings) => return Decision::Refused(refused(&inner.refusals.by_node, standings)),
        };
        match self.ask_store(tenant, asks).await {
            Some(verdict) => {
                let lag = asked_at.until(inner.clock.steady());
                under_way.learn(&verdict, asked_at, lag);
                let standings = standings(asks, &verdict, asked_at);
                if verdict.admitted {
                    Decision::Admitted(standings)
                } else {
                    Decision::Refused(refused(&inner.refusals.by_store, standings))
                }
            }
            None => Decision::Admitted(under_way.keep()),
        }
    }

    /// The judge's verdict, or none while it is away.
    async fn ask_store(&self, tenant: TenantId, asks: &[Ask]) -> Option<Verdict> {
        let inner = &*self.0;
        if !inner.away.holds(tenant, inner.clock.steady()) {
            let checks: Vec<_> = asks.iter().map(|ask| ask.check).collect();
            match inner.store.check_limits(tenant, &checks).await {
                Ok(verdict) => return Some(verdict),
                Err(error) => {
                    tracing::warn!(error = causes(&error), "limits are judged by this node alone");
                    inner.away.note(tenant, inner.clock.steady());
                }
            }
        }
        metrics::counter!(LIMITS_WITHOUT_STORE).increment(1);
        None
    }
}

/// What the store said, in the words of the wire; limits that only record are told to operators.
fn standings(asks: &[Ask], verdict: &Verdict, at: Timestamp) -> Vec<Standing> {
    let told = asks.iter().zip(&verdict.standings).filter_map(|(ask, told)| {
        if told.over && !ask.check.enforced {
            metrics::counter!(LIMIT_RECORDED, "limit" => ask.name.as_str()).increment(1);
        }
        let bucket = Bucket { level: told.level, at };
        ask.check.enforced.then(|| standing(ask, bucket, told.over, Duration::ZERO))
    });
    told.collect()
}

fn standing(ask: &Ask, bucket: Bucket, over: bool, lag: Duration) -> Standing {
    let rate = ask.check.rate;
    let more_in = bucket.more_in(rate) + if over { lag + MARGIN } else { Duration::ZERO };
    Standing { name: ask.name, rate, remaining: bucket.remaining(rate), more_in, over }
}

/// The counters of refusals, kept: to find one by its labels would cost as much as refusing.
struct Refusals {
    by_node: BTreeMap<LimitName, Counter>,
    by_store: BTreeMap<LimitName, Counter>,
}

impl Default for Refusals {
    fn default() -> Self {
        let by = |judge: &'static str| {
            let counter = |name: &LimitName| metrics::counter!(LIMIT_REFUSALS, "limit" => name.as_str(), "by" => judge);
            LimitName::ALL.iter().map(|name| (*name, counter(name))).collect()
        };
        Self { by_node: by("node"), by_store: by("store") }
    }
}

fn refused(counters: &BTreeMap<LimitName, Counter>, standings: Vec<Standing>) -> Refusal {
    let mut wait = Duration::ZERO;
    for standing in standings.iter().filter(|standing| standing.over) {
        if let Some(counter) = counters.get(&standing.name) {
            counter.increment(1);
        }
        wait = wait.max(standing.more_in);
    }
    Refusal { standings, wait }
}
