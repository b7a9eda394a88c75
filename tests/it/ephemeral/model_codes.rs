//! Random stories of two nodes, step by step against the pure `CodeBook`.
//!
//! As in the story of attempts, waits are multiples of seven seconds and no span of the rules is.

use std::time::Duration;

use guichet::domain::ids::{ChallengeId, DeviceId, TenantId};
use guichet::domain::lockout::Lane;
use guichet::domain::otp::{CodeBook, CodePurpose, CodeRules, Send, SendVerdict, TryVerdict};
use guichet::domain::policy::{Policy, Profile};
use guichet::domain::time::Timestamp;
use guichet::ephemeral::{CodeOwner, CodeSubject, Consume, Guess};
use proptest::prelude::*;

use super::stories::stories;
use super::{Nodes, assert_alike};

#[derive(Debug, Clone)]
enum Step {
    Send { node: usize, lane: usize, reply_lost: bool },
    GiveBack { node: usize },
    Guess { node: usize, lane: usize, named: usize, reply_lost: bool },
    Consume { node: usize, lane: usize, reply_lost: bool },
    Withdraw,
    Relist,
    Wait { sevens: u64 },
    Flush,
}

/// Whether codes are sent after a password, and what happens.
fn steps() -> impl Strategy<Value = (bool, Vec<Step>)> {
    let lane = || prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    let lost = || prop::bool::weighted(0.2);
    // A few seconds, a code's life, an hour, most of a day.
    let sevens = prop_oneof![4 => 1..8_u64, 2 => 8..50_u64, 2 => 50..600_u64, 1 => 600..12_000_u64];
    let step = prop_oneof![
        8 => (0..2_usize, lane(), lost()).prop_map(|(node, lane, reply_lost)| Step::Send { node, lane, reply_lost }),
        1 => (0..2_usize).prop_map(|node| Step::GiveBack { node }),
        16 => (0..2_usize, lane(), 0..4_usize, lost())
            .prop_map(|(node, lane, named, reply_lost)| Step::Guess { node, lane, named, reply_lost }),
        3 => (0..2_usize, lane(), lost())
            .prop_map(|(node, lane, reply_lost)| Step::Consume { node, lane, reply_lost }),
        1 => Just(Step::Withdraw),
        1 => Just(Step::Relist),
        6 => sevens.prop_map(|sevens| Step::Wait { sevens }),
        1 => prop::bool::weighted(0.3).prop_map(|flush| if flush { Step::Flush } else { Step::Wait { sevens: 5 } }),
    ];
    (prop::bool::ANY, prop::collection::vec(step, 1..80))
}

/// One contact's story.
struct World<'a> {
    nodes: &'a Nodes,
    tenant: TenantId,
    subject: CodeSubject,
    rules: CodeRules,
    model: CodeBook,
    /// The last challenge sent.
    latest: Option<ChallengeId>,
    /// The version of the password, where codes are sent after one.
    version: Option<i64>,
    /// Whether the contact is a test identity.
    is_listed: bool,
    /// The last send: its lane, and its moment in the store and in the model.
    booked: Option<(Lane, Timestamp, Timestamp)>,
    /// Guesses that were compared with the latest challenge by strangers.
    compared: u32,
}

