//! Outbox rows on their way to people: one actor per tenant and channel.
//!
//! ```text
//!   story ── writes the row, leased to this node ──► Postman::dispatch ─┐
//!                                                                       ├─► sender actor of
//!   claimer ── rows whose lease ended (a node died, a retry is due) ────┘   (tenant, channel)
//!                                                                              │ render, send,
//!                                                                              ▼ settle by claim
//! ```
//!
//! Each sender has a bounded line and a few sends at once, so one tenant's dead mail server keeps
//! only that tenant waiting. What finds no room simply stays in the outbox until its lease ends.

mod render;
mod sender;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use ractor::{ActorCell, ActorRef};
use tokio_util::task::TaskTracker;

pub use self::render::{RenderError, Renderer};
use self::sender::Post;
use crate::clock::Clock;
use crate::delivery::Sender as Transport;
use crate::domain::ids::{NodeId, TenantId};
use crate::domain::message::{Channel, Message};
use crate::entropy::Entropy;
use crate::storage::{Claimed, Storage, StorageError};
use crate::telemetry;

/// Claim number of a row as it is born.
const FIRST_CLAIM: i64 = 1;

/// What all senders share.
pub struct Office {
    /// The outbox.
    pub storage: Storage,
    /// From facts to words.
    pub renderer: Renderer,
    /// How mail leaves.
    pub email: Arc<dyn Transport>,
    /// How text messages leave.
    pub sms: Arc<dyn Transport>,
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
    /// The sends under way, to be waited for at the end.
    pub under_way: TaskTracker,
}

/// Takes messages to their senders; never waits. Clones share the senders.
#[derive(Clone)]
pub struct Postman(Arc<Inner>);

struct Inner {
    office: Arc<Office>,
    senders: DashMap<(TenantId, Channel), ActorRef<Post>>,
    supervisor: ActorCell,
}

impl Postman {
    /// No senders yet; each starts with its first message.
    #[must_use]
    pub fn new(office: Arc<Office>, supervisor: ActorCell) -> Self {
        Self(Arc::new(Inner { office, senders: DashMap::new(), supervisor }))
    }

    /// Sends a message whose row this node has just written.
    pub fn dispatch(&self, message: Message) {
        self.hand_over(Claimed { message, claim: FIRST_CLAIM, attempts: 0 });
    }

    /// Whether anything can leave over a channel at all.
    #[must_use]
    pub fn can_send(&self, channel: Channel) -> bool {
        match channel {
            Channel::Email => self.0.office.email.is_set_up(),
            Channel::Sms => self.0.office.sms.is_set_up(),
        }
    }

    /// Sends messages whose rows this node has just written.
    pub fn dispatch_all(&self, messages: Vec<Message>) {
        for message in messages {
            self.dispatch(message);
        }
    }

    /// Waits for the sends under way; what is cut off at the deadline is another node's to repeat.
    pub async fn drain(&self, deadline: Duration) {
        let under_way = &self.0.office.under_way;
        under_way.close();
        let _in_time = tokio::time::timeout(deadline, under_way.wait()).await;
    }

    fn hand_over(&self, claimed: Claimed) {
        let key = (claimed.message.tenant, claimed.message.channel());
        let found = self.0.senders.get(&key).map(|sender| sender.clone());
        let sender = found.or_else(|| self.start(key));
        // Without a sender the row waits for its lease to end: nothing is lost.
        if let Some(sender) = sender
            && sender.cast(Post { claimed, taken: Instant::now() }).is_err()
        {
            self.0.senders.remove_if(&key, |_, known| known.get_id() == sender.get_id());
        }
    }

    fn start(&self, key: (TenantId, Channel)) -> Option<ActorRef<Post>> {
        let made = self
            .0
            .senders
            .entry(key)
            .or_try_insert_with(|| sender::start(Arc::clone(&self.0.office), key.1, self.0.supervisor.clone()));
        match made {
            Ok(sender) => Some(sender.clone()),
            Err(error) => {
                tracing::error!(%error, "a sender could not be started");
                None
            }
        }
    }

    /// Takes over rows whose lease has ended, and publishes how much waits.
    ///
    /// # Errors
    /// [`StorageError`] if the outbox is out of reach.
    pub async fn claim(&self, batch: u32) -> Result<(), StorageError> {
        let office = &self.0.office;
        let (outbox, now) = (office.storage.outbox(), office.clock.now());
        for claimed in outbox.claim(office.node, batch, office.lease, now).await? {
            self.hand_over(claimed);
        }
        outbox.expire(now).await?;
        let depth = outbox.depth().await?;
        let age = depth.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "an outbox of 2^52 rows does not fit any disk")]
        metrics::gauge!(telemetry::OUTBOX_DEPTH).set(depth.waiting as f64);
        metrics::gauge!(telemetry::OUTBOX_OLDEST_SECONDS).set(age);
        Ok(())
    }
}
