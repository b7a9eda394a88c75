//! Finds or starts the actor of an account, bounds what waits for it, and lets it go when idle.
//!
//! ```text
//!   deliver(key, command)
//!     │ 1. slot: the living actor of this key, or a new one under its supervisor
//!     │ 2. ticket: one place of the mailbox's bound, or Busy
//!     │ 3. cast ──ok──► the actor handles it, the ticket drops
//!     └──── refused (the actor is draining): wait for its end, forget it, start again at 1
//! ```
//!
//! An idle actor closes its own mailbox with `drain`, which atomically hands every later message
//! back to its sender; the sender waits for the old actor's end before it starts a new one. So
//! no message is lost, none is handled twice, and two generations never overlap (the
//! stress test in `tests/it/actors` fires a million messages at it). Actors keep nothing
//! unwritten, so letting one go stores nothing.
//!
//! At the cap the longest idle actor is let go and nobody is refused. Shadows (stand-ins for
//! unknown identifiers) are few and fixed, and do not count.

use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt as _;
use lru::LruCache;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorRuntime, MessagingErr};

use super::ask::AskError;
use crate::domain::ids::{AccountId, TenantId};

/// How many shadow actors stand in for unknown identifiers.
pub const SHADOWS: u32 = 1_024;

/// Whom an actor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountKey {
    /// In which tenant.
    pub tenant: TenantId,
    /// A real account or a stand-in.
    pub who: Who,
}

/// A real account, or one of the fixed stand-ins chosen by keyed hash of an unknown identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// An account in storage.
    Account(AccountId),
    /// One of [`SHADOWS`].
    Shadow(u32),
}

impl AccountKey {
    const fn counts(&self) -> bool {
        matches!(self.who, Who::Account(_))
    }
}

/// What an actor does with a command; the same object serves all actors, which have no state.
pub trait Resident: Send + Sync + 'static {
    /// One request with its reply port.
    type Command: Send + 'static;

    /// Handles one command to its end. Commands of one key never overlap.
    fn handle(&self, key: AccountKey, command: Self::Command) -> impl Future<Output = ()> + Send;
}

/// The bounds of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests that may wait for one actor, the one in hand included.
    pub mailbox: u32,
    /// Actors that may be resident at once, shadows apart.
    pub residents: NonZeroUsize,
    /// How long an actor stays without work.
    pub idle: Duration,
}

/// The living actors by key. Clones share it.
pub struct Directory<R: Resident>(Arc<Inner<R>>);

impl<R: Resident> Clone for Directory<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<R: Resident> {
    slots: DashMap<AccountKey, Slot<R>>,
    /// Least recently used first. Only its order matters, so a poisoned lock is still good.
    recency: Mutex<LruCache<AccountKey, ()>>,
    supervisors: Vec<ActorCell>,
    resident: R,
    bounds: Bounds,
}

struct Slot<R: Resident> {
    actor: ActorRef<Mail<R::Command>>,
    waiting: Arc<AtomicU32>,
}

impl<R: Resident> Clone for Slot<R> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

enum Mail<C> {
    Command(C, Ticket),
    IdleCheck,
    LeaveNow,
}

/// One place in a mailbox. It rides in the message and is free again when the message is handled
/// or dropped, for whatever reason.
struct Ticket(Arc<AtomicU32>);

impl Ticket {
    fn take(waiting: &Arc<AtomicU32>, bound: u32) -> Option<Self> {
        let ticket = Self(Arc::clone(waiting));
        (waiting.fetch_add(1, Ordering::Relaxed) < bound).then_some(ticket)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<R: Resident> Directory<R> {
    /// An empty directory whose actors are linked to `supervisors` by key hash.
    #[must_use]
    pub fn new(resident: R, bounds: Bounds, supervisors: Vec<ActorCell>) -> Self {
        let recency = Mutex::new(LruCache::unbounded());
        Self(Arc::new(Inner { slots: DashMap::new(), recency, supervisors, resident, bounds }))
    }

    /// How many actors live now, shadows included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.slots.len()
    }

    /// Whether no actor lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.slots.is_empty()
    }

    /// Hands a command to the actor of `key`, starting it if need be.
    ///
    /// # Errors
    /// [`AskError::Busy`] if its mailbox is full; the command is dropped then.
    pub async fn deliver(&self, key: AccountKey, mut command: R::Command) -> Result<(), AskError> {
        loop {
            let slot = self.slot(key)?;
            let ticket = Ticket::take(&slot.waiting, self.0.bounds.mailbox).ok_or(AskError::Busy)?;
            match slot.actor.cast(Mail::Command(command, ticket)) {
                Ok(()) => return Ok(()),
                Err(MessagingErr::SendErr(Mail::Command(back, _ticket))) => {
                    command = back;
                    // Without this wait the next generation would begin before this one ended.
                    let _ended = slot.actor.wait(None).await;
                    self.0.forget(key, &slot.actor);
                }
                Err(_) => return Err(AskError::Crashed),
            }
        }
    }

