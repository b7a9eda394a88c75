//! Codes: sends, guesses, one winner, on two nodes.

use std::sync::Arc;
use std::time::Duration;

use guichet::domain::ids::{ChallengeId, DeviceId, TenantId};
use guichet::domain::lockout::Lane;
use guichet::domain::otp::{CodePurpose, CodeRules, Send, SendVerdict, TryVerdict};
use guichet::domain::policy::{Policy, Profile};
use guichet::ephemeral::{CodeOwner, CodeSubject, Consume, Guess};

use super::{Nodes, on_every_store};

const STRANGERS: Lane = Lane::Strangers;
const COOLDOWN: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);

/// One contact of one tenant.
struct Story {
    nodes: Nodes,
    tenant: TenantId,
    subject: CodeSubject,
    rules: CodeRules,
}

impl Story {
    fn new(nodes: Nodes, profile: Profile) -> Self {
        let tenant = TenantId::random(nodes.draw());
        let subject = CodeSubject { owner: CodeOwner::Contact([3; 32]), purpose: CodePurpose::PhoneSignIn };
        Self { nodes, tenant, subject, rules: CodeRules::of(&Policy::of(profile), subject.purpose) }
    }

    fn ask(&self, lane: Lane) -> Send {
        let fresh = ChallengeId::random(self.nodes.draw());
        Send { operation: self.nodes.operation(), fresh, key_id: "k".to_owned(), lane, credential: None }
    }

    async fn send(&self, lane: Lane) -> SendVerdict {
        self.nodes.one.send_code(self.tenant, &self.subject, &self.rules, &self.ask(lane)).await.unwrap()
    }

    async fn send_to_a_test_identity(&self) -> SendVerdict {
        let ask = Send { fresh: ChallengeId::for_test(self.nodes.draw()), ..self.ask(STRANGERS) };
        self.nodes.one.send_code(self.tenant, &self.subject, &self.rules, &ask).await.unwrap()
    }

    async fn send_after(&self, password: i64) -> SendVerdict {
        let ask = Send { credential: Some(password), ..self.ask(STRANGERS) };
        self.nodes.one.send_code(self.tenant, &self.subject, &self.rules, &ask).await.unwrap()
    }

    async fn sent(&self, lane: Lane) -> ChallengeId {
        match self.send(lane).await {
            SendVerdict::Send { challenge, .. } => challenge.id,
            refused => panic!("not sent: {refused:?}"),
        }
    }

    async fn guess(&self, lane: Lane, wanted: Option<ChallengeId>) -> TryVerdict {
        let guess = Guess { operation: self.nodes.operation(), lane, wanted, credential: None };
        self.nodes.other.guess_code(self.tenant, &self.subject, &self.rules, &guess).await.unwrap()
    }

    async fn consume(&self, answered: ChallengeId) -> bool {
        let consume = Consume { operation: self.nodes.operation(), lane: STRANGERS, answered };
        self.nodes.one.consume_code(self.tenant, &self.subject, &consume).await.unwrap()
    }
}

fn device() -> Lane {
    Lane::Device(DeviceId::random([9; 16]))
}

async fn a_resend_waits_for_the_cooldown_and_carries_the_same_challenge(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    let SendVerdict::Send { challenge: first, .. } = story.send(STRANGERS).await else { panic!("not sent") };

    let SendVerdict::Cooling { challenge, .. } = story.send(STRANGERS).await else { panic!("not cooling") };
    story.nodes.clock.advance(COOLDOWN);
    let SendVerdict::Send { challenge: second, .. } = story.send(STRANGERS).await else { panic!("not sent") };

    assert_eq!(challenge, Some(first.clone()));
    assert_eq!(second, first);
}

async fn the_sixth_send_of_an_hour_and_the_eleventh_of_a_day_wait(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    for _ in 0..2 {
        for _ in 0..5 {
            story.sent(STRANGERS).await;
            story.nodes.clock.advance(COOLDOWN);
        }
        assert!(matches!(story.send(STRANGERS).await, SendVerdict::Ceiling(_)));
        story.nodes.clock.advance(HOUR);
    }

    let SendVerdict::Ceiling(wait) = story.send(STRANGERS).await else { panic!("not refused") };

    assert!(wait.left() > 20 * HOUR);
    story.sent(device()).await;
}

async fn whoever_waits_as_long_as_a_refusal_says_is_sent_a_code(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    for _ in 0..4 {
        story.sent(STRANGERS).await;
        story.nodes.clock.advance(COOLDOWN);
    }
    story.nodes.clock.advance(HOUR.saturating_sub(4 * COOLDOWN + COOLDOWN / 3));
    story.sent(STRANGERS).await;

    // The hour has room again within the cooldown of the last.
    let SendVerdict::Ceiling(wait) = story.send(STRANGERS).await else { panic!("not refused") };
    story.nodes.clock.advance(wait.left());

    story.sent(STRANGERS).await;
    // Silenced for an hour, while the day's sends are used up.
    for wrong in [0, 0, 5, 5] {
        story.nodes.clock.advance(HOUR);
        story.sent(STRANGERS).await;
        for _ in 0..wrong {
            story.guess(STRANGERS, None).await;
        }
    }
    let SendVerdict::Ceiling(wait) = story.send(STRANGERS).await else { panic!("not refused") };
    assert!(wait.left() > 10 * HOUR, "{wait:?}");
    story.nodes.clock.advance(wait.left());
    story.sent(STRANGERS).await;
}

