//! Tenants' own senders, told over the whole gateway: fail-over, breakers, receipts, and a neighbour's
//! dead mail server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guichet::actors::credentials::{Credentials, Place};
use guichet::crypto::digest::{Digests, MasterKey};
use guichet::crypto::seal::Sealer;
use guichet::domain::contact::{Contact, EmailAddress};
use guichet::domain::delivery::DeliveryState::{Accepted, Delivered, Skipped, Undelivered, Unknown};
use guichet::domain::ids::{MessageId, NodeId, TenantId};
use guichet::domain::locale::Locale;
use guichet::domain::message::{Channel, Content, Message};
use guichet::domain::policy::Profile;
use guichet::entropy::Entropy;
use guichet::storage::{Birth, Delivery, NewTenant, Notes, Storage};
use serde_json::{Value, json};

use super::provider::{Asked, Provider, Reply, answer};
use crate::flows::{minutes, verify_code};
use crate::harness::client::Door;
use crate::harness::databases::{make_tenant, new_tenant};
use crate::harness::gateway::{BackEnd, Gateway, MASTER_KEY, PUBLIC_URL, ROOT_KEY, on_every_back_end};

const NUMBER: &str = "+221771234567";
/// Whom the first provider refuses.
const REFUSED: &str = "+221771234568";
/// Whom the second provider refuses.
const UNLUCKY: &str = "+221771234569";
const PATIENCE: Duration = Duration::from_secs(30);

on_every_back_end!(
    a_code_refused_by_the_first_sender_leaves_through_the_second,
    an_sms_without_an_answer_is_never_sent_again,
    a_failing_sender_is_passed_by_until_it_works_again,
    a_channel_that_is_off_sends_nothing_and_does_not_say_so,
    receipts_are_believed_with_their_secret_alone,
    an_undelivered_code_goes_to_the_next_sender_once,
    a_second_sender_is_paid_for_if_the_first_may_have_charged,
    a_fail_over_beyond_the_budget_is_not_sent_and_the_log_says_so,
    twilio_is_given_its_url_and_believed_by_its_signature,
    a_neighbours_black_hole_keeps_nobody_waiting,
);

/// Waits until something is so.
macro_rules! until {
    ($what:expr, $holds:expr) => {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !$holds {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "never so: {}", $what);
    };
}

/// A tenant with these settings, in force.
async fn tenant(
    gateway: &Gateway,
    slug: &'static str,
    settings: impl FnOnce(TenantId) -> Value,
) -> (TenantId, Storage) {
    let storage = gateway.storage().await;
    let bare = new_tenant(slug, Profile::Classic);
    let settings = serde_json::from_value(settings(bare.id)).unwrap();
    let id = make_tenant(&storage, &NewTenant { settings, ..bare }).await;
    let path = gateway.url(&format!("/t/{slug}/.well-known/jwks.json"));
    let client = gateway.http([127, 0, 0, 1].into());
    until!("the tenant is known", client.get(&path).send().await.unwrap().status() == 200);
    (id, storage)
}

fn own_sms(senders: &[Value]) -> Value {
    json!({"sms": {"mode": "own", "senders": senders}})
}

fn sender(name: &str, provider: &Provider) -> Value {
    json!({
        "kind": "http", "name": name, "url": format!("{}/send", provider.url()), "timeout": 2,
        "body": {"to": "{to}", "code": "{code}", "reference": "{reference}"},
        "success": {"reference": "/id"},
    })
}

/// Takes every message; its name for it is the number.
async fn willing() -> Provider {
    Provider::start(take).await
}

fn take(asked: &Asked) -> Reply {
    answer(200, &json!({"id": asked.json()["to"]}).to_string())
}

async fn request(door: Door<'_>, number: &str) {
    door.post("/auth/request-code", &json!({"phone": number})).await.expect(200);
}

async fn log(storage: &Storage, tenant: TenantId) -> Vec<Delivery> {
    storage.deliveries().page(tenant, None, None, 200).await.unwrap()
}

/// The log once it has so many rows, oldest first.
async fn log_of(storage: &Storage, tenant: TenantId, rows: usize) -> Vec<Delivery> {
    until!("the log is that long", log(storage, tenant).await.len() >= rows);
    let mut log = log(storage, tenant).await;
    log.sort_by_key(|one| (one.at, one.number));
    log
}

