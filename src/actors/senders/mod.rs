//! Outbox rows on their way to people: one actor per line, a tenant's messages over one channel.
//!
//! ```text
//!   story ── writes the row, leased to this node ──► Postman::dispatch ─┐
//!                                                                       ├─► line (actor) ─► route:
//!   claimer ── rows whose lease ended (a node died, a retry is due) ────┘   a few at once   senders
//!                                                                              │           in order
//!                            delivery log ◄── mark, ask, settle by claim ◄─────┘
//!                                  ▲
//!   provider ── /hooks/… ──► Receipts ─┘ undelivered: the next sender, once
//! ```
//!
//! Each line has its own senders, breakers and bounds (`line`), so one tenant's dead mail server
//! keeps only that tenant waiting. What finds no room simply stays in the outbox until its lease ends,
//! and a line that has no room is not claimed for; one for which more waits than it had room for claims by
//! itself as it gets empty. How one message is sent, and what may be doubled
//! when a process dies: `deliver`. *Send test* takes the same senders: `trial`.

mod breaker;
mod deliver;
mod line;
mod make;
mod receipts;
mod render;
mod route;
mod trial;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ractor::{ActorCell, ActorRef};
use tokio_util::task::TaskTracker;

use self::line::{Gauge, Key, Mail};
pub use self::make::Maker;
pub use self::receipts::{ReceiptCall, ReceiptOutcome, Receipts};
pub use self::render::{RenderError, Renderer};
pub use self::route::{Offered, Platform, Transports};
pub use self::trial::{TESTS_PER_HOUR, TestOutcome, Tested};
use crate::actors::budget::Budget;
use crate::clock::Clock;
use crate::domain::ids::{NodeId, TenantId};
use crate::domain::message::{Channel, Message};
use crate::entropy::Entropy;
use crate::ephemeral::EphemeralStore;
use crate::storage::{Claimed, Storage, StorageError};
use crate::telemetry;

/// Claim number of a row as it is born.
const FIRST_CLAIM: i64 = 1;

/// Tenants whose lines are looked at in one statement, and how many such a round makes at most.
const TENANTS: u32 = 64;
const CHUNKS: u32 = 16;

/// Messages given up for their age in one round.
const EXPIRED: u32 = 100;

/// What all senders share.
pub struct Office {
    /// The outbox and the delivery log.
    pub storage: Storage,
    /// Counts tests.
    pub ephemeral: Arc<dyn EphemeralStore>,
    /// From facts to words.
    pub renderer: Renderer,
    /// How messages leave.
    pub transports: Transports,
    /// Pays for a text message's further senders.
    pub budget: Budget,
    /// The time.
    pub clock: Clock,
    /// Jitter.
    pub entropy: Entropy,
    /// This process.
    pub node: NodeId,
    /// How long a claimed row is this node's.
    pub lease: Duration,
    /// Sends before a message is given up.
    pub max_attempts: u32,
    /// The messages in line, to be waited for at the end.
    pub under_way: TaskTracker,
}

/// Takes messages to their lines; never waits. Clones share the lines.
#[derive(Clone)]
pub struct Postman(Arc<Inner>);

struct Inner {
    office: Arc<Office>,
    lines: DashMap<Key, Begun>,
    supervisor: ActorCell,
    /// Where the next round of claims begins, so that no tenant is always first.
    cursor: Mutex<Option<TenantId>>,
}

/// A line with its actor.
#[derive(Clone)]
struct Begun {
    actor: ActorRef<Mail>,
    gauge: Arc<Gauge>,
}

impl Postman {
    /// No lines yet; each starts with its first message.
    #[must_use]
    pub fn new(office: Arc<Office>, supervisor: ActorCell) -> Self {
        let (lines, cursor) = (DashMap::new(), Mutex::default());
        Self(Arc::new(Inner { office, lines, supervisor, cursor }))
    }

    /// Whether anything can leave for a tenant over a channel at all.
    #[must_use]
    pub fn can_send(&self, tenant: &crate::tenant::TenantContext, channel: Channel) -> bool {
        self.0.office.transports.can_send(tenant, channel)
    }

    /// Sends a message whose row this node has just written.
    pub fn dispatch(&self, message: Message) {
        let created_at = self.0.office.clock.now();
        self.hand_over(Claimed { message, created_at, claim: FIRST_CLAIM, attempts: 0, handed: None });
    }