async fn a_test_identity_and_an_ordinary_contact_neither_share_a_code_nor_wait_for_the_others(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    story.sent(STRANGERS).await;

    let listed = story.send_to_a_test_identity().await;

    assert!(matches!(&listed, SendVerdict::Send { challenge, .. } if challenge.id.is_test()), "{listed:?}");
    assert!(matches!(story.send_to_a_test_identity().await, SendVerdict::Cooling { .. }));
    assert!(!story.sent(STRANGERS).await.is_test());
    assert!(matches!(story.send(STRANGERS).await, SendVerdict::Cooling { .. }));
}

async fn after_a_password_the_code_that_was_just_sent_is_told_of_at_the_ceiling_too(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    for _ in 0..4 {
        assert!(matches!(story.send_after(1).await, SendVerdict::Send { .. }));
        story.nodes.clock.advance(COOLDOWN);
    }
    let SendVerdict::Send { challenge: last, .. } = story.send_after(1).await else { panic!("not sent") };

    let told = story.send_after(1).await;

    assert!(matches!(&told, SendVerdict::Cooling { challenge: Some(told), .. } if *told == last), "{told:?}");
    assert!(matches!(story.send_after(2).await, SendVerdict::Ceiling(_)));
    story.nodes.clock.advance(COOLDOWN);
    assert!(matches!(story.send_after(1).await, SendVerdict::Ceiling(_)));
}

async fn a_code_dies_with_its_tries_or_its_time(nodes: Nodes) {
    let story = Story::new(nodes, Profile::AsvsL1);
    let first = story.sent(STRANGERS).await;
    for _ in 0..3 {
        assert!(matches!(story.guess(STRANGERS, None).await, TryVerdict::Compare(_)));
    }

    assert_eq!(story.guess(STRANGERS, None).await, TryVerdict::NoChallenge);
    assert!(matches!(story.guess(device(), None).await, TryVerdict::Compare(_)));
    story.nodes.clock.advance(COOLDOWN);
    assert_ne!(story.sent(STRANGERS).await, first);
    assert_eq!(story.guess(STRANGERS, Some(first)).await, TryVerdict::NoChallenge);
    story.nodes.clock.advance(story.rules.code.ttl);
    assert_eq!(story.guess(STRANGERS, None).await, TryVerdict::NoChallenge);
}

async fn two_hundred_right_answers_at_once_have_one_winner(nodes: Nodes) {
    let story = Arc::new(Story::new(nodes, Profile::Classic));
    let answered = story.sent(STRANGERS).await;
    let fire: Vec<_> = (0..200)
        .map(|n| {
            let story = Arc::clone(&story);
            tokio::spawn(async move {
                let consume = Consume { operation: story.nodes.operation(), lane: STRANGERS, answered };
                story.nodes.node(n % 2).consume_code(story.tenant, &story.subject, &consume).await.unwrap()
            })
        })
        .collect();

    let mut winners = 0;
    for shot in fire {
        winners += u32::from(shot.await.unwrap());
    }

    assert_eq!(winners, 1);
}

async fn a_repeated_call_gets_the_first_verdict(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    let (one, other) = (&story.nodes.one, &story.nodes.other);
    let (tenant, subject, rules) = (story.tenant, &story.subject, &story.rules);

    let ask = story.ask(STRANGERS);
    let sent = one.send_code(tenant, subject, rules, &ask).await.unwrap();
    assert_eq!(other.send_code(tenant, subject, rules, &ask).await.unwrap(), sent);
    let SendVerdict::Send { challenge, .. } = sent else { panic!("not sent") };

    let guess =
        Guess { operation: story.nodes.operation(), lane: STRANGERS, wanted: Some(challenge.id), credential: None };
    let taken = one.guess_code(tenant, subject, rules, &guess).await.unwrap();
    assert!(matches!(&taken, TryVerdict::Compare(challenge) if challenge.tries[&STRANGERS] == 1));
    assert_eq!(other.guess_code(tenant, subject, rules, &guess).await.unwrap(), taken);

    let consume = Consume { operation: story.nodes.operation(), lane: STRANGERS, answered: challenge.id };
    assert!(one.consume_code(tenant, subject, &consume).await.unwrap());
    assert!(other.consume_code(tenant, subject, &consume).await.unwrap());
    assert!(!story.consume(challenge.id).await);
}

