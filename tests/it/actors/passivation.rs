//! A million messages at fifty thousand actors that leave whenever nothing is said to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use guichet::actors::ask::AskError;
use guichet::actors::directory::{AccountKey, Resident, Who};

use super::{account, bounds, directory, passivate_always, until};

const KEYS: u32 = 50_000;
const MESSAGES: u32 = 1_000_000;
const TASKS: u32 = 256;

/// Per key: the number of the next message, and whether one is in hand.
struct Ledger {
    next: Vec<AtomicU32>,
    in_hand: Vec<AtomicU32>,
    handled: AtomicU64,
    out_of_order: AtomicU64,
    overlapping: AtomicU64,
}

struct Keeper(Arc<Ledger>);

struct Numbered {
    number: u32,
}

fn index(key: AccountKey) -> usize {
    let Who::Account(id) = key.who else { panic!("only accounts here") };
    let bytes = id.uuid().into_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

impl Resident for Keeper {
    type Command = Numbered;

    async fn handle(&self, key: AccountKey, command: Numbered) {
        let (ledger, key) = (&self.0, index(key));
        if ledger.in_hand[key].fetch_add(1, Ordering::SeqCst) != 0 {
            ledger.overlapping.fetch_add(1, Ordering::Relaxed);
        }
        // Now and then a story waits, as real ones do, and the next message comes meanwhile.
        if command.number.is_multiple_of(7) {
            tokio::task::yield_now().await;
        }
        if ledger.next[key].fetch_add(1, Ordering::SeqCst) != command.number {
            ledger.out_of_order.fetch_add(1, Ordering::Relaxed);
        }
        ledger.in_hand[key].fetch_sub(1, Ordering::SeqCst);
        ledger.handled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Each key belongs to one task, which numbers what it sends; keys are visited in rounds, so that
/// most actors have had time to leave, or are just leaving, when their next message comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_million_messages_to_actors_that_keep_leaving_none_is_lost_none_is_doubled_all_are_in_order() {
    let ledger = Arc::new(Ledger {
        next: (0..KEYS).map(|_| AtomicU32::new(0)).collect(),
        in_hand: (0..KEYS).map(|_| AtomicU32::new(0)).collect(),
        handled: AtomicU64::new(0),
        out_of_order: AtomicU64::new(0),
        overlapping: AtomicU64::new(0),
    });
    let (accounts, tree) = directory(Keeper(Arc::clone(&ledger)), bounds(64, 20_000, Duration::from_millis(5))).await;
    passivate_always(&accounts, &tree).await;

    let mut senders = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let accounts = accounts.clone();
        senders.spawn(async move {
            for number in 0..MESSAGES / KEYS {
                for key in (task..KEYS).step_by(TASKS as usize) {
                    while let Err(refusal) = accounts.deliver(account(key), Numbered { number }).await {
                        assert_eq!(refusal, AskError::Busy);
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }
    senders.join_all().await;
    accounts.drain(Duration::from_secs(60)).await;

    assert_eq!(ledger.handled.load(Ordering::SeqCst), u64::from(MESSAGES));
    assert_eq!(ledger.out_of_order.load(Ordering::SeqCst), 0);
    assert_eq!(ledger.overlapping.load(Ordering::SeqCst), 0);
    assert!(ledger.next.iter().all(|next| next.load(Ordering::SeqCst) == MESSAGES / KEYS));
    until(|| accounts.is_empty()).await;
    tree.stop().await;
}
