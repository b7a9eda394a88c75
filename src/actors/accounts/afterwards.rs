//! What a story leaves to be done once its answer has left.
//!
//! ```text
//!   actor ──answer──► client
//!     ├─► the next command, at once
//!     └─► a task of its own: the mail's row, the counter's mirror ──► drained before the postman is
//! ```
//!
//! Done in the actor's own time it would tell who has an account: the next request for the same contact
//! would wait behind it, where one for an unknown contact waits for nothing. So it may land in any
//! order, after whatever the actor did next; the stores judge, as between nodes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// Such tasks at once. Beyond them a story does its own while the next command waits: an overload may tell
/// by its time who is known, but never grows without bound.
const ROOM: usize = 4_096;

/// Does what stories leave behind. Clones share the room.
#[derive(Clone)]
pub(super) struct Afterwards {
    tasks: TaskTracker,
    room: Arc<Semaphore>,
    /// A store that never answers must not hold a place for ever.
    limit: Duration,
}

impl Afterwards {
    pub(super) fn new(limit: Duration) -> Self {
        Self { tasks: TaskTracker::new(), room: Arc::new(Semaphore::new(ROOM)), limit }
    }

    /// Sees to it that it is done.
    pub(super) async fn see_to(&self, work: BoxFuture<'static, ()>) {
        let limit = self.limit;
        let bounded = async move {
            // Whoever waits for the answer goes first, or what follows would still delay it.
            tokio::task::yield_now().await;
            if tokio::time::timeout(limit, work).await.is_err() {
                tracing::warn!("what a story left to be done was cut off: a store did not answer");
            }
        };
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(place) => {
                self.tasks.spawn(async move {
                    bounded.await;
                    drop(place);
                });
            }
            Err(_) => bounded.await,
        }
    }

    /// Waits for all of it; nobody may leave more behind by then.
    pub(super) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn nobody_waits_for_it_but_the_end() {
        let afterwards = Afterwards::new(LONG);
        let (let_go, held) = oneshot::channel::<()>();
        let (done, was_done) = oneshot::channel();

        afterwards.see_to(Box::pin(async move { done.send(held.await.is_ok()).unwrap() })).await;

        let mut finished = pin!(afterwards.finished());
        assert!(finished.as_mut().now_or_never().is_none(), "it is not done yet");
        let_go.send(()).unwrap();
        finished.await;
        assert!(was_done.now_or_never().unwrap().unwrap());
    }

    #[tokio::test]
    async fn what_finds_no_room_is_done_before_anything_else() {
        let afterwards = Afterwards { room: Arc::new(Semaphore::new(1)), ..Afterwards::new(LONG) };
        let (_let_go, held) = oneshot::channel::<()>();
        afterwards.see_to(Box::pin(held.map(drop))).await;
        let (done, was_done) = oneshot::channel();

        afterwards.see_to(Box::pin(async move { done.send(()).unwrap() })).await;

        assert_eq!(was_done.now_or_never(), Some(Ok(())));
    }
}
