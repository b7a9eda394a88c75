//! The actor of one line: a tenant's messages over one channel.
//!
//! It keeps its messages in order, has a few of them sent at once, each by a task of its own, and
//! builds its route anew when the tenant's settings have another version. It waits for nothing but
//! that, and shares nothing with other tenants' lines. While more of its messages wait in the outbox, it
//! takes them as it gets empty. Idle, it ends, and its connections with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorRuntime, SpawnErr};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::route::Route;
use super::{Inner, Postman};
use crate::domain::ids::TenantId;
use crate::domain::message::Channel;
use crate::domain::time::Timestamp;
use crate::storage::Claimed;
use crate::tenant::TenantContext;

/// Newly written messages that may wait in a line; what comes beyond stays in the outbox until its lease
/// ends. So many leave within about a lease where a provider answers in a fifth of a second.
const LONGEST: u32 = 1_024;

/// Messages a line is filled up to from the outbox, so that a new one never waits behind many.
const FILL: u32 = 16;

/// Sends under way at once.
const AT_ONCE: u32 = 8;

/// How long a line stays without work: longer than any breaker's pause, which ends with it.
const IDLE: Duration = Duration::from_secs(600);

/// Whose messages over which channel.
pub(super) type Key = (TenantId, Channel);

/// What a line is asked.
pub(super) enum Mail {
    /// Send it.
    Post(Box<Post>),
    /// A send is over.
    Done,
    /// What there was room for has been taken from the outbox.
    Filled,
    /// Is there still work?
    IdleCheck,
}

/// A message to send, with its place in the line.
pub(super) struct Post {
    pub(super) claimed: Claimed,
    _place: Place,
}

/// How full a line is and whether its senders take anything; read by those who fill it.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// Messages in the line, those being sent included.
    held: AtomicU32,
    /// Milliseconds; 0 while a sender is open.
    closed_until: AtomicI64,
    /// Whether more waited in the outbox than there was room for.
    has_backlog: AtomicBool,
}

/// One place in a line. It rides with the message and is free again when that is dropped, for
/// whatever reason; until then the process waits for it when it stops.
struct Place {
    gauge: Arc<Gauge>,
    _under_way: TaskTrackerToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gauge {
    /// A place for a message, if the line is not too long.
    pub(super) fn admit(self: &Arc<Self>, claimed: Claimed, under_way: TaskTrackerToken) -> Option<Box<Post>> {
        let place = Place { gauge: Arc::clone(self), _under_way: under_way };
        let held = self.held.fetch_add(1, Ordering::Relaxed);
        (held < LONGEST).then(|| Box::new(Post { claimed, _place: place }))
    }

    /// How many messages are worth claiming for it: none while its senders take nothing, one to try
    /// them when their pause is over.
    pub(super) fn room(&self, now: Timestamp) -> u32 {
        let held = self.held.load(Ordering::Relaxed);
        match self.closed_until.load(Ordering::Relaxed) {
            0 => FILL.saturating_sub(held),
            until if until > now.as_millis() => 0,
            _ => 1_u32.saturating_sub(held),
        }
    }

    pub(super) fn set_backlog(&self, has_backlog: bool) {
        self.has_backlog.store(has_backlog, Ordering::Relaxed);
    }

    /// Whether the line should be filled before the next round of claims: not while its senders pause.
    fn wants_more(&self) -> bool {
        let (held, closed_until) = (self.held.load(Ordering::Relaxed), self.closed_until.load(Ordering::Relaxed));
        self.has_backlog.load(Ordering::Relaxed) && held <= AT_ONCE && closed_until == 0
    }

    /// Room in a line that nobody has begun.
    pub(super) const EMPTY: u32 = FILL;

    fn follow(&self, route: &Route) {
        let until = route.closed_until().map_or(0, Timestamp::as_millis);
        self.closed_until.store(until, Ordering::Relaxed);
    }
}

pub(super) struct Line {
    key: Key,
    gauge: Arc<Gauge>,
    senders: Arc<Inner>,
}

pub(super) struct State {
    route: Option<Arc<Route>>,
    queue: VecDeque<Box<Post>>,
    under_way: u32,
    is_filling: bool,
    last: Instant,
}

/// Starts a line; synchronous, so that it may happen under the map's shard lock.
pub(super) fn start(
    senders: Arc<Inner>,
    key: Key,
    gauge: Arc<Gauge>,
    supervisor: ActorCell,
) -> Result<ActorRef<Mail>, SpawnErr> {
    ActorRuntime::spawn_linked_instant(None, Line { key, gauge, senders }, (), supervisor).map(|(actor, _)| actor)
}

impl Actor for Line {
    type Msg = Mail;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Mail>, (): ()) -> Result<State, ActorProcessingErr> {
        me.send_after(IDLE, || Mail::IdleCheck);
        Ok(State { route: None, queue: VecDeque::new(), under_way: 0, is_filling: false, last: Instant::now() })
    }

