//! Hears of revocations from other nodes and passes them on inside this one.
//!
//! A subscription of its own, renewed for as long as the store lives. A peer that vanished without
//! a word is noticed by an unanswered ping. What was published while nobody could listen is lost
//! here and found by the poll of storage.

use std::time::Duration;

use ::redis::aio::{PubSub, PubSubSink, PubSubStream};
use ::redis::{Client, RedisError};
use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use super::RedisSettings;
use super::link::{meaning, unavailable};
use crate::ephemeral::{EphemeralError, Revocation};

/// Pause before the next attempt to subscribe.
const PAUSE: Duration = Duration::from_millis(100);

/// Silence after which the peer is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(1);

/// One standing subscription.
pub(super) struct Listener {
    client: Client,
    channel: String,
    patience: Duration,
    heard: broadcast::Sender<Revocation>,
}

impl Listener {
    /// A listener on any node of `settings`: a cluster carries publications to all of them.
    pub(super) fn new(
        settings: &RedisSettings,
        channel: String,
        heard: broadcast::Sender<Revocation>,
    ) -> Result<Self, EphemeralError> {
        let address = settings.nodes().into_iter().next().unwrap_or_default();
        let client = Client::open(address).map_err(meaning)?;
        Ok(Self { client, channel, patience: settings.connect_timeout, heard })
    }

    /// The first subscription, so that a connected store misses nothing that follows.
    pub(super) async fn subscribe(&self) -> Result<PubSub, EphemeralError> {
        timeout(self.patience, self.open()).await.map_err(unavailable)?.map_err(meaning)
    }

    async fn open(&self) -> Result<PubSub, RedisError> {
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(&self.channel).await?;
        Ok(subscription)
    }

    /// Listens until dropped, subscribing again whenever the connection breaks.
    pub(super) async fn run(self, first: PubSub) {
        let mut subscription = Some(first);
        loop {
            if let Some(living) = subscription.take() {
                let (sink, stream) = living.split();
                self.listen(sink, stream).await;
                tracing::warn!("subscription to revocations broke; subscribing again");
            }
            subscription = self.subscribe().await.ok();
            if subscription.is_none() {
                sleep(PAUSE).await;
            }
        }
    }

    /// Passes on what is heard until the connection breaks.
    async fn listen(&self, mut sink: PubSubSink, mut stream: PubSubStream) {
        loop {
            match timeout(SILENCE, stream.next()).await {
                Ok(Some(message)) => self.pass_on(message.get_payload_bytes()),
                Ok(None) => return,
                Err(_) => match timeout(self.patience, sink.ping::<::redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    }

    fn pass_on(&self, notice: &[u8]) {
        match serde_json::from_slice(notice) {
            Ok(revocation) => {
                // Nobody listening is no failure.
                let _ = self.heard.send(revocation);
            }
            Err(error) => tracing::warn!(%error, "a notice of revocation cannot be read"),
        }
    }
}