async fn a_code_refused_by_the_first_sender_leaves_through_the_second(gateway: Gateway) {
    let (first, second) = (Provider::always(answer(400, "{}")).await, willing().await);
    let senders = [sender("first", &first), sender("second", &second)];
    let (id, storage) = tenant(&gateway, "acme", |_| own_sms(&senders)).await;
    let door = gateway.door("/t/acme");

    request(door, NUMBER).await;
    let log = log_of(&storage, id, 2).await;

    assert_eq!((log[0].sender.as_str(), log[1].sender.as_str()), ("first", "second"));
    assert_eq!((log[1].state, log[1].reference.as_deref()), (Accepted, Some(NUMBER)));
    assert!(!log[0].state.yields_to(Delivered), "{:?}", log[0].state);
    assert_eq!(log[0].message, log[1].message);
    assert_eq!(first.only().json(), second.only().json(), "the same code, the same name");
    let shown = format!("{log:?}");
    let code = second.only().json()["code"].as_str().unwrap().to_owned();
    assert!(!log.iter().any(|one| one.code.as_deref() == Some(&code)), "{shown}");
    verify_code(door, NUMBER, &code).await.expect(200);
}

async fn an_sms_without_an_answer_is_never_sent_again(gateway: Gateway) {
    let (first, second) = (Provider::always(Reply::Silence).await, willing().await);
    let senders = [sender("first", &first), sender("second", &second)];
    let (id, storage) = tenant(&gateway, "acme", |_| own_sms(&senders)).await;

    request(gateway.door("/t/acme"), NUMBER).await;
    let log = log_of(&storage, id, 1).await;

    assert_eq!((log.len(), log[0].state, log[0].code.as_deref()), (1, Unknown, Some("time_out")));
    assert_eq!(log[0].message_state.as_deref(), Some("dead"));
    assert_eq!(log[0].message_reason.as_deref(), Some("unanswered"));
    assert_eq!(second.asked().len(), 0);
}

async fn a_failing_sender_is_passed_by_until_it_works_again(gateway: Gateway) {
    let works = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&works);
    let script = move |asked: &Asked| if switch.load(Ordering::SeqCst) { take(asked) } else { answer(503, "{}") };
    let (first, second) = (Provider::start(script).await, willing().await);
    let senders = [sender("first", &first), sender("second", &second)];
    let (id, storage) = tenant(&gateway, "acme", |_| own_sms(&senders)).await;
    let door = gateway.door("/t/acme");
    let number = |n: usize| format!("+22177123450{n}");

    for n in 0..6 {
        request(door, &number(n)).await;
        log_of(&storage, id, 2 * (n + 1)).await;
    }
    let last = log_of(&storage, id, 12).await.split_off(10);
    assert_eq!(first.asked().len(), 5, "not the sixth time");
    assert_eq!(second.asked().len(), 6);
    assert_eq!((last[0].state, last[0].code.as_deref()), (Skipped, Some("breaker_open")));

    works.store(true, Ordering::SeqCst);
    gateway.clock.advance(Duration::from_secs(20));
    request(door, &number(7)).await;
    let last = log_of(&storage, id, 13).await.remove(12);
    assert_eq!((last.sender.as_str(), last.state), ("first", Accepted));
    assert_eq!(second.asked().len(), 6);
}

async fn a_channel_that_is_off_sends_nothing_and_does_not_say_so(gateway: Gateway) {
    let (id, storage) = tenant(&gateway, "acme", |_| json!({"sms": {"mode": "off"}})).await;

    let asked = gateway.door("/t/acme").post("/auth/request-code", &json!({"phone": NUMBER})).await;

    asked.expect(200);
    assert_eq!(log(&storage, id).await, []);
}

/// The secret URL of a tenant's sender, below the address people reach the platform under.
fn hook(id: TenantId, slug: &str, sender: &str) -> String {
    let token = Digests::new(&MasterKey::from_bytes(MASTER_KEY)).receipt_token(id, sender);
    format!("/hooks/{slug}/{sender}?token={token}")
}

