//! The bounds of the directory: mailboxes, residents, draining.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use guichet::actors::ask::{AskError, ReplyPort, ask};
use guichet::actors::directory::{AccountKey, Directory, Resident, SHADOWS};
use tokio::sync::{Notify, Semaphore};

use super::{account, bounds, directory, shadow, until};

const LONG: Duration = Duration::from_secs(600);

/// What a test tells the resident to do.
enum Order {
    /// Answer at once.
    Echo(ReplyPort<()>),
    /// Take a permit from the gate first.
    PassTheGate(ReplyPort<()>),
    /// Panic.
    Panic(ReplyPort<()>),
}

#[derive(Clone)]
struct Obedient {
    gate: Arc<Semaphore>,
    entered: Arc<Notify>,
    handled: Arc<AtomicU32>,
}

impl Obedient {
    fn new() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), entered: Arc::default(), handled: Arc::default() }
    }
}

impl Resident for Obedient {
    type Command = Order;

    async fn handle(&self, _: AccountKey, order: Order) {
        let reply = match order {
            Order::Echo(reply) => reply,
            Order::PassTheGate(reply) => {
                self.entered.notify_one();
                self.gate.acquire().await.unwrap().forget();
                reply
            }
            Order::Panic(_reply) => panic!("as ordered"),
        };
        self.handled.fetch_add(1, Ordering::SeqCst);
        let _nobody_waits = reply.send(());
    }
}

async fn tell(
    accounts: &Directory<Obedient>,
    key: AccountKey,
    order: impl FnOnce(ReplyPort<()>) -> Order,
) -> Result<(), AskError> {
    ask(Duration::from_secs(30), |reply| accounts.deliver(key, order(reply))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_cap_the_longest_idle_actor_leaves_and_nobody_is_refused() {
    let (accounts, tree) = directory(Obedient::new(), bounds(8, 100, LONG)).await;
    let mut most = 0;

    for n in 0..5_000 {
        tell(&accounts, account(n), Order::Echo).await.unwrap();
        most = most.max(accounts.len());
    }

    until(|| accounts.len() == 100).await;
    assert!(most < 400, "{most} actors at once for a cap of 100");
    tree.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shadows_do_not_count_in_the_cap() {
    let (accounts, tree) = directory(Obedient::new(), bounds(8, 10, LONG)).await;
    for n in 0..10 {
        tell(&accounts, account(n), Order::Echo).await.unwrap();
    }

    for n in 0..SHADOWS {
        tell(&accounts, shadow(n), Order::Echo).await.unwrap();
    }

    assert_eq!(accounts.len(), 10 + SHADOWS as usize);
    tree.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_handed_nothing_for_the_idle_time_leaves_and_nobody_else() {
    for (idle, stay) in [(LONG, 20), (Duration::ZERO, 0)] {
        let (accounts, tree) = directory(Obedient::new(), bounds(8, 100, idle)).await;
        for n in 0..10 {
            tell(&accounts, account(n), Order::Echo).await.unwrap();
            tell(&accounts, shadow(n), Order::Echo).await.unwrap();
        }

        accounts.passivate().await;

        until(|| accounts.len() == stay).await;
        for n in 0..10 {
            tell(&accounts, account(n), Order::Echo).await.unwrap();
        }
        tree.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_place_in_the_mailbox_is_busy_and_the_place_comes_back() {
    let resident = Obedient::new();
    let (accounts, tree) = directory(resident.clone(), bounds(3, 10, LONG)).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (reply, answer) = tokio::sync::oneshot::channel();
        accounts.deliver(account(1), Order::PassTheGate(reply)).await.unwrap();
        answers.push(answer);
    }

    let (reply, _refused) = tokio::sync::oneshot::channel();
    assert_eq!(accounts.deliver(account(1), Order::Echo(reply)).await, Err(AskError::Busy));
    tell(&accounts, account(2), Order::Echo).await.unwrap();
    resident.gate.add_permits(10);
    for answer in answers {
        answer.await.unwrap();
    }
    tell(&accounts, account(1), Order::Echo).await.unwrap();
    tree.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_the_request_in_hand_and_none_behind_it() {
    let resident = Obedient::new();
    let (accounts, tree) = directory(resident.clone(), bounds(64, 10, LONG)).await;
    let first = tokio::spawn({
        let accounts = accounts.clone();
        async move { tell(&accounts, account(1), Order::PassTheGate).await }
    });
    resident.entered.notified().await;
    let mut behind = tokio::task::JoinSet::new();
    for n in 0..20 {
        let accounts = accounts.clone();
        let order = if n % 4 == 0 { Order::Panic } else { Order::Echo };
        behind.spawn(async move { (n % 4 == 0, tell(&accounts, account(1), order).await) });
    }

    resident.gate.add_permits(1);

    first.await.unwrap().unwrap();
    for (panics, answer) in behind.join_all().await {
        assert_eq!(answer, if panics { Err(AskError::Crashed) } else { Ok(()) });
    }
    tree.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_handles_all_that_was_admitted() {
    let resident = Obedient::new();
    let (accounts, tree) = directory(resident.clone(), bounds(64, 1_000, LONG)).await;
    let mut answers = Vec::new();
    for n in 0..2_000 {
        let (reply, answer) = tokio::sync::oneshot::channel();
        accounts.deliver(account(n % 100), Order::PassTheGate(reply)).await.unwrap();
        answers.push(answer);
    }
    let draining = tokio::spawn({
        let accounts = accounts.clone();
        async move { accounts.drain(Duration::from_secs(30)).await }
    });

    resident.gate.add_permits(2_000);
    draining.await.unwrap();

    assert_eq!(resident.handled.load(Ordering::SeqCst), 2_000);
    for answer in answers {
        answer.await.unwrap();
    }
    assert!(accounts.is_empty());
    tree.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_at_its_deadline_though_a_story_does_not() {
    let resident = Obedient::new();
    let (accounts, tree) = directory(resident.clone(), bounds(64, 10, LONG)).await;
    let (reply, _answer) = tokio::sync::oneshot::channel();
    accounts.deliver(account(1), Order::PassTheGate(reply)).await.unwrap();
    resident.entered.notified().await;

    let begun = Instant::now();
    accounts.drain(Duration::from_millis(50)).await;

    assert!(begun.elapsed() < Duration::from_secs(10));
    tree.stop().await;
}
