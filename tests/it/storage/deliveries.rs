//! The delivery log: written with what it tells of, told forward by receipts in whatever order.

use std::time::Duration;

use guichet::domain::contact::{Contact, PhoneNumber};
use guichet::domain::delivery::DeliveryState;
use guichet::domain::ids::{DeliveryId, TenantId};
use guichet::domain::message::{Channel, Message};
use guichet::entropy::Entropy;
use guichet::storage::{Attempt, Birth, Claimed, Delivery, Noted, Notes, Receipt, Settled, Storage};

use super::{DAY, T0, a_tenant, an_account, id, message, silent};
use crate::harness::databases::on_every_database;

const LINE: Duration = Duration::from_mins(1);
const TO: [u8; 32] = [7; 32];

fn attempt(message: &Message, number: u32, sender: &str, state: DeliveryState) -> Attempt {
    Attempt {
        id: DeliveryId::at(T0 + Duration::from_millis(number.into()), Entropy::system().bytes()),
        tenant: message.tenant,
        message: message.id,
        sender: sender.to_owned(),
        channel: Channel::Sms,
        template: "sign_in_code",
        number,
        at: T0,
        latency: Duration::from_millis(12),
        state,
        stage: None,
        code: None,
        reference: (state == DeliveryState::Accepted).then(|| format!("ref-{sender}")),
        recipient: TO,
    }
}

/// A text message that this node has claimed.
async fn claimed(storage: &Storage, tenant: TenantId) -> Claimed {
    let to = Contact::Phone(PhoneNumber::parse("+221771234567", None).unwrap());
    let sms = Message { to, ..message(tenant, "awa@example.com") };
    let birth = Birth { node: id(), lease: Duration::ZERO };
    storage.outbox().enqueue(&Notes { birth, messages: &[sms], ..silent(T0) }).await.unwrap();
    storage.outbox().claim((tenant, Channel::Sms), 1, id(), LINE, T0).await.unwrap().remove(0)
}

/// Handed to `main`, which has not answered yet.
async fn handed(storage: &Storage, tenant: TenantId) -> Claimed {
    let claimed = claimed(storage, tenant).await;
    assert!(storage.outbox().hand_over(&claimed, "main", LINE, &[], T0).await.unwrap());
    claimed
}

async fn accept(storage: &Storage, claimed: &Claimed, sender: &str, number: u32) {
    let Message { tenant, id, .. } = claimed.message;
    let tried = [attempt(&claimed.message, number, sender, DeliveryState::Accepted)];
    assert!(storage.outbox().settle(tenant, id, claimed.claim, Settled::Sent, &tried, T0).await.unwrap());
}

async fn note(storage: &Storage, tenant: TenantId, sender: &str, state: DeliveryState, others: &[&str]) -> Noted {
    let reference = format!("ref-{sender}");
    let code = (state == DeliveryState::Undelivered).then_some("30006");
    let receipt = Receipt { tenant, sender, reference: &reference, state, code };
    storage.deliveries().note(&receipt, others, T0).await.unwrap()
}

async fn log(storage: &Storage, tenant: TenantId) -> Vec<Delivery> {
    storage.deliveries().page(tenant, None, None, 100).await.unwrap()
}

async fn attempts_are_written_with_the_settlement_or_not_at_all(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let claimed = claimed(&storage, tenant).await;
    let sms = &claimed.message;
    let refused = [attempt(sms, 1, "first", DeliveryState::Refused)];
    let accepted = [attempt(sms, 2, "second", DeliveryState::Accepted)];
    let outbox = storage.outbox();

    let late = outbox.settle(tenant, sms.id, claimed.claim - 1, Settled::Sent, &accepted, T0).await.unwrap();
    assert!(!late);
    assert_eq!(log(&storage, tenant).await, []);
    assert!(outbox.hand_over(&claimed, "second", LINE, &refused, T0).await.unwrap());
    assert!(outbox.settle(tenant, sms.id, claimed.claim, Settled::Sent, &accepted, T0).await.unwrap());

    let log = log(&storage, tenant).await;
    let told: Vec<_> = log.iter().map(|one| (one.sender.as_str(), one.state, one.number)).collect();
    assert_eq!(told, [("second", DeliveryState::Accepted, 2), ("first", DeliveryState::Refused, 1)]);
    assert_eq!((log[0].message, log[0].message_state.as_deref()), (sms.id, Some("sent")));
    assert_eq!((log[0].latency, log[0].recipient), (Duration::from_millis(12), TO));
    let history = storage.deliveries().of_message(tenant, sms.id).await.unwrap();
    let expected = [("first".to_owned(), DeliveryState::Refused), ("second".to_owned(), DeliveryState::Accepted)];
    assert_eq!(history, expected);
}