async fn report(gateway: &Gateway, path: &str, reference: &str, status: &str) -> u16 {
    let client = gateway.http([127, 0, 0, 1].into());
    let body = json!({"reference": reference, "status": status});
    client.post(gateway.url(path)).json(&body).send().await.unwrap().status().as_u16()
}

async fn receipts_are_believed_with_their_secret_alone(gateway: Gateway) {
    let provider = willing().await;
    let (id, storage) = tenant(&gateway, "acme", |_| own_sms(&[sender("main", &provider)])).await;
    request(gateway.door("/t/acme"), NUMBER).await;
    log_of(&storage, id, 1).await;
    let right = hook(id, "acme", "main");

    for wrong in [
        "/hooks/acme/main".to_owned(),
        "/hooks/acme/main?token=".to_owned(),
        hook(id, "acme", "other"),
        right.replace("/main", "/other"),
        right.replace("/acme", "/strict"),
        right.replace("/acme", "/nobody"),
        format!("/t/strict{right}"),
    ] {
        assert_eq!(report(&gateway, &wrong, NUMBER, "delivered").await, 404, "{wrong}");
    }
    assert_eq!(log(&storage, id).await[0].state, Accepted);

    assert_eq!(report(&gateway, &right, "nobody's", "delivered").await, 204);
    assert_eq!(report(&gateway, &right, NUMBER, "delivered").await, 204);
    assert_eq!(report(&gateway, &right, NUMBER, "undelivered").await, 204);
    assert_eq!(log(&storage, id).await[0].state, Delivered);
    let query = format!("{right}&reference={}&status=delivered", "%2B221771234567");
    let client = gateway.http([127, 0, 0, 1].into());
    assert_eq!(client.get(gateway.url(&query)).send().await.unwrap().status(), 204);
}

async fn an_undelivered_code_goes_to_the_next_sender_once(gateway: Gateway) {
    let (first, second) = (willing().await, willing().await);
    let senders = [sender("first", &first), sender("second", &second)];
    let (id, storage) = tenant(&gateway, "acme", |_| own_sms(&senders)).await;
    request(gateway.door("/t/acme"), NUMBER).await;
    log_of(&storage, id, 1).await;

    for _ in 0..3 {
        assert_eq!(report(&gateway, &hook(id, "acme", "first"), NUMBER, "undelivered").await, 204);
    }
    let log = log_of(&storage, id, 2).await;
    assert_eq!((log[0].state, log[1].state), (Undelivered, Accepted));
    assert_eq!(first.only().json(), second.only().json(), "one code");

    assert_eq!(report(&gateway, &hook(id, "acme", "second"), NUMBER, "undelivered").await, 204);
    let log = log_of(&storage, id, 2).await;
    assert_eq!((log.len(), log[1].state), (2, Undelivered));
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
}

/// Messages and money of the last hour, as the tenant's admins see them.
async fn spent(gateway: &Gateway) -> (u64, f64) {
    let shown = gateway.admin().get("/tenants/acme/limits").bearer(ROOT_KEY).await.expect(200);
    let hour = &shown["sms_budget"]["hour"];
    (hour["messages"].as_u64().unwrap(), hour["money"].as_f64().unwrap())
}

async fn a_second_sender_is_paid_for_if_the_first_may_have_charged(gateway: Gateway) {
    let all_but = |unknown: &'static str| {
        move |asked: &Asked| if asked.json()["to"] == unknown { answer(400, "{}") } else { take(asked) }
    };
    let (first, second) = (Provider::start(all_but(REFUSED)).await, Provider::start(all_but(UNLUCKY)).await);
    let third = willing().await;
    let senders = [sender("first", &first), sender("second", &second), sender("third", &third)];
    let costs = json!({"sms": {"mode": "own", "senders": senders, "budget": {"costs": {"SN": 0.5}}}});
    let (id, storage) = tenant(&gateway, "acme", |_| costs).await;
    let door = gateway.door("/t/acme");

    request(door, NUMBER).await;
    log_of(&storage, id, 1).await;
    assert_eq!(spent(&gateway).await, (1, 0.5));
    assert_eq!(report(&gateway, &hook(id, "acme", "first"), NUMBER, "undelivered").await, 204);
    log_of(&storage, id, 2).await;
    assert_eq!(second.asked().len(), 1);
    assert_eq!(spent(&gateway).await, (2, 1.0), "both providers charge");

    // A refusal costs nothing: the next sender is paid for by what was booked.
    request(door, REFUSED).await;
    assert_eq!(log_of(&storage, id, 4).await[3].state, Accepted);
    assert_eq!(spent(&gateway).await, (3, 1.5));

    // Nor is a refusal by the second paid for, though the first may have charged.
    request(door, UNLUCKY).await;
    log_of(&storage, id, 5).await;
    assert_eq!(report(&gateway, &hook(id, "acme", "first"), UNLUCKY, "undelivered").await, 204);
    let log = log_of(&storage, id, 7).await;
    assert_eq!((log[6].sender.as_str(), log[6].state), ("third", Accepted));
    assert_eq!(spent(&gateway).await, (5, 2.5));
}