    /// Asks every actor to finish what it has and waits until all are gone or `deadline` is over.
    pub async fn drain(&self, deadline: Duration) {
        let actors: Vec<_> = self.0.slots.iter().map(|slot| slot.actor.clone()).collect();
        let all_gone = async {
            for actor in actors {
                let _closed = actor.cast(Mail::LeaveNow);
                let _ended = actor.wait(None).await;
            }
        };
        let _in_time = tokio::time::timeout(deadline, all_gone).await;
    }

    fn slot(&self, key: AccountKey) -> Result<Slot<R>, AskError> {
        let inner = &self.0;
        let known = inner.slots.get(&key).map(|slot| slot.clone());
        let slot = match known {
            Some(slot) => slot,
            None => match inner.slots.entry(key) {
                Entry::Occupied(slot) => slot.get().clone(),
                Entry::Vacant(vacant) => vacant.insert(self.start(key)?).clone(),
            },
        };
        if key.counts() {
            inner.used(key);
        }
        Ok(slot)
    }

    /// Starts an actor; synchronous, so that it may happen under the map's shard lock.
    fn start(&self, key: AccountKey) -> Result<Slot<R>, AskError> {
        let supervisor = self.0.supervisor_of(&key).ok_or(AskError::Crashed)?;
        let account = AccountActor { key, directory: Arc::clone(&self.0) };
        let (actor, _started) =
            ActorRuntime::spawn_linked_instant(None, account, (), supervisor).map_err(|_| AskError::Crashed)?;
        Ok(Slot { actor, waiting: Arc::default() })
    }
}

impl<R: Resident> Inner<R> {
    fn supervisor_of(&self, key: &AccountKey) -> Option<ActorCell> {
        use std::hash::BuildHasher as _;
        let hash = usize::try_from(self.slots.hasher().hash_one(key) >> 32).unwrap_or(0);
        self.supervisors.get(hash.checked_rem(self.supervisors.len())?).cloned()
    }

    /// Notes that `key` has work; at the cap, the actor idle for longest is asked to leave.
    fn used(&self, key: AccountKey) {
        let longest_idle = {
            let mut recency = self.recency.lock().unwrap_or_else(PoisonError::into_inner);
            recency.put(key, ());
            if recency.len() > self.bounds.residents.get() { recency.pop_lru() } else { None }
        };
        if let Some((key, ())) = longest_idle
            && let Some(slot) = self.slots.get(&key)
        {
            let _already_leaving = slot.actor.cast(Mail::LeaveNow);
        }
    }

    fn forget(&self, key: AccountKey, actor: &ActorRef<Mail<R::Command>>) {
        let gone = self.slots.remove_if(&key, |_, slot| slot.actor.get_id() == actor.get_id());
        if gone.is_some() && key.counts() {
            self.recency.lock().unwrap_or_else(PoisonError::into_inner).pop(&key);
        }
    }
}

/// The actor of one account: a mailbox, an idle timer, and nothing to remember.
struct AccountActor<R: Resident> {
    key: AccountKey,
    directory: Arc<Inner<R>>,
}

impl<R: Resident> Actor for AccountActor<R> {
    type Msg = Mail<R::Command>;
    type State = Instant;
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Self::Msg>, (): ()) -> Result<Instant, ActorProcessingErr> {
        me.send_after(self.directory.bounds.idle, || Mail::IdleCheck);
        Ok(Instant::now())
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        mail: Self::Msg,
        last: &mut Instant,
    ) -> Result<(), ActorProcessingErr> {
        match mail {
            Mail::Command(command, _ticket) => {
                // Boxed, or every idle actor's task would have the room of the largest story: 50 KB.
                let story = AssertUnwindSafe(Box::pin(self.directory.resident.handle(self.key, command)));
                // A panic costs the request in hand (its reply port drops), not those behind it.
                if story.catch_unwind().await.is_err() {
                    tracing::error!("a request panicked in its account actor");
                }
                *last = Instant::now();
            }
            Mail::IdleCheck => match self.directory.bounds.idle.checked_sub(last.elapsed()) {
                Some(left) if !left.is_zero() => {
                    me.send_after(left, || Mail::IdleCheck);
                }
                _ => leave(&me),
            },
            Mail::LeaveNow => leave(&me),
        }
        Ok(()) // an `Err` here would end the actor; refusals travel in the reply
    }

    async fn post_stop(&self, me: ActorRef<Self::Msg>, _: &mut Instant) -> Result<(), ActorProcessingErr> {
        self.directory.forget(self.key, &me);
        Ok(())
    }
}

/// Closes the mailbox; what was admitted is still handled.
fn leave<M: Send + 'static>(me: &ActorRef<M>) {
    let _already_closed = me.drain();
}
