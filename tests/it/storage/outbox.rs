//! The outbox: claimed by one node at a time, settled once, fair between tenants.

use std::collections::BTreeSet;
use std::time::Duration;

use guichet::domain::account::Account;
use guichet::domain::ids::{MessageId, NodeId, TenantId};
use guichet::domain::message::{Channel, Content, LinkRef, Message};
use guichet::storage::{Birth, Claimed, HandedOver, LinkPurpose, Notes, Settled, Storage};

use super::{DAY, T0, a_tenant, an_account, id, link, message, silent};
use crate::harness::databases::on_every_database;

const LEASE: Duration = Duration::from_mins(1);

/// Writes messages whose first lease is over at once.
async fn write(storage: &Storage, account: &Account, messages: &[Message]) {
    let birth = Birth { node: id::<NodeId>(), lease: Duration::ZERO };
    let link = link(account, LinkPurpose::Reset, T0 + DAY);
    assert!(storage.links().issue(&link, &silent(T0)).await.unwrap());
    storage.outbox().enqueue(&Notes { birth, messages, ..silent(T0) }).await.unwrap();
}

/// One round over all lines, with that much room in each.
async fn claim(storage: &Storage, room: u32) -> Vec<Claimed> {
    let lines = storage.outbox().lines(None, 100, T0).await.unwrap();
    let mut all = vec![];
    for line in lines.due {
        all.extend(storage.outbox().claim(line, room, id(), LEASE, T0).await.unwrap());
    }
    all
}

async fn settle(storage: &Storage, message: &Message, claim: i64, settled: Settled<'_>) -> bool {
    storage.outbox().settle(message.tenant, message.id, claim, settled, &[], T0).await.unwrap()
}

fn many(tenant: TenantId, count: usize) -> Vec<Message> {
    (0..count).map(|_| message(tenant, "awa@example.com")).collect()
}

async fn a_message_is_born_leased_and_settled_under_claim_one(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let mail = message(tenant, "awa@example.com");
    let link = link(&account, LinkPurpose::Reset, T0 + DAY);
    let notes = Notes { messages: std::slice::from_ref(&mail), ..silent(T0) };
    storage.links().issue(&link, &notes).await.unwrap();

    assert_eq!(claim(&storage, 10).await, []);
    let depth = storage.outbox().depth().await.unwrap();
    assert_eq!((depth.waiting, depth.oldest), (1, Some(T0)));
    assert!(settle(&storage, &mail, 1, Settled::Sent).await);
    assert!(!settle(&storage, &mail, 1, Settled::Sent).await);
    assert_eq!(storage.outbox().depth().await.unwrap().waiting, 0);
}

async fn a_claimed_message_reads_back_as_it_was_written(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let content = Content::PasswordReset(LinkRef { link: id(), account: account.id });
    let mail = Message { content, ..message(tenant, "awa@example.com") };
    write(&storage, &account, std::slice::from_ref(&mail)).await;

    assert_eq!(
        claim(&storage, 10).await,
        [Claimed { message: mail, created_at: T0, claim: 2, attempts: 0, handed: None }]
    );
}

async fn two_nodes_never_claim_the_same_message(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    write(&storage, &account, &many(tenant, 60)).await;

    let nodes: Vec<_> = (0..6)
        .map(|_| {
            let storage = storage.clone();
            tokio::spawn(async move {
                let mut mine = vec![];
                loop {
                    let batch = claim(&storage, 4).await;
                    if batch.is_empty() {
                        return mine;
                    }
                    mine.extend(batch.into_iter().map(|claimed| claimed.message.id));
                }
            })
        })
        .collect();
    let mut all: Vec<MessageId> = vec![];
    for node in nodes {
        all.extend(node.await.unwrap());
    }
    // A node may have met only rows that another was just taking.
    all.extend(claim(&storage, 100).await.into_iter().map(|claimed| claimed.message.id));

    assert_eq!(all.len(), 60);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 60);
}

async fn a_sender_that_lost_its_lease_settles_nothing(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let mail = message(tenant, "awa@example.com");
    write(&storage, &account, std::slice::from_ref(&mail)).await;
    let slow = storage.outbox().claim((tenant, Channel::Email), 1, id(), Duration::ZERO, T0).await.unwrap().remove(0);
    let next = claim(&storage, 1).await.remove(0);
    let dead = Settled::Dead { reason: "refused" };

    assert!(!settle(&storage, &mail, slow.claim, dead).await);
    assert!(settle(&storage, &mail, next.claim, Settled::Sent).await);
}

async fn a_message_given_back_is_claimed_again_when_its_time_comes(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let mails = many(tenant, 2);
    write(&storage, &account, &mails).await;
    let waits = [Duration::ZERO, Duration::from_mins(5)];
    let first = claim(&storage, 2).await;
    for (claimed, after) in first.iter().zip(waits) {
        let retry = Settled::Retry { after, tried: true, reason: "time_out" };
        assert!(settle(&storage, &claimed.message, claimed.claim, retry).await);
        assert!(!settle(&storage, &claimed.message, claimed.claim, Settled::Sent).await);
    }

    let again = claim(&storage, 2).await;

    assert_eq!(again.len(), 1);
    assert_eq!((again[0].message.id, again[0].attempts), (first[0].message.id, 1));
    assert!(again[0].claim > first[0].claim);
}

