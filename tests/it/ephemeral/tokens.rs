//! What is not a book of guesses: mail counts, grants, revocations.

use std::sync::Arc;
use std::time::Duration;

use guichet::domain::ids::{ChallengeId, SessionId, TenantId};
use guichet::domain::policy::{Policy, Profile, ResendPolicy};
use guichet::ephemeral::{MailCount, MailVerdict, Revocation};

use super::{MILLISECOND, Nodes, on_every_store};

const HOUR: Duration = Duration::from_hours(1);

fn resend() -> ResendPolicy {
    Policy::of(Profile::Classic).link_mails
}

async fn count(nodes: &Nodes, tenant: TenantId, class: &str) -> MailVerdict {
    let mail = MailCount { operation: nodes.operation(), contact: [5; 32], class };
    nodes.one.count_mail(tenant, &resend(), &mail).await.unwrap()
}

async fn mails_have_a_cooldown_and_ceilings_by_class_and_tenant(nodes: Nodes) {
    let tenant = TenantId::random(nodes.draw());
    for _ in 0..2 {
        for _ in 0..5 {
            assert_eq!(count(&nodes, tenant, "verification").await, MailVerdict::Allowed);
            assert!(matches!(count(&nodes, tenant, "verification").await, MailVerdict::Refused(_)));
            nodes.clock.advance(resend().cooldown);
        }
        assert!(matches!(count(&nodes, tenant, "verification").await, MailVerdict::Refused(_)));
        nodes.clock.advance(HOUR);
    }

    let MailVerdict::Refused(wait) = count(&nodes, tenant, "verification").await else { panic!("allowed") };

    assert!(wait.left() > 20 * HOUR);
    assert_eq!(count(&nodes, tenant, "reset").await, MailVerdict::Allowed);
    assert_eq!(count(&nodes, TenantId::random(nodes.draw()), "verification").await, MailVerdict::Allowed);
}

async fn a_repeated_count_counts_once(nodes: Nodes) {
    let tenant = TenantId::random(nodes.draw());
    let mail = MailCount { operation: nodes.operation(), contact: [5; 32], class: "reset" };

    for node in [0, 1, 0] {
        let verdict = nodes.node(node).count_mail(tenant, &resend(), &mail).await.unwrap();
        assert_eq!(verdict, MailVerdict::Allowed);
    }
}

async fn what_was_not_sent_is_given_back_once(nodes: Nodes) {
    let tenant = TenantId::random(nodes.draw());
    assert_eq!(count(&nodes, tenant, "new_device").await, MailVerdict::Allowed);
    nodes.clock.advance(resend().cooldown);
    let mail = MailCount { operation: nodes.operation(), contact: [5; 32], class: "new_device" };
    assert_eq!(nodes.one.count_mail(tenant, &resend(), &mail).await.unwrap(), MailVerdict::Allowed);

    for node in [1, 0] {
        nodes.node(node).give_back_mail(tenant, &mail).await.unwrap();
    }

    // The first one stays counted: four more fit into its hour.
    for _ in 0..4 {
        assert_eq!(count(&nodes, tenant, "new_device").await, MailVerdict::Allowed);
        nodes.clock.advance(resend().cooldown);
    }
    assert!(matches!(count(&nodes, tenant, "new_device").await, MailVerdict::Refused(_)));
}

async fn one_of_many_takes_a_grant(nodes: Nodes) {
    let (tenant, challenge) = (TenantId::random(nodes.draw()), ChallengeId::random(nodes.draw()));
    nodes.one.put_grant(tenant, [6; 32], challenge, HOUR).await.unwrap();
    let stranger = TenantId::random(nodes.draw());
    assert_eq!(nodes.one.take_grant(stranger, [6; 32]).await.unwrap(), None);

    let nodes = Arc::new(nodes);
    let fire: Vec<_> = (0..50)
        .map(|n| {
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move { nodes.node(n % 2).take_grant(tenant, [6; 32]).await.unwrap() })
        })
        .collect();
    let mut taken = Vec::new();
    for shot in fire {
        taken.extend(shot.await.unwrap());
    }

    assert_eq!(taken, [challenge]);
}

async fn a_grant_ends_with_its_time(nodes: Nodes) {
    let (tenant, challenge) = (TenantId::random(nodes.draw()), ChallengeId::random(nodes.draw()));
    nodes.one.put_grant(tenant, [6; 32], challenge, HOUR).await.unwrap();

    nodes.clock.advance(HOUR);

    assert_eq!(nodes.other.take_grant(tenant, [6; 32]).await.unwrap(), None);
}

async fn a_revocation_is_heard_by_every_node_within_a_second(nodes: Nodes) {
    let mut heard = nodes.other.subscribe();
    let until = nodes.clock.now() + HOUR;
    let tenant = TenantId::random(nodes.draw());
    let revocation = Revocation { tenant, session: SessionId::random(nodes.draw()), until };

    nodes.one.revoke(revocation).await.unwrap();

    let told = tokio::time::timeout(Duration::from_secs(1), heard.recv()).await.unwrap().unwrap();
    assert_eq!(told, revocation);
}

async fn a_mark_lasts_as_long_as_the_sessions_tokens(nodes: Nodes) {
    let now = nodes.clock.now();
    let tenant = TenantId::random(nodes.draw());
    let short = Revocation { tenant, session: SessionId::random(nodes.draw()), until: now + HOUR };
    let long = Revocation { tenant, session: SessionId::random(nodes.draw()), until: now + 2 * HOUR };
    nodes.one.revoke(short).await.unwrap();
    nodes.one.revoke(long).await.unwrap();

    assert_eq!(nodes.other.revocations(tenant).await.unwrap().len(), 2);
    nodes.clock.advance(HOUR);
    assert_eq!(nodes.other.revocations(tenant).await.unwrap(), [long]);
    nodes.clock.advance(HOUR + MILLISECOND);
    assert_eq!(nodes.other.revocations(tenant).await.unwrap(), []);
    assert_eq!(nodes.other.revocations(TenantId::random(nodes.draw())).await.unwrap(), []);
}

on_every_store!(
    mails_have_a_cooldown_and_ceilings_by_class_and_tenant,
    what_was_not_sent_is_given_back_once,
    a_repeated_count_counts_once,
    one_of_many_takes_a_grant,
    a_grant_ends_with_its_time,
    a_revocation_is_heard_by_every_node_within_a_second,
    a_mark_lasts_as_long_as_the_sessions_tokens,
);
