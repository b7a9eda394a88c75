//! The hashing threads: fair between tenants, bounded, and never the end of a caller's patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use guichet::actors::ask::{AskError, ask};
use guichet::actors::hasher::{HashError, Hasher, HasherLimits, Priority};
use guichet::crypto::password_hash::{HashCost, PasswordHasher};
use guichet::domain::ids::TenantId;
use guichet::entropy::Entropy;
use guichet::secret::SecretString;

fn tenant(n: u8) -> TenantId {
    TenantId::random([n; 16])
}

fn password() -> SecretString {
    "correct horse".to_owned().into()
}

/// One thread at the real cost, so that a line forms.
fn hasher(queue: usize, max_wait: Duration) -> Hasher {
    let entropy = Entropy::system();
    let passwords = PasswordHasher::new(HashCost::new(19_456, 2, 1).unwrap(), &entropy).unwrap();
    Hasher::start(passwords, HasherLimits { threads: 1, queue, max_wait }, entropy).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_flood_costs_another_tenant_a_turn_and_not_the_flood() {
    let hasher = hasher(256, Duration::from_secs(60));
    let served = Arc::new(AtomicUsize::new(0));
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (hasher, served) = (hasher.clone(), Arc::clone(&served));
        flood.spawn(async move {
            hasher.verify(tenant(1), Priority::Stranger, password(), None).await.unwrap();
            served.fetch_add(1, Ordering::SeqCst);
        });
    }
    super::until(|| served.load(Ordering::SeqCst) > 0).await;

    for _ in 0..5 {
        let before = served.load(Ordering::SeqCst);
        hasher.verify(tenant(2), Priority::Stranger, password(), None).await.unwrap();
        let meanwhile = served.load(Ordering::SeqCst) - before;
        assert!(meanwhile <= 4, "{meanwhile} of the flood went first");
    }

    flood.abort_all();
}

/// Their callers gave up: whoever of that tenant still waits goes on where it stands.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_jobs_cost_their_tenant_no_turn() {
    let hasher = hasher(1_000, Duration::from_secs(60));
    let served = Arc::new(AtomicUsize::new(0));
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (hasher, served) = (hasher.clone(), Arc::clone(&served));
        flood.spawn(async move {
            hasher.verify(tenant(1), Priority::Stranger, password(), None).await.unwrap();
            served.fetch_add(1, Ordering::SeqCst);
        });
    }
    super::until(|| served.load(Ordering::SeqCst) > 0).await;
    for _ in 0..200 {
        let asked = hasher.verify(tenant(2), Priority::Stranger, password(), None);
        let _given_up = asked.now_or_never();
    }

    let before = served.load(Ordering::SeqCst);
    hasher.verify(tenant(2), Priority::Stranger, password(), None).await.unwrap();
    let meanwhile = served.load(Ordering::SeqCst) - before;

    assert!(meanwhile <= 4, "{meanwhile} of the flood went first");
    flood.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_sheds_at_once_and_a_long_wait_in_the_end() {
    let short = hasher(4, Duration::from_secs(60));
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let short = short.clone();
        asked.spawn(async move { short.verify(tenant(1), Priority::Stranger, password(), None).await });
    }
    let answers = asked.join_all().await;
    let shed = answers.iter().filter(|answer| **answer == Err(HashError::Shed)).count();
    assert!((1..=46).contains(&shed), "{shed} of 50 shed with 4 places");
    assert!(answers.iter().all(|answer| answer.is_ok() || *answer == Err(HashError::Shed)));

    let impatient = hasher(256, Duration::from_millis(60));
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let impatient = impatient.clone();
        asked.spawn(async move { impatient.verify(tenant(1), Priority::Stranger, password(), None).await });
    }
    let shed = asked.join_all().await.iter().filter(|answer| **answer == Err(HashError::Shed)).count();
    assert!(shed >= 25, "{shed} of 50 shed after 60 ms at some 20 ms each");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_an_answer_that_never_comes_is_told_so_at_the_deadline() {
    let mut kept = Vec::new();

    let answer = ask(Duration::from_millis(50), |reply: guichet::actors::ask::ReplyPort<()>| {
        kept.push(reply);
        async { Ok(()) }
    })
    .await;

    assert_eq!(answer, Err(AskError::TimedOut));
    assert!(kept.pop().unwrap().is_closed(), "the actor can see that nobody waits");
}
