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
//! An actor that is asked to leave closes its own mailbox with `drain`, which atomically hands every
//! later message back to its sender; the sender waits for the old actor's end before it starts a new
//! one. So no message is lost, none is handled twice, and two generations never overlap (the
//! stress test in `tests/it/actors` fires a million messages at it). Actors keep nothing
//! unwritten, so letting one go stores nothing.
//!
//! The idle ones are asked by [`Directory::passivate`], from time to time and for all: a timer of its own
//! would cost each actor half a kilobyte. At the cap the longest idle actor is let go and nobody is
//! refused. Shadows (stand-ins for unknown identifiers) are few and fixed, and do not count.

use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// How long an actor stays after it was last handed something.
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
    recency: Mutex<Recency>,
    supervisors: Vec<ActorCell>,
    resident: R,
    bounds: Bounds,
}

struct Slot<R: Resident> {
    actor: ActorRef<Mail<R::Command>>,
    waiting: Arc<AtomicU32>,
}

/// When each actor was last handed something, longest ago first. Every actor's key is here; one that is
/// here without an actor costs nothing, so a poisoned lock is still good.
struct Recency {
    accounts: LruCache<AccountKey, Instant>,
    shadows: LruCache<AccountKey, Instant>,
}

impl Recency {
    fn of(&mut self, who: Who) -> &mut LruCache<AccountKey, Instant> {
        match who {
            Who::Account(_) => &mut self.accounts,
            Who::Shadow(_) => &mut self.shadows,
        }
    }

    /// Takes out whom nobody has asked for anything since `then`, at most `most` of them.
    fn take_idle(&mut self, then: Instant, most: usize) -> Vec<AccountKey> {
        let mut idle = Vec::new();
        for of_kind in [&mut self.accounts, &mut self.shadows] {
            while idle.len() < most
                && let Some((&key, _)) = of_kind.peek_lru().filter(|(_, last)| **last <= then)
            {
                of_kind.pop_lru();
                idle.push(key);
            }
        }
        idle
    }
}

impl<R: Resident> Clone for Slot<R> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

enum Mail<C> {
    Command(C, Ticket),
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
        let recency = Mutex::new(Recency { accounts: LruCache::unbounded(), shadows: LruCache::unbounded() });
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

    /// How often the idle are to be let go: a few times in the span that makes one idle.
    #[must_use]
    pub fn passivation_pause(&self) -> Duration {
        (self.0.bounds.idle / 4).clamp(Duration::from_millis(1), Duration::from_secs(5))
    }

    /// Asks every actor that was handed nothing for as long as [`Bounds::idle`] to leave.
    pub async fn passivate(&self) {
        const AT_ONCE: usize = 1_000;
        let Some(then) = Instant::now().checked_sub(self.0.bounds.idle) else { return };
        loop {
            let idle = self.0.recency().take_idle(then, AT_ONCE);
            for key in &idle {
                self.0.ask_to_leave(key);
            }
            if idle.len() < AT_ONCE {
                return;
            }
            tokio::task::yield_now().await;
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
        inner.used(key);
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

    fn recency(&self) -> MutexGuard<'_, Recency> {
        self.recency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `key` has work; at the cap, the actor idle for longest is asked to leave.
    fn used(&self, key: AccountKey) {
        let longest_idle = {
            let mut recency = self.recency();
            recency.of(key.who).put(key, Instant::now());
            let is_over = recency.accounts.len() > self.bounds.residents.get();
            if is_over { recency.accounts.pop_lru() } else { None }
        };
        if let Some((key, _)) = longest_idle {
            self.ask_to_leave(&key);
        }
    }

    fn ask_to_leave(&self, key: &AccountKey) {
        if let Some(slot) = self.slots.get(key) {
            let _already_leaving = slot.actor.cast(Mail::LeaveNow);
        }
    }

    fn forget(&self, key: AccountKey, actor: &ActorRef<Mail<R::Command>>) {
        self.slots.remove_if(&key, |_, slot| {
            let is_this = slot.actor.get_id() == actor.get_id();
            if is_this {
                // Before anybody can start the next one, who must not lose its own note.
                self.recency().of(key.who).pop(&key);
            }
            is_this
        });
    }
}

/// The actor of one account: a mailbox, and nothing to remember.
struct AccountActor<R: Resident> {
    key: AccountKey,
    directory: Arc<Inner<R>>,
}

impl<R: Resident> Actor for AccountActor<R> {
    type Msg = Mail<R::Command>;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Self::Msg>, mail: Self::Msg, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match mail {
            Mail::Command(command, _ticket) => {
                // Boxed, or every idle actor's task would have the room of the largest story: 50 KB.
                let story = AssertUnwindSafe(Box::pin(self.directory.resident.handle(self.key, command)));
                // A panic costs the request in hand (its reply port drops), not those behind it.
                if story.catch_unwind().await.is_err() {
                    tracing::error!("a request panicked in its account actor");
                }
            }
            // Closes the mailbox; what was admitted is still handled.
            Mail::LeaveNow => {
                let _already_closed = me.drain();
            }
        }
        Ok(()) // an `Err` here would end the actor; refusals travel in the reply
    }

    async fn post_stop(&self, me: ActorRef<Self::Msg>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.directory.forget(self.key, &me);
        Ok(())
    }
}