async fn a_fail_over_beyond_the_budget_is_not_sent_and_the_log_says_so(gateway: Gateway) {
    let (first, second) = (willing().await, willing().await);
    let senders = [sender("first", &first), sender("second", &second)];
    let budget = json!({"costs": {"SN": 0.5}, "hour": {"money": 0.9}});
    let (id, storage) =
        tenant(&gateway, "acme", |_| json!({"sms": {"mode": "own", "senders": senders, "budget": budget}})).await;
    request(gateway.door("/t/acme"), NUMBER).await;
    log_of(&storage, id, 1).await;

    assert_eq!(report(&gateway, &hook(id, "acme", "first"), NUMBER, "undelivered").await, 204);
    let log = log_of(&storage, id, 2).await;

    let told = (log[1].sender.as_str(), log[1].state, log[1].code.as_deref(), log[1].message_reason.as_deref());
    assert_eq!(told, ("second", Skipped, Some("over_budget"), Some("over_budget")));
    assert_eq!(log[1].message_state.as_deref(), Some("dead"));
    assert_eq!(second.asked().len(), 0);
    assert_eq!(spent(&gateway).await, (1, 0.5));
    gateway.audited("sms_ceiling_reached", 1).await;
}

/// A receipt signed with that token.
async fn call_as_twilio(gateway: &Gateway, path: &str, sid: &str, token: &str) -> u16 {
    let fields = [("MessageSid", sid), ("MessageStatus", "delivered")];
    let signed = format!("{PUBLIC_URL}{path}MessageSid{sid}MessageStatusdelivered");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let client = gateway.http([127, 0, 0, 1].into());
    let request = client.post(gateway.url(path)).header("x-twilio-signature", signature).form(&fields);
    request.send().await.unwrap().status().as_u16()
}

async fn twilio_is_given_its_url_and_believed_by_its_signature(gateway: Gateway) {
    let sid = format!("SM{}", "1".repeat(32));
    let body = json!({"sid": sid, "status": "queued"}).to_string();
    let provider = Provider::always(answer(201, &body)).await;
    let clock = gateway.clock.clone();
    let (id, storage) = tenant(&gateway, "acme", |id| {
        let sealer = Sealer::new(&MasterKey::from_bytes(MASTER_KEY));
        let credentials = Credentials::new(sealer, clock, Entropy::system());
        let place = Place { tenant: id, channel: Channel::Sms, sender: "twilio", member: "auth_token" };
        own_sms(&[json!({
            "kind": "twilio", "account_sid": format!("AC{}", "0".repeat(32)), "from": "+15005550006",
            "auth_token": credentials.seal(&place, &"a canary token".into()).unwrap(), "base_url": provider.url(),
        })])
    })
    .await;
    request(gateway.door("/t/acme"), NUMBER).await;
    log_of(&storage, id, 1).await;

    let path = hook(id, "acme", "twilio");
    let form: HashMap<_, _> = provider.only().form().into_iter().collect();
    assert_eq!(form["StatusCallback"], format!("{PUBLIC_URL}{path}"));
    assert_eq!(call_as_twilio(&gateway, &path, &sid, "another token").await, 403);
    assert_eq!(log(&storage, id).await[0].state, Accepted);
    assert_eq!(call_as_twilio(&gateway, &path, &sid, "a canary token").await, 204);
    assert_eq!(log(&storage, id).await[0].state, Delivered);
}

