//! Passwords, lockout and the owner's known device, under parallel fire on two nodes.

use std::sync::Arc;
use std::time::Duration;

use guichet::clock::Clock;
use guichet::domain::contact::{Contact, EmailAddress};
use guichet::domain::ids::{AttemptId, OperationId};
use guichet::domain::lockout::{Admission, Lane, Reserve};
use guichet::domain::policy::{Policy, Profile};
use guichet::entropy::Entropy;
use guichet::ephemeral::{AttemptSubject, EphemeralStore as _, Reservation};
use guichet::storage::Storage;

use super::{ALERTS, PASSWORD, Person, VERIFICATIONS, alike, log_in, number, number_becomes, registration, statuses};
use crate::harness::databases::SETTINGS;
use crate::harness::node::{Cluster, PATIENCE, POLL, Settings, at_once};
use crate::harness::redis::{self, OwnRedis};

async fn fire(cluster: &Arc<Cluster>, times: usize, email: &'static str) -> Vec<crate::harness::node::Answer> {
    at_once(times, |n| {
        let cluster = Arc::clone(cluster);
        async move { log_in(cluster.node(n), email, &format!("guess number {n}")).await }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_400_parallel_wrong_passwords_at_most_five_are_compared_and_one_mail_leaves() {
    Cluster::run(alike, |cluster| async move {
        let owner = Person::register(&cluster.nodes[0], "awa@example.com").await;
        let before = cluster.metrics(VERIFICATIONS).await;

        let answers = fire(&cluster, 400, "awa@example.com").await;

        let statuses = statuses(&answers);
        assert!(statuses.iter().all(|status| [400, 403].contains(status)), "{statuses:?}");
        assert!(statuses.iter().filter(|status| **status == 400).count() <= 4, "{statuses:?}");
        assert!(cluster.metrics(VERIFICATIONS).await - before <= 5.0);
        owner.log_in_as_a_stranger(&cluster.nodes[0], PASSWORD).await.must_be(403);
        owner.log_in_as_a_stranger(&cluster.nodes[1], PASSWORD).await.must_be(403);
        number_becomes(&cluster.database, "SELECT count(*) FROM outbox WHERE state = 'queued'", 0).await;
        assert_eq!(number(&cluster.database, ALERTS).await, 1);
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM locks").await, 1);
        assert_eq!(cluster.messages("awa@example.com").len(), 2, "the verification link and one alert");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_400_parallel_guesses_at_an_unknown_address_at_most_five_cost_a_hash_and_nobody_is_mailed() {
    Cluster::run(alike, |cluster| async move {
        let answers = fire(&cluster, 400, "nobody@example.com").await;

        let statuses = statuses(&answers);
        assert!(statuses.iter().all(|status| [400, 403].contains(status)), "{statuses:?}");
        assert!(cluster.metrics(VERIFICATIONS).await <= 5.0);
        log_in(&cluster.nodes[0], "nobody@example.com", PASSWORD).await.must_be(403);
        log_in(&cluster.nodes[1], "nobody@example.com", PASSWORD).await.must_be(403);
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM outbox").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_parallel_valid_log_ins_all_pass_and_leave_the_count_at_zero() {
    Cluster::run(alike, |cluster| async move {
        let owner = Person::register(&cluster.nodes[0], "awa@example.com").await;

        let at_home = at_once(12, |n| {
            let (cluster, owner) = (Arc::clone(&cluster), owner.clone());
            async move { owner.log_in(cluster.node(n), PASSWORD).await }
        })
        .await;
        let away = at_once(12, |n| {
            let (cluster, owner) = (Arc::clone(&cluster), owner.clone());
            async move { owner.log_in_as_a_stranger(cluster.node(n), PASSWORD).await }
        })
        .await;

        assert_eq!(statuses(&at_home), [200; 12]);
        assert_eq!(statuses(&away), [200; 12]);
        let challenges: std::collections::HashSet<_> = away.iter().map(|answer| answer.text("challenge_id")).collect();
        assert_eq!(challenges.len(), 1, "one code for all of them");
        // A counter above zero would make one of the first four the fifth.
        for n in 0..4 {
            owner.log_in_as_a_stranger(cluster.node(n), "wrong horse").await.must_be(400);
        }
        owner.log_in_as_a_stranger(&cluster.nodes[0], "wrong horse").await.must_be(403);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_device_signs_in_while_strangers_are_locked_out_and_its_success_unlocks_no_stranger() {
    Cluster::run(alike, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        owner.wrong_passwords(one, 4).await.must_be(400);

        owner.log_in(other, PASSWORD).await.must_be(200);

        owner.log_in_as_a_stranger(other, "wrong horse").await.must_be(403);
        owner.log_in(one, PASSWORD).await.must_be(200);
        owner.log_in(other, PASSWORD).await.must_be(200);
        owner.log_in_as_a_stranger(one, PASSWORD).await.must_be(403);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_parallel_registrations_of_one_address_one_is_made() {
    Cluster::run(alike, |cluster| async move {
        let answers = at_once(50, |n| {
            let cluster = Arc::clone(&cluster);
            async move { cluster.node(n).post("/api/auth/register", &registration("awa@example.com")).await }
        })
        .await;

        let mut wanted = [400; 50];
        wanted[0] = 201;
        assert_eq!(statuses(&answers), wanted);
        assert!(answers.iter().filter(|answer| answer.status == 400).all(|answer| answer.code() == "user_exists"));
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM accounts").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_unlocks_nobody_forgives_nothing_and_extends_no_lock() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    let url = redis.url();
    Cluster::run_on(&url.clone(), alike, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let locked = Person::register(one, "locked@example.com").await;
        let nearly = Person::register(other, "nearly@example.com").await;
        locked.wrong_passwords(one, 5).await.must_be(403);
        nearly.wrong_passwords(one, 4).await.must_be(400);
        let lock_ends = number(&cluster.database, "SELECT locked_until FROM locks").await;
        // The last failure is mirrored just after its answer.
        let mirrored = "SELECT count(*) FROM attempts WHERE CAST(counter ->> 'consecutive' AS INTEGER) = 4";
        number_becomes(&cluster.database, mirrored, 1).await;

        let mut link = ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        ::redis::cmd("FLUSHALL").exec_async(&mut link).await.unwrap();

        for node in [one, other, one] {
            locked.log_in_as_a_stranger(node, PASSWORD).await.must_be(403);
            locked.log_in(node, PASSWORD).await.must_be(200);
        }
        assert_eq!(number(&cluster.database, "SELECT locked_until FROM locks").await, lock_ends);
        nearly.log_in_as_a_stranger(other, "wrong horse").await.must_be(403);
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM locks").await, 2);
    })
    .await;
}

/// A third node takes places in the shared store and dies with all of them.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_died_with_their_node_are_in_storage_before_the_next_one_is_judged() {
    let Some(url) = redis::shared_url() else { return };
    let prefix = redis::fresh_prefix();
    let settings = |_, settings: Settings| settings.with("GUICHET__REDIS__KEY_PREFIX", &prefix);
    let dying = redis::store(&url, &prefix, &Clock::system()).await;
    Cluster::run(settings, |cluster| async move {
        let owner = Person::register(&cluster.nodes[0], "awa@example.com").await;
        owner.log_in_as_a_stranger(&cluster.nodes[0], "wrong horse").await.must_be(400);
        let storage = Storage::open(&cluster.database, &SETTINGS).await.unwrap();
        let tenant = storage.tenants().find_by_slug("default").await.unwrap().unwrap().id;
        let contact = Contact::Email(EmailAddress::parse("awa@example.com").unwrap());
        let account = storage.accounts().find_id(tenant, &contact).await.unwrap().unwrap();
        dying.epoch().await.unwrap();
        let policy = Policy::of(Profile::Classic).lockout;
        let entropy = Entropy::system();
        for _ in 0..4 {
            let (operation, attempt) = (OperationId::random(entropy.bytes()), AttemptId::random(entropy.bytes()));
            let ask = Reserve { operation, attempt, lane: Lane::Strangers, lease: Duration::from_millis(200) };
            let place = dying.reserve_attempt(tenant, AttemptSubject::Account(account), &policy, &ask).await.unwrap();
            assert_eq!(place, Reservation::Decided(Admission::Admitted));
        }

        // Known devices have places of their own, yet are judged after what is written down.
        let all_counted = async {
            loop {
                owner.log_in(&cluster.nodes[1], PASSWORD).await.must_be(200);
                let (_, counters) = storage.attempts().load(tenant, account).await.unwrap();
                match counters.get(&Lane::Strangers) {
                    Some(counter) if counter.consecutive == 5 => return *counter,
                    _ => tokio::time::sleep(POLL).await,
                }
            }
        };
        let counter = tokio::time::timeout(PATIENCE, all_counted).await.expect("storage is told");

        assert!(counter.lock.is_some_and(|lock| lock.lapsed));
        owner.log_in_as_a_stranger(&cluster.nodes[0], PASSWORD).await.must_be(403);
        assert_eq!(number(&cluster.database, "SELECT count(*) FROM locks").await, 1);
        assert_eq!(number(&cluster.database, ALERTS).await, 0, "nobody is mailed of a crash");
    })
    .await;
}
