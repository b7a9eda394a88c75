//! The supervision tree, and the rules every actor here keeps.
//!
//! ```text
//!   root
//!    ├── accounts-0 … accounts-15   a small fixed set by key hash: one alone halves throughput
//!    │     └── one actor per active account        and pins the memory of the dead
//!    ├── senders ── one actor per (tenant, channel) with messages to send
//!    └── services ── tickers: outbox claims, tenant snapshots, lock expiry, sweeping
//! ```
//!
//! A supervisor here outlives its children: ractor's default, to stop when any child ends, would
//! take every other account down with one. Children hold nothing unwritten, so nothing is
//! restarted eagerly: the next message starts a fresh actor from the store.

use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

/// An actor that only watches others end.
struct Supervisor;

/// Supervisors take no messages.
pub enum Never {}

impl Actor for Supervisor {
    type Msg = Never;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Never>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(actor, _) = event {
            // Not the error itself: a panic's text may hold what a person typed.
            tracing::error!(actor.id = %actor.get_id(), "an actor failed; the next message starts a fresh one");
        }
        Ok(())
    }
}

/// The running tree: whom each kind of actor is linked to.
#[derive(Clone)]
pub struct Tree {
    root: ActorRef<Never>,
    /// For account actors, chosen by key hash.
    pub accounts: Vec<ActorCell>,
    /// For sender actors.
    pub senders: ActorCell,
    /// For services.
    pub services: ActorCell,
}

impl Tree {
    /// Starts the supervisors.
    ///
    /// # Errors
    /// If ractor cannot spawn, which it does only outside a tokio runtime.
    pub async fn start(account_supervisors: usize) -> Result<Self, SpawnErr> {
        let (root, _) = Actor::spawn(None, Supervisor, ()).await?;
        let mut accounts = Vec::with_capacity(account_supervisors);
        for _ in 0..account_supervisors.max(1) {
            accounts.push(child(&root).await?);
        }
        let senders = child(&root).await?;
        let services = child(&root).await?;
        Ok(Self { root, accounts, senders, services })
    }

    /// Ends the services once their rounds under way are over, waiting at most `patience`.
    pub async fn stop_services(&self, patience: Duration) {
        self.services.stop_children_and_wait(None, Some(patience)).await;
    }

    /// Ends every actor that is still there.
    pub async fn stop(&self) {
        let cells = self.accounts.iter().chain([&self.senders, &self.services]);
        for supervisor in cells {
            supervisor.stop_children(None);
            supervisor.stop(None);
        }
        let _already_gone = self.root.stop_and_wait(None, None).await;
    }
}

async fn child(root: &ActorRef<Never>) -> Result<ActorCell, SpawnErr> {
    let (supervisor, _) = Actor::spawn_linked(None, Supervisor, (), root.get_cell()).await?;
    Ok(supervisor.get_cell())
}