/// A gateway with a tenant whose provider takes everything.
async fn quiet_tenant(gateway: &Gateway) -> Provider {
    let provider = willing().await;
    tenant(gateway, "quiet", |_| own_sms(&[sender("main", &provider)])).await;
    provider
}

/// Milliseconds from asking for the code of that number to its arrival at the provider.
async fn arrival(gateway: &Gateway, provider: &Provider, round: u8, n: u8) -> f64 {
    let before = provider.times_asked();
    let body = json!({"phone": format!("+22177{round:02}{n:02}123")});
    let begun = Instant::now();
    // From a few addresses, each far below what one client may ask.
    let call = gateway.door("/t/quiet").post("/auth/request-code", &body).at([127, 0, round + 1, n % 10 + 1]);
    call.await.expect(200);
    let arrived = tokio::time::timeout(PATIENCE, async {
        while provider.times_asked() == before {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    });
    arrived.await.expect("the code leaves");
    begun.elapsed().as_secs_f64() * 1_000.0
}

/// A tenant whose mail server takes connections and never says a word, with 10,000 mails to send.
async fn black_hole(gateway: &Gateway) -> Storage {
    let hole = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = hole.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = vec![];
        while let Ok((connection, _)) = hole.accept().await {
            held.push(connection);
        }
    });
    let mail = json!({"name": "hole", "host": "127.0.0.1", "port": port, "security": "none",
                      "from": "no-reply@acme.test", "timeout": 3});
    let settings = |_| json!({"email": {"mode": "own", "senders": [mail]}});
    let (busy, storage) = tenant(gateway, "busy", settings).await;
    let now = gateway.clock.now();
    let messages: Vec<_> = (0..10_000)
        .map(|n| Message {
            id: MessageId::at(now, Entropy::system().bytes()),
            tenant: busy,
            to: Contact::Email(EmailAddress::parse(&format!("p{n}@example.com")).unwrap()),
            locale: Locale::Fr,
            content: Content::PasswordChanged,
            not_after: now + minutes(60),
        })
        .collect();
    let birth = Birth { node: NodeId::random(Entropy::system().bytes()), lease: Duration::ZERO };
    storage.outbox().enqueue(&Notes { now, birth, messages: &messages, events: &[] }).await.unwrap();
    // A first mail has been waited for in vain, so the hole is known to be one.
    log_of(&storage, busy, 1).await;
    storage
}

async fn a_neighbours_black_hole_keeps_nobody_waiting(alone: Gateway) {
    let back_end = if alone.has_redis() { BackEnd::shared().await.expect("as before") } else { BackEnd::embedded() };
    back_end.run(move |beside| compared(alone, beside)).await;
}

/// Two gateways asked in turn, so that a busy machine slows both alike. Of its noise the best of a few
/// rounds says least; a queue in the way shows in the best as well.
async fn compared(alone: Gateway, beside: Gateway) {
    let (one, other) = (quiet_tenant(&alone).await, quiet_tenant(&beside).await);
    let storage = black_hole(&beside).await;
    let (mut best_alone, mut best_beside) = (f64::INFINITY, f64::INFINITY);
    let most = |alone: f64| alone * 1.1;
    for round in 0..30 {
        let (mut took_alone, mut took_beside) = (vec![], vec![]);
        for n in 0..100 {
            took_alone.push(arrival(&alone, &one, round, n).await);
            took_beside.push(arrival(&beside, &other, round, n).await);
        }
        took_alone.sort_by(f64::total_cmp);
        took_beside.sort_by(f64::total_cmp);
        (best_alone, best_beside) = (best_alone.min(took_alone[98]), best_beside.min(took_beside[98]));
        if round > 1 && best_beside <= most(best_alone) {
            break;
        }
    }

    let waiting = storage.outbox().depth().await.unwrap().waiting;
    println!("p99 alone {best_alone:.2} ms, beside a black hole with {waiting} mails queued {best_beside:.2} ms");
    assert!(waiting > 9_900, "the neighbour's mails wait: {waiting}");
    assert!(best_beside <= most(best_alone), "alone {best_alone:.2} ms, beside {best_beside:.2} ms");
}
