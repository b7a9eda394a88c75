//! A service that does one thing again and again, whatever happens to a single round.
//!
//! Outbox claims, tenant snapshots, lock expiry and sweeping all have this shape: wait, do, log
//! a failure, go on. The pause is counted from the end of a round, so a slow store is never asked
//! by two rounds at once.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};

/// What a round does; an error is logged with the service's name.
type Round = Box<dyn Fn() -> BoxFuture<'static, Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + Sync>;

struct Ticker {
    name: &'static str,
    pause: Duration,
    round: Round,
}

/// Time for a round.
struct Tick;

impl Actor for Ticker {
    type Msg = Tick;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Tick>, (): ()) -> Result<(), ActorProcessingErr> {
        me.send_after(self.pause, || Tick);
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Tick>, _: Tick, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match AssertUnwindSafe((self.round)()).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(service = self.name, %error, "a round failed; trying again"),
            Err(_) => tracing::error!(service = self.name, "a round panicked; trying again"),
        }
        me.send_after(self.pause, || Tick);
        Ok(())
    }
}

/// Starts a service under `supervisor` that runs `round` with `pause` between the rounds.
///
/// # Errors
/// If ractor cannot spawn.
pub async fn every<F, E>(
    supervisor: &ActorCell,
    name: &'static str,
    pause: Duration,
    round: impl Fn() -> F + Send + Sync + 'static,
) -> Result<(), SpawnErr>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let round: Round = Box::new(move || {
        let work = round();
        Box::pin(async move { work.await.map_err(|error| Box::from(error) as Box<_>) })
    });
    Actor::spawn_linked(None, Ticker { name, pause, round }, (), supervisor.clone()).await?;
    Ok(())
}
