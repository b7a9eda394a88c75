//! The actor that sends for one tenant over one channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorRuntime, SpawnErr};
use tokio::sync::Semaphore;

use super::Office;
use crate::delivery::DeliveryError;
use crate::domain::message::Channel;
use crate::storage::{Claimed, Settled};

/// Messages that may wait for one sender; what comes beyond stays in the outbox.
const LINE: usize = 256;

/// Sends under way at once.
const AT_ONCE: usize = 8;

/// First pause before a message is tried again; doubled each time, with jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A message to send, and since when its row is this node's.
pub(super) struct Post {
    pub(super) claimed: Claimed,
    pub(super) taken: Instant,
}

struct Sender {
    office: Arc<Office>,
    channel: Channel,
    waiting: Arc<AtomicUsize>,
    places: Arc<Semaphore>,
}

/// Starts a sender; synchronous, so that it may happen under the map's shard lock.
pub(super) fn start(office: Arc<Office>, channel: Channel, supervisor: ActorCell) -> Result<ActorRef<Post>, SpawnErr> {
    let sender = Sender { office, channel, waiting: Arc::default(), places: Arc::new(Semaphore::new(AT_ONCE)) };
    ActorRuntime::spawn_linked_instant(None, sender, (), supervisor).map(|(actor, _started)| actor)
}

impl Actor for Sender {
    type Msg = Post;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Post>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    /// Hands each message to a task of its own and is ready for the next, so the mailbox never
    /// holds more than what arrives between two polls; the line is counted here instead.
    async fn handle(&self, _: ActorRef<Post>, post: Post, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= LINE {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Ok(()); // its lease will end
        }
        let (office, channel) = (Arc::clone(&self.office), self.channel);
        let (waiting, places) = (Arc::clone(&self.waiting), Arc::clone(&self.places));
        self.office.under_way.spawn(async move {
            if let Ok(_place) = places.acquire().await {
                office.send(channel, &post).await;
            }
            waiting.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(())
    }
}

impl Office {
    /// Renders, sends, and writes down what became of it: within the lease, or not at all. Half of
    /// it is for waiting in line and half for the send, so that a row which another claim has taken
    /// over is never being sent twice at once.
    async fn send(&self, channel: Channel, post: &Post) {
        let (claimed, message) = (&post.claimed, &post.claimed.message);
        if post.taken.elapsed() > self.lease / 2 {
            return; // its lease will end, and whoever claims it then sends it
        }
        let now = self.clock.now();
        if message.not_after <= now {
            return; // a code is never sent past its life; the claimer marks the row as expired
        }
        let transport = match channel {
            Channel::Email => &self.email,
            Channel::Sms => &self.sms,
        };
        let outcome = match self.renderer.envelope(message, now) {
            Ok(envelope) => match tokio::time::timeout(self.lease / 2, transport.send(&envelope)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(DeliveryError::unknown("lease_ended")),
            },
            Err(error) => {
                tracing::error!(%error, template = message.content.template(), "a message cannot be rendered");
                return self.settle(claimed, Settled::Dead { reason: "render" }).await;
            }
        };
        match outcome {
            Ok(_receipt) => self.settle(claimed, Settled::Sent).await,
            Err(error) => self.after_failure(claimed, &error).await,
        }
    }

    async fn after_failure(&self, claimed: &Claimed, error: &DeliveryError) {
        let message = &claimed.message;
        tracing::warn!(
            %error,
            message.id = %message.id,
            channel = message.channel().as_str(),
            attempt = claimed.attempts + 1,
            "a message was not delivered"
        );
        // Unanswered mail is sent once more; an unanswered text might cost and confuse twice.
        let again = match error {
            DeliveryError::Refused { .. } => false,
            DeliveryError::Temporary { .. } => claimed.attempts + 1 < self.max_attempts,
            DeliveryError::Unknown { .. } => message.channel() == Channel::Email && claimed.attempts == 0,
        };
        let after = self.pause(claimed.attempts);
        let outcome = if again && self.clock.now() + after < message.not_after {
            Settled::Retry { after }
        } else {
            Settled::Dead { reason: error.reason().as_str() }
        };
        self.settle(claimed, outcome).await;
    }

    async fn settle(&self, claimed: &Claimed, outcome: Settled<'_>) {
        let (tenant, id) = (claimed.message.tenant, claimed.message.id);
        let settled = self.storage.outbox().settle(tenant, id, claimed.claim, outcome, self.clock.now()).await;
        if let Err(error) = settled {
            tracing::warn!(%error, message.id = %id, "a message's outcome could not be written");
        }
    }

    /// Doubling, capped, with up to half as much again of jitter.
    fn pause(&self, attempts: u32) -> Duration {
        let base = FIRST_PAUSE.saturating_mul(1 << attempts.min(10)).min(LONGEST_PAUSE);
        let [jitter] = self.entropy.bytes::<1>();
        base + base * u32::from(jitter) / 510
    }
}
