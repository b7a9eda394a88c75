//! Writes audit events in batches, off the path of the request that caused them.
//!
//! What must not be lost (a lock, a password change) is written by its own story in the same
//! transaction as the fact. What comes here tells of attempts (a failed log-in), where a bounded
//! loss under overload is better than a slower answer, and where the extra write must not make a
//! known account slower than an unknown one.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::domain::event::Event;
use crate::storage::Storage;

/// Events that may wait; beyond it new ones are dropped and counted.
const WAITING: usize = 4_096;

/// Rows written at once.
const BATCH: usize = 128;

/// How long a batch gathers before it is written.
const GATHER: Duration = Duration::from_millis(50);

/// A handle to the audit log. The writer ends, with everything written, when all are dropped.
#[derive(Clone)]
pub struct Auditor(mpsc::Sender<Event>);

impl Auditor {
    /// Starts the writer.
    #[must_use]
    pub fn start(storage: Storage) -> (Self, JoinHandle<()>) {
        let (events, waiting) = mpsc::channel(WAITING);
        (Self(events), tokio::spawn(write(storage, waiting)))
    }

    /// Takes note of an event; never waits.
    pub fn record(&self, event: Event) {
        if self.0.try_send(event).is_err() {
            metrics::counter!(crate::telemetry::SHED, "reason" => "audit").increment(1);
        }
    }
}

async fn write(storage: Storage, mut waiting: mpsc::Receiver<Event>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let more = async {
            while batch.len() < BATCH {
                match waiting.recv().await {
                    Some(event) => batch.push(event),
                    None => break,
                }
            }
        };
        let _gathered = tokio::time::timeout(GATHER, more).await;
        if let Err(error) = storage.audit().record(&batch).await {
            tracing::warn!(%error, events = batch.len(), "audit events were lost");
        }
        batch.clear();
    }
}
