//! Redis as it is run: badly set up, away, back again, replicated, in a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use guichet::clock::Clock;
use guichet::domain::ids::{AccountId, AttemptId, OperationId, SessionId, TenantId};
use guichet::domain::lockout::{Admission, Lane, Reserve};
use guichet::entropy::Entropy;
use guichet::ephemeral::redis::{RedisSettings, RedisStore};
use guichet::ephemeral::{AttemptSubject, EphemeralError, EphemeralStore, Reservation, Revocation};
use tokio::time::{Instant, sleep, timeout};

use super::{LEASE, policy, seed};
use crate::harness::redis::{OwnRedis, settings};

/// As short as in production.
fn impatient(url: &str) -> RedisSettings {
    RedisSettings {
        response_timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_millis(500),
        ..settings(url, "outage")
    }
}

#[tokio::test]
async fn a_redis_that_may_evict_is_refused_at_start_up() {
    let evicting = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"];
    let (Some(bad), Some(good)) = (OwnRedis::start(&evicting).await, OwnRedis::start(&[]).await) else { return };
    let connect = |url: String| RedisStore::connect(settings(&url, "check"), Clock::system(), Entropy::system());

    let refusal = connect(bad.url()).await.unwrap().check().await.unwrap_err();

    assert!(matches!(&refusal, EphemeralError::Misconfigured(why) if why.contains("noeviction")), "{refusal}");
    connect(good.url()).await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn connecting_to_nothing_fails_within_the_time_for_connecting() {
    let began = Instant::now();

    let refusal =
        RedisStore::connect(impatient("redis://127.0.0.1:1/"), Clock::system(), Entropy::system()).await.err();

    assert!(matches!(refusal, Some(EphemeralError::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_is_unavailable_at_once_and_back_within_two_seconds() {
    let Some(mut own) = OwnRedis::start(&[]).await else { return };
    let store = RedisStore::connect(impatient(&own.url()), Clock::system(), Entropy::system()).await.unwrap();
    let (tenant, account) = (TenantId::random([1; 16]), AccountId::random([2; 16]));
    let subject = AttemptSubject::Account(account);
    let ask = Reserve {
        operation: OperationId::random([3; 16]),
        attempt: AttemptId::random([4; 16]),
        lane: Lane::Strangers,
        lease: LEASE,
    };
    let policy = policy();
    let reserve = || store.reserve_attempt(tenant, subject, &policy, &ask);
    seed(&store, tenant, AttemptSubject::Account(account), 0, &BTreeMap::new()).await;
    assert_eq!(reserve().await.unwrap(), Reservation::Decided(Admission::Admitted));

    own.kill();
    for _ in 0..5 {
        let began = Instant::now();
        assert!(matches!(reserve().await, Err(EphemeralError::Unavailable(_))));
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    }

    own.restart().await;
    let began = Instant::now();
    while let Err(error) = reserve().await {
        assert!(began.elapsed() < Duration::from_secs(2), "{error}");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(reserve().await.unwrap(), Reservation::Cold);
    let mut heard = store.subscribe();
    let session = SessionId::random([5; 16]);
    let revocation = Revocation { tenant, session, until: Clock::system().now() + Duration::from_mins(1) };
    let hearing = async {
        loop {
            store.revoke(revocation).await.unwrap();
            if timeout(Duration::from_millis(50), heard.recv()).await.is_ok() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(2), hearing).await.unwrap();
}

/// The calls time out and their repeats too; Redis runs them all when it wakes.
#[tokio::test]
async fn a_frozen_redis_hangs_nobody_and_what_it_runs_late_counts_once() {
    let Some(own) = OwnRedis::start(&[]).await else { return };
    let store = RedisStore::connect(impatient(&own.url()), Clock::system(), Entropy::system()).await.unwrap();
    let (tenant, subject) = (TenantId::random([1; 16]), AttemptSubject::Shadow(1));
    let ask = |n: u8| Reserve {
        operation: OperationId::random([n; 16]),
        attempt: AttemptId::random([n; 16]),
        lane: Lane::Strangers,
        lease: LEASE,
    };
    seed(&store, tenant, subject, 0, &BTreeMap::new()).await;

    own.signal("STOP");
    for n in 1..=4 {
        let began = Instant::now();
        let lost = store.reserve_attempt(tenant, subject, &policy(), &ask(n)).await;
        assert!(matches!(lost, Err(EphemeralError::Unavailable(_))));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    own.signal("CONT");

    let admitted = Reservation::Decided(Admission::Admitted);
    let began = Instant::now();
    loop {
        match store.reserve_attempt(tenant, subject, &policy(), &ask(1)).await {
            Ok(reservation) => break assert_eq!(reservation, admitted),
            Err(error) => assert!(began.elapsed() < Duration::from_secs(2), "{error}"),
        }
    }
    for n in 1..=5 {
        assert_eq!(store.reserve_attempt(tenant, subject, &policy(), &ask(n)).await.unwrap(), admitted, "{n}");
    }
    let busy = store.reserve_attempt(tenant, subject, &policy(), &ask(6)).await.unwrap();
    assert_eq!(busy, Reservation::Decided(Admission::Busy));
}

#[tokio::test]
async fn an_attempt_counts_only_when_the_replicas_asked_for_have_it() {
    let Some(primary) = OwnRedis::start(&[]).await else { return };
    let careless = settings(&primary.url(), "replicas");
    let careful = RedisSettings { wait_replicas: 1, ..careless.clone() };
    let (tenant, subject) = (TenantId::random([1; 16]), AttemptSubject::Shadow(1));
    let store = RedisStore::connect(careless, Clock::system(), Entropy::system()).await.unwrap();
    seed(&store, tenant, subject, 0, &BTreeMap::new()).await;
    let store = RedisStore::connect(careful, Clock::system(), Entropy::system()).await.unwrap();
    store.ping().await.unwrap();
    let ask = Reserve {
        operation: OperationId::random([3; 16]),
        attempt: AttemptId::random([4; 16]),
        lane: Lane::Strangers,
        lease: LEASE,
    };

    let alone = store.reserve_attempt(tenant, subject, &policy(), &ask).await;
    assert!(matches!(alone, Err(EphemeralError::Unavailable(_))));

    let _replica = OwnRedis::start(&["--replicaof", "127.0.0.1", primary.port(), "--repl-diskless-sync-delay", "0"])
        .await
        .unwrap();
    let began = Instant::now();
    let reservation = loop {
        match store.reserve_attempt(tenant, subject, &policy(), &ask).await {
            Ok(reservation) => break reservation,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    // The first call had run, so this is its own verdict, now safe.
    assert_eq!(reservation, Reservation::Decided(Admission::Admitted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_script_stays_in_one_slot_of_a_cluster() {
    let Some(own) = OwnRedis::start(&["--cluster-enabled", "yes"]).await else { return };
    own.take_every_slot().await;
    let clustered = RedisSettings { cluster: true, ..settings(&own.url(), "cluster") };
    let store = RedisStore::connect(clustered, Clock::system(), Entropy::system()).await.unwrap();
    let (tenant, account) = (TenantId::random([1; 16]), AccountId::random([2; 16]));
    let mut heard = store.subscribe();

    store.check().await.unwrap();
    seed(&store, tenant, AttemptSubject::Account(account), 0, &BTreeMap::new()).await;
    let ask = Reserve {
        operation: OperationId::random([3; 16]),
        attempt: AttemptId::random([4; 16]),
        lane: Lane::Strangers,
        lease: LEASE,
    };
    let reservation = store.reserve_attempt(tenant, AttemptSubject::Account(account), &policy(), &ask).await.unwrap();
    assert_eq!(reservation, Reservation::Decided(Admission::Admitted));
    let until = Clock::system().now() + Duration::from_mins(1);
    let revocation = Revocation { tenant, session: SessionId::random([5; 16]), until };
    store.revoke(revocation).await.unwrap();
    assert_eq!(timeout(Duration::from_secs(1), heard.recv()).await.unwrap().unwrap(), revocation);
}
