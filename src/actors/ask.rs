//! The one way to call an actor: admitted or refused at once, answered or given up by a deadline.
//!
//! ractor's own `call!` waits for ever and its mailboxes have no bound. Here the mailbox admits
//! before it takes ([`super::directory`]), the wait ends, and the death of the actor shows as an
//! error of this one request. Refusals that belong to the protocol (wrong password, locked) are
//! outcomes inside the reply, never errors.

use std::future::Future;
use std::time::Duration;

use tokio::sync::oneshot;

/// Where an actor puts its answer. Closed when nobody waits any more.
pub type ReplyPort<T> = oneshot::Sender<T>;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many requests already wait for this account: try again shortly.
    #[error("the account has too many requests waiting")]
    Busy,
    /// No answer by the deadline; what was asked may still happen.
    #[error("no answer in time")]
    TimedOut,
    /// The actor died on this request; the next one finds a fresh actor.
    #[error("the actor died on this request")]
    Crashed,
}

/// Sends with `deliver` and waits at most `deadline` for the answer, delivery included.
///
/// # Errors
/// [`AskError`], each variant a different thing for the caller to do.
pub async fn ask<T, F>(deadline: Duration, deliver: impl FnOnce(ReplyPort<T>) -> F) -> Result<T, AskError>
where
    F: Future<Output = Result<(), AskError>>,
{
    let (reply, answer) = oneshot::channel();
    let exchange = async {
        deliver(reply).await?;
        answer.await.map_err(|_| AskError::Crashed)
    };
    tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(AskError::TimedOut))
}