async fn ten_wrong_short_codes_silence_strangers_for_an_hour_but_not_the_device(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    for _ in 0..2 {
        story.sent(STRANGERS).await;
        for _ in 0..5 {
            story.guess(STRANGERS, None).await;
        }
        story.nodes.clock.advance(COOLDOWN);
    }

    assert!(matches!(story.send(STRANGERS).await, SendVerdict::Ceiling(_)));
    story.sent(device()).await;
    story.nodes.clock.advance(HOUR);
    story.sent(STRANGERS).await;
}

async fn fifteen_wrong_short_codes_end_strangers_guesses_for_the_day(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    for _ in 0..3 {
        story.sent(STRANGERS).await;
        for _ in 0..5 {
            assert!(matches!(story.guess(STRANGERS, None).await, TryVerdict::Compare(_)));
        }
        story.nodes.clock.advance(HOUR + COOLDOWN);
    }
    story.sent(STRANGERS).await;

    assert!(matches!(story.guess(STRANGERS, None).await, TryVerdict::Ceiling(_)));
    story.nodes.clock.advance(24 * HOUR);
    assert_eq!(story.guess(STRANGERS, None).await, TryVerdict::NoChallenge);
}

async fn a_code_sent_after_a_password_ends_with_it(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    let guess = async |credential| {
        let guess = Guess { operation: story.nodes.operation(), lane: STRANGERS, wanted: None, credential };
        story.nodes.other.guess_code(story.tenant, &story.subject, &story.rules, &guess).await.unwrap()
    };
    let SendVerdict::Send { challenge: first, .. } = story.send_after(1).await else { panic!("not sent") };

    for withdrawn in [Some(2), None] {
        assert_eq!(guess(withdrawn).await, TryVerdict::NoChallenge);
    }
    assert!(matches!(story.send_after(1).await, SendVerdict::Cooling { challenge: Some(_), .. }));
    let TryVerdict::Compare(own) = guess(Some(1)).await else { panic!("it still answers to its own") };
    assert_eq!((own.id, own.credential, own.tries[&STRANGERS]), (first.id, Some(1), 1));

    // At once: nobody waits with a code that is worth nothing.
    let SendVerdict::Send { challenge: second, .. } = story.send_after(2).await else { panic!("not sent") };
    assert_ne!(second.id, first.id);
    assert_eq!(guess(Some(1)).await, TryVerdict::NoChallenge);
    assert!(matches!(guess(Some(2)).await, TryVerdict::Compare(_)));
}

async fn a_right_answer_is_not_counted_as_wrong(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    for _ in 0..2 {
        for _ in 0..5 {
            let answered = story.sent(STRANGERS).await;
            // Two tabs answer at once: twenty guesses a day, more than the fifteen wrong ones allowed.
            for _ in 0..2 {
                assert!(matches!(story.guess(STRANGERS, None).await, TryVerdict::Compare(_)));
            }
            assert!(story.consume(answered).await);
            assert!(!story.consume(answered).await);
            story.nodes.clock.advance(COOLDOWN);
        }
        story.nodes.clock.advance(HOUR);
    }
}

async fn a_send_given_back_was_never_booked(nodes: Nodes) {
    let story = Story::new(nodes, Profile::Classic);
    let SendVerdict::Send { sent_at, .. } = story.send(STRANGERS).await else { panic!("not sent") };

    story.nodes.other.give_back_send(story.tenant, &story.subject, STRANGERS, sent_at).await.unwrap();

    story.sent(STRANGERS).await;
}

async fn tenants_owners_and_purposes_are_apart(nodes: Nodes) {
    let mut story = Story::new(nodes, Profile::Classic);
    story.sent(STRANGERS).await;
    let (tenant, subject) = (story.tenant, story.subject);

    story.tenant = TenantId::random(story.nodes.draw());
    story.sent(STRANGERS).await;
    story.tenant = tenant;
    story.subject = CodeSubject { purpose: CodePurpose::NewDevice, ..subject };
    story.sent(STRANGERS).await;
    story.subject = CodeSubject { owner: CodeOwner::Contact([4; 32]), ..subject };
    story.sent(STRANGERS).await;
    story.subject = subject;
    assert!(matches!(story.send(STRANGERS).await, SendVerdict::Cooling { .. }));
}

on_every_store!(
    a_code_sent_after_a_password_ends_with_it,
    whoever_waits_as_long_as_a_refusal_says_is_sent_a_code,
    a_test_identity_and_an_ordinary_contact_neither_share_a_code_nor_wait_for_the_others,
    after_a_password_the_code_that_was_just_sent_is_told_of_at_the_ceiling_too,
    a_resend_waits_for_the_cooldown_and_carries_the_same_challenge,
    the_sixth_send_of_an_hour_and_the_eleventh_of_a_day_wait,
    a_code_dies_with_its_tries_or_its_time,
    two_hundred_right_answers_at_once_have_one_winner,
    a_repeated_call_gets_the_first_verdict,
    ten_wrong_short_codes_silence_strangers_for_an_hour_but_not_the_device,
    fifteen_wrong_short_codes_end_strangers_guesses_for_the_day,
    a_right_answer_is_not_counted_as_wrong,
    a_send_given_back_was_never_booked,
    tenants_owners_and_purposes_are_apart,
);
