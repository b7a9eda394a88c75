//! `kill -9` of a node that is sending: every message is accounted for, no SMS comes twice.

use std::collections::BTreeSet;
use std::time::Duration;

use guichet::domain::delivery::DeliveryState;
use guichet::domain::policy::Profile;
use guichet::storage::{NewTenant, Storage, Target};
use serde_json::json;

use super::provider::{Provider, Reply};
use crate::harness::databases::{SETTINGS, TestDatabase, make_tenant, new_tenant};
use crate::harness::node::{Node, PATIENCE, POLL, Settings};
use crate::harness::redis;

/// Codes asked for; a line sends eight at once, and is filled up to sixteen by a round of claims.
const CODES: usize = 60;

/// Between two rounds of claims.
const ROUND: Duration = Duration::from_secs(10);

async fn no_code_is_lost_or_doubled(settings: Settings, database: Target) {
    let slow = |_: &_| Reply::Late(Duration::from_millis(400), 200, "{}".to_owned());
    let provider = Provider::start(slow).await;
    let settings = settings
        .with("GUICHET__DELIVERY__LEASE", "500ms")
        .with("GUICHET__DELIVERY__POLL", format!("{}s", ROUND.as_secs()))
        .with("GUICHET_OUTBOUND_ALLOW", "127.0.0.0/8");
    let storage = Storage::open(&database, &SETTINGS).await.unwrap();
    storage.migrate().await.unwrap();
    let sender = json!({
        "kind": "http", "name": "main", "url": format!("{}/send", provider.url()), "timeout": 2,
        "body": {"to": "{to}", "reference": "{reference}"},
    });
    let own = serde_json::from_value(json!({"sms": {"mode": "own", "senders": [sender]}})).unwrap();
    let tenant = NewTenant { settings: own, ..new_tenant("acme", Profile::Classic) };
    make_tenant(&storage, &tenant).await;

    let node = Node::spawn(&settings).await;
    for n in 0..CODES {
        let body = json!({"phone": format!("+2217712345{n:02}")});
        node.post("/t/acme/auth/request-code", &body).await.must_be(200);
    }
    // Some are answered, some are with the provider, some wait.
    let busy = async {
        while provider.asked().len() <= 10 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, busy).await.expect("codes leave");
    node.kill9();
    let asked_by_the_first = provider.asked().len();
    let node = Node::spawn(&settings).await;
    let goes_on = async {
        while provider.asked().len() == asked_by_the_first {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(ROUND + PATIENCE, goes_on).await.expect("the second node goes on");
    let settled = async {
        while storage.outbox().depth().await.unwrap().waiting > 0 {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(ROUND, settled).await.expect("every message is settled before another round");
    drop(node);

    let asked: Vec<_> = provider.asked().iter().map(|one| one.json()["to"].as_str().unwrap().to_owned()).collect();
    assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "no number is texted twice");
    let log = storage.deliveries().page(tenant.id, None, None, 200).await.unwrap();
    let messages: BTreeSet<_> = log.iter().map(|one| one.message).collect();
    assert_eq!(messages.len(), CODES, "every message is in the log");
    let unanswered: BTreeSet<_> =
        log.iter().filter(|one| one.state == DeliveryState::Unknown).map(|one| one.message).collect();
    let accepted = log.iter().filter(|one| one.state == DeliveryState::Accepted).count();
    assert!((1..=8).contains(&unanswered.len()), "those in hand when it died: {}", unanswered.len());
    assert_eq!(accepted + unanswered.len(), CODES);
    assert!(CODES - asked.len() <= unanswered.len(), "what was never sent says that nobody knows");
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_embedded_no_code_is_lost_or_doubled() {
    let settings = Settings::embedded();
    let database = settings.sqlite();
    no_code_is_lost_or_doubled(settings, database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_postgres_and_redis_no_code_is_lost_or_doubled() {
    let (Some(database), Some(url)) = (TestDatabase::postgres().await, redis::shared_url()) else { return };
    let settings = Settings::embedded().on(&database).with("REDIS_URL", url);
    let settings = settings.with("GUICHET__REDIS__KEY_PREFIX", redis::fresh_prefix());
    let target = database.target.clone();
    let outcome = tokio::spawn(no_code_is_lost_or_doubled(settings, target)).await;
    database.remove().await;
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure.into_panic());
    }
}
