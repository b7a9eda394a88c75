//! Failures at random under load: each costs its own request, and nobody waits past a deadline.

use std::time::{Duration, Instant};

use guichet::actors::ask::{AskError, ReplyPort, ask};
use guichet::actors::directory::{AccountKey, Resident};

use super::{account, bounds, directory};

const DEADLINE: Duration = Duration::from_secs(20);

/// Answers with the number it is given; fails on some.
struct Fragile;

struct Ask {
    number: u32,
    reply: ReplyPort<u32>,
}

fn fails(number: u32) -> bool {
    number.wrapping_mul(2_654_435_761) >> 29 == 0
}

impl Resident for Fragile {
    type Command = Ask;

    async fn handle(&self, _: AccountKey, Ask { number, reply }: Ask) {
        if number.is_multiple_of(3) {
            tokio::task::yield_now().await;
        }
        assert!(!fails(number), "one in eight");
        let _nobody_waits = reply.send(number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_at_random_cost_their_own_request_and_keep_nobody_waiting() {
    let (accounts, tree) = directory(Fragile, bounds(1_000, 50, Duration::from_millis(2))).await;
    // The text of 2,500 panics says nothing.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(|text| text.contains("one in eight")) {
            hook(panic);
        }
    }));
    let begun = Instant::now();

    let mut asked = tokio::task::JoinSet::new();
    for task in 0..40 {
        let accounts = accounts.clone();
        asked.spawn(async move {
            for n in 0..500 {
                let number = task * 500 + n;
                let key = account(number % 97);
                let answer = ask(DEADLINE, |reply| accounts.deliver(key, Ask { number, reply })).await;
                assert_eq!(answer, if fails(number) { Err(AskError::Crashed) } else { Ok(number) });
            }
        });
    }
    asked.join_all().await;

    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    tree.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_tree_refuses_and_hangs_nobody() {
    let (accounts, tree) = directory(Fragile, bounds(8, 50, Duration::from_secs(600))).await;
    ask(DEADLINE, |reply| accounts.deliver(account(1), Ask { number: 1, reply })).await.unwrap();

    tree.stop().await;

    let begun = Instant::now();
    for n in 0..10 {
        let answer = ask(Duration::from_secs(2), |reply| accounts.deliver(account(n), Ask { number: 1, reply })).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}