async fn pages_follow_one_another_and_show_one_tenant_alone(storage: Storage) {
    let (one, other) = (a_tenant(&storage, "one").await, a_tenant(&storage, "other").await);
    for tenant in [one, other] {
        let claimed = claimed(&storage, tenant).await;
        let states = [DeliveryState::Refused, DeliveryState::Temporary, DeliveryState::Accepted];
        let tried: Vec<_> = (1..).zip(states).map(|(n, state)| attempt(&claimed.message, n, "main", state)).collect();
        let (outbox, id) = (storage.outbox(), claimed.message.id);
        assert!(outbox.settle(tenant, id, claimed.claim, Settled::Sent, &tried, T0).await.unwrap());
    }
    let deliveries = storage.deliveries();

    let first = deliveries.page(one, None, None, 2).await.unwrap();
    let second = deliveries.page(one, None, Some(first[1].id), 2).await.unwrap();

    assert_eq!(first.iter().map(|one| one.number).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(second.iter().map(|one| one.number).collect::<Vec<_>>(), [1]);
    assert_eq!(deliveries.page(one, Some(TO), None, 10).await.unwrap().len(), 3);
    assert_eq!(deliveries.page(one, Some([8; 32]), None, 10).await.unwrap(), []);
}

async fn receipts_repeated_and_out_of_order_move_forward_only(storage: Storage) {
    use DeliveryState::{Delivered, Sent, Undelivered};
    let tenant = a_tenant(&storage, "one").await;
    accept(&storage, &handed(&storage, tenant).await, "main", 1).await;

    for (news, noted, state) in [
        (Sent, Noted::Changed, Sent),
        (Sent, Noted::Ignored, Sent),
        (Undelivered, Noted::Changed, Undelivered),
        (Sent, Noted::Ignored, Undelivered),
        (Delivered, Noted::Changed, Delivered),
        (Undelivered, Noted::Ignored, Delivered),
        (Delivered, Noted::Ignored, Delivered),
    ] {
        assert_eq!(note(&storage, tenant, "main", news, &["main"]).await, noted, "{news:?}");
        assert_eq!(log(&storage, tenant).await[0].state, state, "{news:?}");
    }
    assert_eq!(log(&storage, tenant).await[0].code.as_deref(), Some("30006"));
}

async fn a_receipt_before_the_reference_is_kept_and_matched(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let sms = handed(&storage, tenant).await;

    assert_eq!(note(&storage, tenant, "main", DeliveryState::Delivered, &["main"]).await, Noted::Early);
    assert_eq!(note(&storage, tenant, "main", DeliveryState::Sent, &["main"]).await, Noted::Early);
    accept(&storage, &sms, "main", 1).await;
    let matched = storage.deliveries().match_early(tenant, "main", "ref-main", &["main"], T0).await.unwrap();

    assert_eq!(matched, Noted::Changed);
    assert_eq!(log(&storage, tenant).await[0].state, DeliveryState::Delivered);
    assert_eq!(storage.housekeeping().sweep(T0 + DAY, 10).await.unwrap().early_receipts, 0, "none is left");
}

async fn a_receipt_for_nobodys_message_is_not_kept(storage: Storage) {
    let (tenant, other) = (a_tenant(&storage, "one").await, a_tenant(&storage, "other").await);
    accept(&storage, &handed(&storage, tenant).await, "main", 1).await;
    handed(&storage, other).await;

    assert_eq!(note(&storage, tenant, "spare", DeliveryState::Delivered, &["main"]).await, Noted::Ignored);
    assert_eq!(note(&storage, other, "spare", DeliveryState::Delivered, &["main"]).await, Noted::Ignored);
    assert_eq!(note(&storage, other, "main", DeliveryState::Delivered, &["main"]).await, Noted::Early);
    assert_eq!(log(&storage, tenant).await[0].state, DeliveryState::Accepted, "another tenant's news changes nothing");
}

async fn an_undelivered_message_goes_to_the_next_sender_once(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    accept(&storage, &handed(&storage, tenant).await, "main", 1).await;
    let others = ["main", "second", "third"];

    assert_eq!(note(&storage, tenant, "main", DeliveryState::Undelivered, &["main"]).await, Noted::Changed);
    assert_eq!(storage.outbox().lines(None, 10, T0).await.unwrap().due, [], "there is no other sender");
    accept(&storage, &handed(&storage, tenant).await, "main-2", 1).await;
    assert_eq!(note(&storage, tenant, "main-2", DeliveryState::Undelivered, &others).await, Noted::SentAgain);
    assert_eq!(note(&storage, tenant, "main-2", DeliveryState::Undelivered, &others).await, Noted::Ignored);

    let again = storage.outbox().claim((tenant, Channel::Sms), 10, id(), LINE, T0).await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].attempts, &again[0].handed), (1, &None));
    accept(&storage, &again[0], "second", 2).await;
    assert_eq!(note(&storage, tenant, "second", DeliveryState::Undelivered, &others).await, Noted::Changed);
    assert_eq!(storage.outbox().lines(None, 10, T0).await.unwrap().due, [], "once, and no more");
}

