//! The connection: one multiplexed link to a Redis or a Redis Cluster, and what its errors mean.
//!
//! One link saturates a Redis, so there is no pool. The defaults of the connection manager let
//! callers hang nine seconds while Redis is down (six exponential retries shared by all); these
//! settings answer in tens of milliseconds and are back within one attempt of its return.
//!
//! The manager connects anew when a connection breaks. A peer that vanished without a word (its host died,
//! its address moved) breaks none for a quarter of an hour: after a few replies that never came, the link
//! is made anew beside the old one. So it is when a peer says that it may not write: after a fail-over
//! the old primary may live on as a replica, while the address already leads to the new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{Client, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep_until, timeout};

use super::RedisSettings;
use crate::ephemeral::EphemeralError;
use crate::secret::ExposeSecret;

/// Calls that may be under way at once before the next waits (within its deadline).
const IN_FLIGHT: usize = 512;

/// Replies in a row that never came, after which the link is made anew.
const SILENCE: u32 = 3;

/// The link is made anew at most once in so long: where its address leads may take a while to change.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// A connection that mends itself.
pub(super) enum Link {
    /// One Redis, or the primary behind one address.
    Single(Arc<Single>),
    /// A Redis Cluster.
    Cluster(ClusterConnection),
}

impl Link {
    /// Connects, or says within `connect_timeout` that it cannot.
    pub(super) async fn connect(settings: &RedisSettings) -> Result<Self, EphemeralError> {
        let connecting =
            async { if settings.cluster { Self::cluster(settings).await } else { Self::single(settings).await } };
        timeout(settings.connect_timeout, connecting).await.map_err(unavailable)?.map_err(meaning)
    }

    async fn single(settings: &RedisSettings) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(settings.response_timeout))
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_concurrency_limit(IN_FLIGHT)
            .set_pipeline_buffer_size(IN_FLIGHT);
        let client = Client::open(settings.url.expose_secret())?;
        let manager = ArcSwap::from_pointee(client.get_connection_manager_with_config(config.clone()).await?);
        let (patience, silence, renewing) = (settings.connect_timeout, AtomicU32::new(0), AtomicBool::new(false));
        Ok(Self::Single(Arc::new(Single { client, config, patience, manager, silence, renewing })))
    }

    async fn cluster(settings: &RedisSettings) -> Result<Self, RedisError> {
        let client = ClusterClient::builder(settings.nodes())
            .response_timeout(settings.response_timeout)
            .connection_timeout(settings.connect_timeout)
            .retries(1)
            .min_retry_wait(20)
            .max_retry_wait(200)
            .connection_concurrency_limit(IN_FLIGHT)
            .build()?;
        Ok(Self::Cluster(client.get_async_connection().await?))
    }

    /// Sends one command and reads its reply.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::Single(link) => link.query(command).await,
            Self::Cluster(link) => command.query_async(&mut link.clone()).await,
        }
    }
}

/// The link to one address.
pub(super) struct Single {
    client: Client,
    config: ConnectionManagerConfig,
    patience: Duration,
    manager: ArcSwap<ConnectionManager>,
    /// Replies in a row that never came.
    silence: AtomicU32,
    renewing: AtomicBool,
}

impl Single {
    async fn query<T: FromRedisValue>(self: &Arc<Self>, command: &Cmd) -> Result<T, RedisError> {
        let mut manager = ConnectionManager::clone(&self.manager.load());
        let reply = command.query_async(&mut manager).await;
        match &reply {
            Err(error) if error.is_timeout() => {
                if self.silence.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCE {
                    self.renew("it went silent");
                }
            }
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) => {
                self.silence.store(0, Ordering::Relaxed);
                self.renew("it is a replica");
            }
            _ => self.silence.store(0, Ordering::Relaxed),
        }
        reply
    }

    /// Connects to wherever the address leads now, unless somebody does or just did.
    fn renew(self: &Arc<Self>, why: &'static str) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, next) = (Arc::clone(self), Instant::now() + RENEWAL_PAUSE);
        tokio::spawn(async move {
            let connecting = this.client.get_connection_manager_with_config(this.config.clone());
            if let Ok(Ok(manager)) = timeout(this.patience, connecting).await {
                tracing::warn!(why, "connected to Redis anew");
                this.manager.store(Arc::new(manager));
                this.silence.store(0, Ordering::Relaxed);
            }
            sleep_until(next).await;
            this.renewing.store(false, Ordering::Release);
        });
    }
}

/// Whether the command may have been lost, or have run with its reply lost.
pub(super) fn is_lost(error: &RedisError) -> bool {
    error.is_timeout() || error.is_connection_dropped() || error.is_io_error()
}

/// What a caller can do about an error of Redis.
pub(super) fn meaning(error: RedisError) -> EphemeralError {
    match error.kind() {
        ErrorKind::AuthenticationFailed => {
            EphemeralError::Misconfigured("Redis refuses the user or password of `redis.url`".to_owned())
        }
        ErrorKind::InvalidClientConfig => {
            EphemeralError::Misconfigured("`redis.url` is not an address that Redis can be reached at".to_owned())
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            EphemeralError::Misconfigured("Redis forbids its user a command that guichet needs".to_owned())
        }
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType | ErrorKind::Server(ServerErrorKind::ResponseError) => {
            EphemeralError::Corrupt(Box::new(error))
        }
        _ => EphemeralError::Unavailable(Box::new(error)),
    }
}

/// An error that time or a restart mends.
pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> EphemeralError {
    EphemeralError::Unavailable(Box::new(error))
}
