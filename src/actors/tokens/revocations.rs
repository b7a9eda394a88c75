//! Which sessions have ended, in the memory of every node.
//!
//! ```text
//!   an act here ──► told: into this set at once, to the other nodes by the ephemeral store
//!   other nodes ──► heard
//!   storage     ──► read twice a second, the last minute over again: what was neither told nor heard
//! ```
//!
//! Storage is the judge and the poll alone is enough; telling only makes it sooner. A node that was
//! cut off from either store finds the rest in its next reading, since that begins a minute before the
//! last one that was answered. A session is forgotten once its last access token must have run out.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use futures_util::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::domain::ids::{SessionId, TenantId};
use crate::domain::policy::LONGEST_ACCESS_LIFE;
use crate::domain::signing_key::LEEWAY;
use crate::domain::time::Timestamp;
use crate::ephemeral::{EphemeralStore, Revocation};
use crate::storage::{self, Storage, StorageError};

/// How far back a reading goes again: transactions commit out of order, and clocks differ.
const OVERLAP: Duration = Duration::from_secs(60);

/// How far back an act looks for what it ended itself.
const JUST_NOW: Duration = Duration::from_secs(5);

/// How often what can be forgotten is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// How long after its end a session's tokens could still look good.
const REMEMBERED: Duration = LONGEST_ACCESS_LIFE.saturating_add(LEEWAY);

/// The sessions of all tenants that ended not long ago. Clones share the set.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    /// Until when each is remembered.
    ended: DashMap<(TenantId, SessionId), Timestamp, RandomState>,
    storage: Storage,
    ephemeral: Arc<dyn EphemeralStore>,
    clock: Clock,
    /// When the last reading began that was answered, in milliseconds.
    read_at: AtomicI64,
    forgot_at: AtomicI64,
    /// When a reading that a request wanted last failed, in milliseconds.
    failed_at: AtomicI64,
    /// Held by the one request that reads because the set is too old.
    catching_up: tokio::sync::Mutex<()>,
}

impl Revocations {
    /// An empty set: read it once before any token is judged by it.
    #[must_use]
    pub fn new(storage: Storage, ephemeral: Arc<dyn EphemeralStore>, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            ended: DashMap::default(),
            storage,
            ephemeral,
            clock,
            read_at: AtomicI64::new(i64::MIN),
            forgot_at: AtomicI64::new(i64::MIN),
            failed_at: AtomicI64::new(i64::MIN),
            catching_up: tokio::sync::Mutex::default(),
        }))
    }

    /// Whether that session has ended, as far as this node knows.
    #[must_use]
    pub fn holds(&self, tenant: TenantId, session: SessionId) -> bool {
        self.0.ended.contains_key(&(tenant, session))
    }

    /// How many it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ended.len()
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ended.is_empty()
    }

    /// How long ago it was last complete; for ever, if it never was.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_millis(self.0.read_at.load(Ordering::SeqCst)))
    }

    /// Reads what ended since the last reading.
    ///
    /// # Errors
    /// [`StorageError`] if storage does not answer; the next reading goes further back.
    pub async fn refresh(&self) -> Result<(), StorageError> {
        let now = self.0.clock.now();
        let last = Timestamp::from_millis(self.0.read_at.load(Ordering::SeqCst)).min(now);
        let since = (last - OVERLAP).max(now - REMEMBERED);
        for revocation in self.0.storage.sessions().revoked_since(since).await? {
            self.remember(&revocation);
        }
        self.0.read_at.fetch_max(now.as_millis(), Ordering::SeqCst);
        self.forget(now);
        Ok(())
    }

    /// Reads now because the set is too old, for one request at a time and not again right after a
    /// failure: a gateway must not wait for a store that is away. Whether it was read.
    pub(super) async fn catch_up(&self) -> bool {
        const PAUSE: Duration = Duration::from_millis(500);
        let failed_at = Timestamp::from_millis(self.0.failed_at.load(Ordering::SeqCst));
        if self.0.clock.now().since(failed_at) < PAUSE {
            return false;
        }
        let Ok(_turn) = self.0.catching_up.try_lock() else { return false };
        // Until it is answered it counts as failed: whoever waits may be cut off meanwhile.
        self.0.failed_at.store(self.0.clock.now().as_millis(), Ordering::SeqCst);
        let read = self.refresh().await.is_ok();
        if read {
            self.0.failed_at.store(i64::MIN, Ordering::SeqCst);
        }
        read
    }

    /// Remembers sessions that were ended here, and tells the other nodes. Storage has it already, so
    /// a store that is away delays the news and loses nothing.
    pub async fn tell(&self, tenant: TenantId, sessions: &[SessionId]) {
        let now = self.0.clock.now();
        for &session in sessions {
            self.remember(&storage::Revocation { tenant, session, at: now });
        }
        let until = now + REMEMBERED;
        let notices = sessions.iter().map(|&session| self.0.ephemeral.revoke(Revocation { tenant, session, until }));
        for told in join_all(notices).await {
            if let Err(error) = told {
                tracing::warn!(%error, "a revocation waits to be polled");
            }
        }
    }

    /// The same after an act that ended whatever sessions there were (a reset, an erasure): reads
    /// which. What cannot be read now is found by the poll.
    pub async fn announce(&self, tenant: TenantId) {
        let since = self.0.clock.now() - JUST_NOW;
        match self.0.storage.sessions().revoked_since(since).await {
            Ok(ended) => {
                let new = ended.into_iter().filter(|one| one.tenant == tenant && !self.holds(tenant, one.session));
                let sessions: Vec<_> = new.map(|one| one.session).collect();
                self.tell(tenant, &sessions).await;
            }
            Err(error) => tracing::warn!(%error, "revocations wait to be polled"),
        }
    }

    /// Hears of the other nodes' until the handle is dropped.
    pub fn listen(&self) -> AbortOnDropHandle<()> {
        let mut heard = self.0.ephemeral.subscribe();
        let this = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                match heard.recv().await {
                    Ok(Revocation { tenant, session, until }) => this.keep(tenant, session, until + LEEWAY),
                    // The poll finds what was missed.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        }))
    }

    fn remember(&self, revocation: &storage::Revocation) {
        self.keep(revocation.tenant, revocation.session, revocation.at + REMEMBERED);
    }

    fn keep(&self, tenant: TenantId, session: SessionId, until: Timestamp) {
        let mut known = self.0.ended.entry((tenant, session)).or_insert(until);
        *known = until.max(*known);
    }

    /// What must have run out everywhere goes, now and then.
    fn forget(&self, now: Timestamp) {
        let last = Timestamp::from_millis(self.0.forgot_at.load(Ordering::SeqCst));
        if now.since(last) >= FORGET_EVERY {
            self.0.forgot_at.store(now.as_millis(), Ordering::SeqCst);
            self.0.ended.retain(|_, until| *until > now);
        }
    }
}