async fn the_log_outlives_the_message_and_ends_after_thirty_days(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    accept(&storage, &handed(&storage, tenant).await, "main", 1).await;

    storage.housekeeping().sweep(T0 + 8 * DAY, 10).await.unwrap();
    assert_eq!(log(&storage, tenant).await[0].message_state, None, "the message itself is swept");
    assert_eq!(storage.housekeeping().sweep(T0 + 30 * DAY, 10).await.unwrap().deliveries, 1);
    assert_eq!(log(&storage, tenant).await, []);
}

/// Both take the message before its deliveries; in opposite orders they would wait for each other.
async fn receipts_while_a_person_is_erased_fail_neither(storage: Storage) {
    const MESSAGES: u32 = 8;
    let tenant = a_tenant(&storage, "one").await;
    for round in 0..40 {
        let email = format!("awa{round}@example.com");
        let account = an_account(&storage, tenant, &email).await;
        let messages: Vec<_> = (0..MESSAGES).map(|_| message(tenant, &email)).collect();
        let birth = Birth { node: id(), lease: Duration::ZERO };
        storage.outbox().enqueue(&Notes { birth, messages: &messages, ..silent(T0) }).await.unwrap();
        let claimed = storage.outbox().claim((tenant, Channel::Email), MESSAGES, id(), LINE, T0).await.unwrap();
        let mut racers = vec![];
        for one in claimed {
            let reference = one.message.id.to_string();
            let mut accepted = attempt(&one.message, 1, "main", DeliveryState::Accepted);
            accepted.reference = Some(reference.clone());
            let Message { tenant, id, .. } = one.message;
            assert!(storage.outbox().settle(tenant, id, one.claim, Settled::Sent, &[accepted], T0).await.unwrap());
            let telling = storage.clone();
            racers.push(tokio::spawn(async move {
                let (sender, state) = ("main", DeliveryState::Undelivered);
                let receipt = Receipt { tenant, sender, reference: &reference, state, code: None };
                telling.deliveries().note(&receipt, &["main", "second"], T0).await.map(drop)
            }));
        }
        let erasing = storage.clone();
        racers.push(tokio::spawn(async move {
            erasing.accounts().erase(tenant, account.id, T0, &[], |_| TO).await.map(|erased| assert!(erased))
        }));
        for racer in racers {
            racer.await.unwrap().unwrap();
        }

        assert_eq!(log(&storage, tenant).await, []);
        assert_eq!(storage.outbox().depth().await.unwrap().waiting, 0);
    }
}

on_every_database!(
    attempts_are_written_with_the_settlement_or_not_at_all,
    pages_follow_one_another_and_show_one_tenant_alone,
    receipts_repeated_and_out_of_order_move_forward_only,
    a_receipt_before_the_reference_is_kept_and_matched,
    a_receipt_for_nobodys_message_is_not_kept,
    an_undelivered_message_goes_to_the_next_sender_once,
    receipts_while_a_person_is_erased_fail_neither,
    the_log_outlives_the_message_and_ends_after_thirty_days,
);