impl World<'_> {
    async fn send(&mut self, node: usize, lane: Lane, calls: u32) {
        let id = self.nodes.draw();
        let fresh = if self.is_listed { ChallengeId::for_test(id) } else { ChallengeId::random(id) };
        let ask =
            Send { operation: self.nodes.operation(), fresh, key_id: "k".to_owned(), lane, credential: self.version };
        for _ in 0..calls {
            let now = self.nodes.clock.now();
            let store = self.nodes.node(node);
            let sent = store.send_code(self.tenant, &self.subject, &self.rules, &ask).await.unwrap();
            let expected = self.model.send(&self.rules, &ask, now);
            assert_alike(&sent, &expected, "send");
            if let SendVerdict::Cooling { wait, .. } | SendVerdict::Ceiling(wait) = expected {
                let later = self.model.clone().send(&self.rules, &ask, wait.until);
                assert!(matches!(later, SendVerdict::Send { .. }), "waited for nothing: {later:?}");
            }
            let (SendVerdict::Send { challenge, sent_at }, SendVerdict::Send { sent_at: modelled, .. }) =
                (sent, expected)
            else {
                continue;
            };
            if self.latest.replace(challenge.id) != Some(challenge.id) {
                self.compared = 0;
            }
            self.booked = Some((lane, sent_at, modelled));
        }
    }

    async fn give_back(&mut self, node: usize) {
        let Some((lane, sent_at, modelled)) = self.booked.take() else { return };
        self.nodes.node(node).give_back_send(self.tenant, &self.subject, lane, sent_at).await.unwrap();
        self.model.give_back(lane, modelled);
    }

    async fn guess(&mut self, node: usize, lane: Lane, named: usize, calls: u32) {
        let wanted = match named {
            0 => self.latest,
            1 => Some(ChallengeId::random([0xee; 16])),
            _ => None,
        };
        let credential = self.version;
        let guess = Guess { operation: self.nodes.operation(), lane, wanted, credential };
        for call in 0..calls {
            let now = self.nodes.clock.now();
            let store = self.nodes.node(node);
            let taken = store.guess_code(self.tenant, &self.subject, &self.rules, &guess).await.unwrap();
            let expected = self.model.guess(&self.rules, guess.operation, lane, wanted, credential, now);
            assert_alike(&taken, &expected, "guess");
            if call == 0 && lane == Lane::Strangers && matches!(taken, TryVerdict::Compare(_)) {
                self.compared += 1;
                assert!(self.compared <= self.rules.code.tries, "more than the tries were compared");
            }
        }
    }

    async fn consume(&mut self, node: usize, lane: Lane, calls: u32) {
        let Some(answered) = self.latest else { return };
        let consume = Consume { operation: self.nodes.operation(), lane, answered };
        for _ in 0..calls {
            let now = self.nodes.clock.now();
            let won = self.nodes.node(node).consume_code(self.tenant, &self.subject, &consume).await.unwrap();
            assert_eq!(won, self.model.consume(consume.operation, lane, answered, now), "consume");
        }
    }

    async fn take(&mut self, step: Step) {
        let lanes = [Lane::Strangers, Lane::Device(DeviceId::random([1; 16]))];
        let calls = |reply_lost| if reply_lost { 2 } else { 1 };
        match step {
            Step::Send { node, lane, reply_lost } => self.send(node, lanes[lane], calls(reply_lost)).await,
            Step::GiveBack { node } => self.give_back(node).await,
            Step::Guess { node, lane, named, reply_lost } => {
                self.guess(node, lanes[lane], named, calls(reply_lost)).await;
            }
            Step::Consume { node, lane, reply_lost } => self.consume(node, lanes[lane], calls(reply_lost)).await,
            Step::Withdraw => self.version = self.version.map(|version| version + 1),
            // The contact becomes a test identity, or an ordinary one again.
            Step::Relist => self.is_listed = !self.is_listed,
            Step::Wait { sevens } => self.nodes.clock.advance(Duration::from_secs(7 * sevens)),
            Step::Flush => {
                self.nodes.flush().await;
                self.model = CodeBook::default();
            }
        }
    }
}

async fn story(nodes: &Nodes, (has_password, steps): (bool, Vec<Step>)) {
    let subject = CodeSubject { owner: CodeOwner::Contact([8; 32]), purpose: CodePurpose::PhoneSignIn };
    let mut world = World {
        nodes,
        tenant: TenantId::random(nodes.draw()),
        subject,
        rules: CodeRules::of(&Policy::of(Profile::Classic), subject.purpose),
        model: CodeBook::default(),
        latest: None,
        version: has_password.then_some(1),
        is_listed: false,
        booked: None,
        compared: 0,
    };
    for step in steps {
        world.take(step).await;
    }
}

stories!(in_process: 256, on_redis: 256);
