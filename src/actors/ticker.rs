//! A service that does one thing again and again, whatever happens to a single round.
//!
//! Outbox claims, tenant snapshots, lock expiry and sweeping all have this shape: wait, do, log
//! a failure, go on. The pause is counted from the end of a round, so a slow store is never asked
//! by two rounds at once. A round that never ends (a connection that swallows everything) is given
//! up at its deadline, or the service would be gone without anybody having seen it fail.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};

use crate::telemetry::causes;

/// What a round does; an error is logged with the service's name.
type Round = Box<dyn Fn() -> BoxFuture<'static, Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send + Sync>;

/// What a round may take; far longer than any store's own deadlines add up to.
const ROUND_DEADLINE: Duration = Duration::from_secs(30);

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
        self.run_round(ROUND_DEADLINE).await;
        me.send_after(self.pause, || Tick);
        Ok(())
    }
}

impl Ticker {
    /// Ends within the deadline, whatever the round does.
    async fn run_round(&self, deadline: Duration) {
        let guarded = AssertUnwindSafe(async { (self.round)().await }).catch_unwind();
        match tokio::time::timeout(deadline, guarded).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                let error = causes(&*error);
                tracing::warn!(service = self.name, %error, "a round failed; trying again");
            }
            Ok(Err(_)) => tracing::error!(service = self.name, "a round panicked; trying again"),
            Err(_) => tracing::warn!(service = self.name, "a round did not end in time; trying again"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ticker(round: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Ticker {
        let round: Round = Box::new(move || {
            let work = round();
            Box::pin(async move {
                work.await;
                Ok(())
            })
        });
        Ticker { name: "test", pause: Duration::ZERO, round }
    }

    #[tokio::test]
    async fn a_round_that_never_ends_is_given_up() {
        ticker(|| Box::pin(std::future::pending())).run_round(Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn a_round_that_panics_is_survived() {
        ticker(|| panic!("before its first await")).run_round(ROUND_DEADLINE).await;
        ticker(|| Box::pin(async { panic!("later") })).run_round(ROUND_DEADLINE).await;
    }
}