async fn ten_thousand_messages_of_one_tenant_do_not_hold_up_another(storage: Storage) {
    let (busy, quiet) = (a_tenant(&storage, "busy").await, a_tenant(&storage, "quiet").await);
    let flood = an_account(&storage, busy, "awa@example.com").await;
    let calm = an_account(&storage, quiet, "awa@example.com").await;
    write(&storage, &flood, &many(busy, 10_000)).await;
    write(&storage, &calm, &many(quiet, 3)).await;

    let batch = claim(&storage, 6).await;

    assert_eq!(batch.iter().filter(|claimed| claimed.message.tenant == quiet).count(), 3);
    assert_eq!(batch.iter().filter(|claimed| claimed.message.tenant == busy).count(), 6);
}

async fn a_message_past_its_life_is_expired_never_claimed(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let code = Message { not_after: T0, ..message(tenant, "awa@example.com") };
    write(&storage, &account, &[code, message(tenant, "awa@example.com")]).await;

    assert_eq!(claim(&storage, 10).await.len(), 1);
    let expired = storage.outbox().expired(10, T0).await.unwrap();
    assert_eq!(expired.len(), 1);
    assert!(settle(&storage, &expired[0].message, expired[0].claim, Settled::Expired).await);
    assert!(
        !settle(&storage, &expired[0].message, expired[0].claim, Settled::Expired).await,
        "another node was faster"
    );
    assert_eq!(storage.outbox().expired(10, T0).await.unwrap(), []);
    assert_eq!(storage.outbox().depth().await.unwrap().waiting, 1);
    assert_eq!(storage.housekeeping().sweep(T0 + 7 * DAY, 10).await.unwrap().messages, 1);
}

async fn what_tells_of_a_changed_contact_stays_as_long_as_the_delivery_log(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let told = Content::ContactChanged { account: account.id };
    let told = Message { content: told, ..message(tenant, "before@example.com") };
    write(&storage, &account, &[told, message(tenant, "awa@example.com")]).await;
    for claimed in claim(&storage, 10).await {
        assert!(settle(&storage, &claimed.message, claimed.claim, Settled::Sent).await);
    }

    for (days, removed) in [(7, 1), (30, 0), (31, 1)] {
        let swept = storage.housekeeping().sweep(T0 + days * DAY, 10).await.unwrap();
        assert_eq!(swept.messages, removed, "after {days} days");
    }
}

async fn a_round_goes_from_tenant_to_tenant_and_comes_to_an_end(storage: Storage) {
    let mut tenants = vec![];
    for slug in ["one", "two", "three"] {
        let tenant = a_tenant(&storage, slug).await;
        let account = an_account(&storage, tenant, "awa@example.com").await;
        write(&storage, &account, &many(tenant, 2)).await;
        tenants.push((tenant, Channel::Email));
    }
    tenants.sort();

    let first = storage.outbox().lines(None, 2, T0).await.unwrap();
    let second = storage.outbox().lines(first.next, 2, T0).await.unwrap();

    assert_eq!((first.due.as_slice(), first.next), (&tenants[..2], Some(tenants[1].0)));
    assert_eq!((second.due.as_slice(), second.next), (&tenants[2..], None));
    assert_eq!(claim(&storage, 2).await.len(), 6);
    assert_eq!(storage.outbox().lines(None, 2, T0).await.unwrap().due, [], "what is leased is not due");
}

async fn a_message_that_was_handed_over_says_so_to_whoever_claims_it_next(storage: Storage) {
    let tenant = a_tenant(&storage, "one").await;
    let account = an_account(&storage, tenant, "awa@example.com").await;
    let code = Message { not_after: T0 + Duration::from_secs(1), ..message(tenant, "awa@example.com") };
    write(&storage, &account, std::slice::from_ref(&code)).await;
    let outbox = storage.outbox();
    let first = claim(&storage, 1).await.remove(0);

    assert!(outbox.hand_over(&first, "main", Duration::ZERO, &[], T0).await.unwrap());

    let later = T0 + Duration::from_secs(2);
    assert_eq!(outbox.expired(10, later).await.unwrap(), [], "it may have left: that says more");
    let next = outbox.claim((tenant, Channel::Email), 1, id(), LEASE, later).await.unwrap().remove(0);
    assert_eq!(next.handed, Some(HandedOver { to: "main".to_owned(), at: T0 }));
    assert!(!outbox.hand_over(&first, "main", LEASE, &[], later).await.unwrap(), "it lost its claim");
    let retry = Settled::Retry { after: Duration::ZERO, tried: false, reason: "breaker_open" };
    assert!(outbox.settle(tenant, code.id, next.claim, retry, &[], T0).await.unwrap());
    let again = outbox.claim((tenant, Channel::Email), 1, id(), LEASE, T0).await.unwrap().remove(0);
    assert_eq!((again.handed, again.attempts), (None, 0), "waiting for its turn is no attempt");
}

on_every_database!(
    a_message_is_born_leased_and_settled_under_claim_one,
    a_claimed_message_reads_back_as_it_was_written,
    two_nodes_never_claim_the_same_message,
    a_sender_that_lost_its_lease_settles_nothing,
    a_message_given_back_is_claimed_again_when_its_time_comes,
    ten_thousand_messages_of_one_tenant_do_not_hold_up_another,
    a_message_past_its_life_is_expired_never_claimed,
    what_tells_of_a_changed_contact_stays_as_long_as_the_delivery_log,
    a_round_goes_from_tenant_to_tenant_and_comes_to_an_end,
    a_message_that_was_handed_over_says_so_to_whoever_claims_it_next,
);