    async fn handle(&self, me: ActorRef<Mail>, mail: Mail, state: &mut State) -> Result<(), ActorProcessingErr> {
        match mail {
            Mail::Post(post) => state.queue.push_back(post),
            Mail::Done => {
                state.under_way = state.under_way.saturating_sub(1);
                // What was sent by a route of before the settings changed says nothing of the one in force.
                if let Some(route) = &state.route {
                    self.gauge.follow(route);
                }
            }
            Mail::Filled => state.is_filling = false,
            Mail::IdleCheck => {
                end_if_idle(&me, state);
                return Ok(());
            }
        }
        state.last = Instant::now();
        while state.under_way < AT_ONCE
            && let Some(post) = state.queue.pop_front()
        {
            let route = self.route(state).await;
            state.under_way += 1;
            self.send(Done(me.clone()), post, route);
        }
        // A process that stops waits for what it holds and takes no more.
        let is_stopping = self.senders.office.under_way.is_closed();
        if !state.is_filling && !is_stopping && self.gauge.wants_more() {
            state.is_filling = true;
            self.fill(me);
        }
        Ok(())
    }

    async fn post_stop(&self, me: ActorRef<Mail>, _: &mut State) -> Result<(), ActorProcessingErr> {
        self.senders.forget(self.key, &me);
        Ok(())
    }
}

impl Line {
    /// The way messages take now: the known one, or another if the settings changed.
    async fn route(&self, state: &mut State) -> Arc<Route> {
        let office = &self.senders.office;
        let tenant = office.renderer.tenants.snapshot().by_id(self.key.0).cloned();
        let version = tenant.as_ref().map(TenantContext::version);
        if let Some(known) = state.route.as_ref().filter(|route| route.version() == version) {
            return Arc::clone(known);
        }
        let (office, before, channel) = (Arc::clone(office), state.route.clone(), self.key.1);
        // Senders under TLS read the system's certificates from disk.
        let build =
            tokio::task::spawn_blocking(move || office.transports.route(tenant.as_ref(), channel, before.as_deref()));
        let route = build.await.unwrap_or_else(|_| Route::broken());
        self.gauge.follow(&route);
        Arc::clone(state.route.insert(Arc::new(route)))
    }

    fn send(&self, done: Done, post: Box<Post>, route: Arc<Route>) {
        let office = Arc::clone(&self.senders.office);
        tokio::spawn(async move {
            office.deliver(&post.claimed, &route).await;
            drop((post, done));
        });
    }

    /// Takes what there is room for from the outbox.
    fn fill(&self, me: ActorRef<Mail>) {
        let (postman, gauge, key) = (Postman(Arc::clone(&self.senders)), Arc::clone(&self.gauge), self.key);
        tokio::spawn(async move {
            if let Err(error) = postman.fill(key).await {
                tracing::warn!(%error, "a line of messages could not be filled; the next round will");
                gauge.set_backlog(false);
            }
            // The line may have been stopped.
            let _gone = me.cast(Mail::Filled);
        });
    }
}

fn end_if_idle(me: &ActorRef<Mail>, state: &State) {
    let left = IDLE.saturating_sub(state.last.elapsed());
    if state.under_way == 0 && state.queue.is_empty() && left.is_zero() {
        // What comes from now on is handed back to its sender, who starts another line.
        let _already_closed = me.drain();
    } else {
        me.send_after(left.max(Duration::from_secs(1)), || Mail::IdleCheck);
    }
}

/// Tells the line that a send is over, also if it panicked.
struct Done(ActorRef<Mail>);

impl Drop for Done {
    fn drop(&mut self) {
        // The line may have been stopped.
        let _gone = self.0.cast(Mail::Done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_filled_only_while_it_has_room_and_a_sender_that_works() {
        let now = Timestamp::from_millis(1_000);
        let gauge = Gauge::default();
        assert_eq!(gauge.room(now), FILL);

        gauge.held.store(FILL + 3, Ordering::Relaxed);
        assert_eq!(gauge.room(now), 0);

        gauge.held.store(0, Ordering::Relaxed);
        gauge.closed_until.store(2_000, Ordering::Relaxed);
        assert_eq!(gauge.room(now), 0);
        assert_eq!(gauge.room(Timestamp::from_millis(2_000)), 1, "one message finds out");
    }

    #[test]
    fn a_line_with_a_backlog_wants_more_when_it_is_nearly_empty_and_its_senders_work() {
        let gauge = Gauge::default();
        assert!(!gauge.wants_more(), "nothing waits");

        gauge.set_backlog(true);
        assert!(gauge.wants_more());

        gauge.held.store(AT_ONCE + 1, Ordering::Relaxed);
        assert!(!gauge.wants_more());

        gauge.held.store(0, Ordering::Relaxed);
        gauge.closed_until.store(2_000, Ordering::Relaxed);
        assert!(!gauge.wants_more());
    }
}