    /// Sends messages whose rows this node has just written.
    pub fn dispatch_all(&self, messages: Vec<Message>) {
        for message in messages {
            self.dispatch(message);
        }
    }

    /// Waits for the messages in line; what is cut off at the deadline is another node's to repeat.
    pub async fn drain(&self, deadline: Duration) {
        let under_way = &self.0.office.under_way;
        under_way.close();
        let _in_time = tokio::time::timeout(deadline, under_way.wait()).await;
    }

    /// Takes over rows whose lease has ended, line by line, as far as each has room; gives up what is too
    /// old.
    ///
    /// # Errors
    /// [`StorageError`] if the outbox is out of reach.
    pub async fn claim(&self) -> Result<(), StorageError> {
        let office = &self.0.office;
        let outbox = office.storage.outbox();
        for _ in 0..CHUNKS {
            let after = *self.0.cursor.lock().unwrap_or_else(PoisonError::into_inner);
            let lines = outbox.lines(after, TENANTS, office.clock.now()).await?;
            for key in lines.due {
                self.fill(key).await?;
            }
            *self.0.cursor.lock().unwrap_or_else(PoisonError::into_inner) = lines.next;
            if lines.next.is_none() {
                break;
            }
        }
        for expired in outbox.expired(EXPIRED, office.clock.now()).await? {
            office.expire(&expired).await?;
        }
        Ok(())
    }

    async fn fill(&self, key: Key) -> Result<(), StorageError> {
        let office = &self.0.office;
        let now = office.clock.now();
        let room = self.0.lines.get(&key).map_or(Gauge::EMPTY, |line| line.gauge.room(now));
        if room > 0 {
            let claimed = office.storage.outbox().claim(key, room, office.node, office.lease, now).await?;
            let is_all = u32::try_from(claimed.len()).is_ok_and(|claimed| claimed < room);
            for claimed in claimed {
                self.hand_over(claimed);
            }
            if let Some(line) = self.0.lines.get(&key) {
                line.gauge.set_backlog(!is_all);
            }
        }
        Ok(())
    }

    /// Publishes how much waits. It is counted row by row, so not with every claim.
    ///
    /// # Errors
    /// [`StorageError`] if the outbox is out of reach.
    pub async fn publish_depth(&self) -> Result<(), StorageError> {
        let office = &self.0.office;
        let depth = office.storage.outbox().depth().await?;
        let age = depth.oldest.map_or(0.0, |oldest| office.clock.now().since(oldest).as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "an outbox of 2^52 rows does not fit any disk")]
        metrics::gauge!(telemetry::OUTBOX_DEPTH).set(depth.waiting as f64);
        metrics::gauge!(telemetry::OUTBOX_OLDEST_SECONDS).set(age);
        Ok(())
    }

    /// Puts a message into its line. Without a place it waits for its lease to end: nothing is lost.
    fn hand_over(&self, claimed: Claimed) {
        let key = (claimed.message.tenant, claimed.message.channel());
        let Some(line) = self.line(key) else { return };
        let Some(post) = line.gauge.admit(claimed, self.0.office.under_way.token()) else { return };
        // A line that has just ended hands it back; another one takes it.
        if let Err(ractor::MessagingErr::SendErr(Mail::Post(post))) = line.actor.cast(Mail::Post(post)) {
            self.0.forget(key, &line.actor);
            if let Some(line) = self.line(key) {
                let _its_lease_will_end = line.actor.cast(Mail::Post(post));
            }
        }
    }

    fn line(&self, key: Key) -> Option<Begun> {
        let known = self.0.lines.get(&key).map(|line| line.clone());
        known.or_else(|| self.start(key))
    }

    fn start(&self, key: Key) -> Option<Begun> {
        match self.0.lines.entry(key) {
            Entry::Occupied(line) => Some(line.get().clone()),
            Entry::Vacant(vacant) => {
                let gauge = Arc::default();
                match line::start(Arc::clone(&self.0), key, Arc::clone(&gauge), self.0.supervisor.clone()) {
                    Ok(actor) => Some(vacant.insert(Begun { actor, gauge }).clone()),
                    Err(error) => {
                        tracing::error!(%error, "a line of messages could not be started");
                        None
                    }
                }
            }
        }
    }
}

impl Inner {
    fn forget(&self, key: Key, actor: &ActorRef<Mail>) {
        self.lines.remove_if(&key, |_, line| line.actor.get_id() == actor.get_id());
    }
}
