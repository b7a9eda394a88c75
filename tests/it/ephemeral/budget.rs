//! Ceilings of money: the Redis scripts against the pure book, and what two nodes may take together.

use std::sync::Arc;
use std::time::Duration;

use guichet::domain::budget::{
    BudgetBook, BudgetMode, BudgetPolicy, Ceiling, Money, Rates, RatioPolicy, SmsPolicy, Spend, Withheld,
};
use guichet::domain::ids::{OperationId, TenantId};
use guichet::ephemeral::{MailVerdict, RecipientCount};
use proptest::prelude::*;

use super::stories::stories;
use super::{Nodes, assert_alike, on_every_store};

on_every_store!(
    two_nodes_at_once_never_spend_one_message_too_many,
    ten_thousand_numbers_of_one_prefix_from_five_thousand_networks_stay_within_the_budget,
    a_recipient_has_fifty_messages_a_day_over_all_tenants,
    what_was_given_back_to_a_recipient_may_be_sent_again,
    an_hours_money_outlives_no_day,
);

fn rates(hour: u64, day: u64) -> Rates {
    Rates { hour, day }
}

fn policy() -> BudgetPolicy {
    let money = |units: u64| Money::micros(units * 50_000);
    BudgetPolicy {
        hour: Ceiling { messages: 20, money: money(18) },
        day: Ceiling { messages: 90, money: money(80) },
        prefix: rates(6, 30),
        client: rates(9, 40),
        ratio: RatioPolicy { after: rates(5, 12), percent: 30, pause: Duration::from_secs(1_500) },
        ..SmsPolicy::narrow().budget
    }
}

/// A message of some stranger; numbers are not parsed here.
fn spend(nodes: &Nodes, region: &str, prefix: Option<&str>, client: Option<&str>) -> Spend {
    Spend {
        operation: nodes.operation(),
        region: region.to_owned(),
        unproven_prefix: prefix.map(str::to_owned),
        client: client.map(str::to_owned),
        cost: Money::micros(50_000),
        withheld: None,
    }
}

async fn two_nodes_at_once_never_spend_one_message_too_many(nodes: Nodes) {
    let tenant = TenantId::random(nodes.draw());
    let ratio = RatioPolicy { percent: 0, ..policy().ratio };
    let policy = BudgetPolicy { prefix: rates(12, 500), client: rates(1_000, 1_000), ratio, ..policy() };
    let nodes = Arc::new(nodes);
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..200_usize {
        let (nodes, policy) = (Arc::clone(&nodes), policy.clone());
        let client = format!("192.0.{call}.0/24");
        calls.spawn(async move {
            let spend = spend(&nodes, "SN", Some("2217712"), Some(&client));
            nodes.node(call % 2).take_budget(tenant, &policy, &spend).await.unwrap().taken
        });
    }

    let taken = calls.join_all().await.into_iter().filter(|taken| *taken).count();

    assert_eq!(taken, 12);
    assert_eq!(nodes.other.budget_usage(tenant).await.unwrap().hour_messages, 12);
    let elsewhere = spend(&nodes, "SN", Some("2217812"), None);
    assert!(nodes.one.take_budget(tenant, &policy, &elsewhere).await.unwrap().taken);
    let other_tenant = TenantId::random(nodes.draw());
    let theirs = spend(&nodes, "SN", Some("2217712"), None);
    assert!(nodes.one.take_budget(other_tenant, &policy, &theirs).await.unwrap().taken);
}

async fn ten_thousand_numbers_of_one_prefix_from_five_thousand_networks_stay_within_the_budget(nodes: Nodes) {
    let tenant = TenantId::random(nodes.draw());
    // A new tenant's own numbers, but for a prefix wide open: the tenant's money must hold alone.
    let default = SmsPolicy::narrow().budget;
    let hour = Ceiling { money: Money::units(2), ..default.hour };
    let policy = BudgetPolicy { hour, prefix: rates(100_000, 100_000), ..default };
    let nodes = Arc::new(nodes);
    let mut bots = tokio::task::JoinSet::new();
    for bot in 0..20_usize {
        let (nodes, policy) = (Arc::clone(&nodes), policy.clone());
        bots.spawn(async move {
            let mut spent = 0;
            for n in 0..500 {
                let network = bot * 250 + n / 2;
                let mut bytes = [7; 16];
                // The harness' ids begin anew after 4,096: a version stands where they carry over.
                bytes[..4].copy_from_slice(&u32::try_from(bot * 500 + n).unwrap().to_be_bytes());
                let spend = spend(&nodes, "SN", Some("2217712"), Some(&format!("network {network}")));
                let spend = Spend { operation: OperationId::random(bytes), ..spend };
                let verdict = nodes.node(n % 2).take_budget(tenant, &policy, &spend).await.unwrap();
                spent += if verdict.taken { spend.cost.as_micros() } else { 0 };
            }
            spent
        });
    }

    let spent: u64 = bots.join_all().await.into_iter().sum();

    assert_eq!(Money::micros(spent), Money::units(2));
    assert_eq!(nodes.one.budget_usage(tenant).await.unwrap().hour_micros, spent);
}

async fn count(nodes: &Nodes, recipient: [u8; 32]) -> (RecipientCount, bool) {
    let message = RecipientCount { operation: nodes.operation(), recipient, per_day: 50 };
    let verdict = nodes.one.count_recipient(&message).await.unwrap();
    (message, verdict == MailVerdict::Allowed)
}

async fn a_recipient_has_fifty_messages_a_day_over_all_tenants(nodes: Nodes) {
    let recipient = [7; 32];
    for _ in 0..50 {
        let (message, allowed) = count(&nodes, recipient).await;
        assert!(allowed);
        // A lost reply costs nothing.
        assert_eq!(nodes.other.count_recipient(&message).await.unwrap(), MailVerdict::Allowed);
        nodes.clock.advance(Duration::from_secs(60));
    }

    let message = RecipientCount { operation: nodes.operation(), recipient, per_day: 50 };
    let refused = nodes.other.count_recipient(&message).await.unwrap();

    let MailVerdict::Refused(wait) = refused else { panic!("{refused:?}") };
    let left = wait.left();
    assert!((Duration::from_hours(23)..Duration::from_hours(24)).contains(&left), "{left:?}");
    assert!(count(&nodes, [8; 32]).await.1);
}

async fn what_was_given_back_to_a_recipient_may_be_sent_again(nodes: Nodes) {
    let recipient = [9; 32];
    let (first, _) = count(&nodes, recipient).await;
    for _ in 1..50 {
        assert!(count(&nodes, recipient).await.1);
    }
    assert!(!count(&nodes, recipient).await.1);

    nodes.other.give_back_recipient(&first).await.unwrap();
    nodes.other.give_back_recipient(&first).await.unwrap();

    assert!(count(&nodes, recipient).await.1);
    assert!(!count(&nodes, recipient).await.1);
}

/// As the scripts keep it: sums far beyond what a JSON number of Redis would carry.
async fn an_hours_money_outlives_no_day(nodes: Nodes) {
    let tenant = TenantId::random(nodes.draw());
    let vast = Ceiling { messages: 1_000, money: Money::units(1_000_000_000) };
    let policy = BudgetPolicy { hour: vast, day: vast, ..policy() };
    let cost = Money::micros(999_999_999_999);
    for _ in 0..999 {
        let spend = Spend { cost, ..spend(&nodes, "VN", None, None) };
        assert!(nodes.one.take_budget(tenant, &policy, &spend).await.unwrap().taken);
    }

    let usage = nodes.other.budget_usage(tenant).await.unwrap();
    nodes.clock.advance(Duration::from_hours(25));
    let later = nodes.other.budget_usage(tenant).await.unwrap();

    assert_eq!((usage.day_messages, usage.day_micros), (999, 999 * 999_999_999_999));
    assert_eq!((later.day_messages, later.day_micros), (0, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Take { node: usize, region: usize, prefix: Option<usize>, client: Option<usize>, cost: u64, reply_lost: bool },
    TakeWithheld { node: usize, region: usize },
    GiveBack { node: usize, reply_lost: bool },
    Verified { node: usize, region: usize },
    Record(bool),
    Wait { sevens: u64 },
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let maybe = || prop::option::weighted(0.8, 0..3_usize);
    let lost = || prop::bool::weighted(0.2);
    let node = || 0..2_usize;
    // A minute, a bucket, a stop, most of a day.
    let sevens = prop_oneof![4 => 1..8_u64, 3 => 20..90_u64, 2 => 90..600_u64, 1 => 600..12_000_u64];
    let take = (node(), 0..2_usize, maybe(), maybe(), 0..3_u64, lost()).prop_map(
        |(node, region, prefix, client, cost, reply_lost)| Step::Take {
            node,
            region,
            prefix,
            client,
            cost,
            reply_lost,
        },
    );
    let step = prop_oneof![
        20 => take,
        1 => (node(), 0..2_usize).prop_map(|(node, region)| Step::TakeWithheld { node, region }),
        2 => (node(), lost()).prop_map(|(node, reply_lost)| Step::GiveBack { node, reply_lost }),
        3 => (node(), 0..2_usize).prop_map(|(node, region)| Step::Verified { node, region }),
        1 => prop::bool::ANY.prop_map(Step::Record),
        6 => sevens.prop_map(|sevens| Step::Wait { sevens }),
        1 => prop::bool::weighted(0.2).prop_map(|flush| if flush { Step::Flush } else { Step::Wait { sevens: 5 } }),
    ];
    prop::collection::vec(step, 1..100)
}

const REGIONS: [&str; 2] = ["SN", "FR"];

/// One tenant's story.
struct World<'a> {
    nodes: &'a Nodes,
    tenant: TenantId,
    policy: BudgetPolicy,
    model: BudgetBook,
    last: Option<Spend>,
}

impl World<'_> {
    async fn spend(&mut self, node: usize, spend: Spend, calls: u32) {
        for _ in 0..calls {
            let now = self.nodes.clock.now();
            let verdict = self.nodes.node(node).take_budget(self.tenant, &self.policy, &spend).await.unwrap();
            assert_alike(&verdict, &self.model.take(&self.policy, &spend, now), "take");
        }
        self.last = Some(spend);
    }

    async fn take(&mut self, step: Step) {
        let calls = |reply_lost| if reply_lost { 2 } else { 1 };
        match step {
            Step::Take { node, region, prefix, client, cost, reply_lost } => {
                let prefix = prefix.map(|n| format!("22177{n}0"));
                let client = client.map(|n| format!("192.0.{n}.0/24"));
                let spend = spend(self.nodes, REGIONS[region], prefix.as_deref(), client.as_deref());
                let spend = Spend { cost: Money::micros(50_000 * cost), ..spend };
                self.spend(node, spend, calls(reply_lost)).await;
            }
            Step::TakeWithheld { node, region } => {
                let spend = spend(self.nodes, REGIONS[region], Some("2217712"), None);
                self.spend(node, Spend { withheld: Some(Withheld::Region), ..spend }, 1).await;
            }
            Step::GiveBack { node, reply_lost } => {
                let Some(spend) = &self.last else { return };
                for _ in 0..calls(reply_lost) {
                    self.nodes.node(node).give_back_budget(self.tenant, spend).await.unwrap();
                    self.model.give_back(spend);
                }
            }
            Step::Verified { node, region } => {
                self.nodes.node(node).count_verified(self.tenant, REGIONS[region]).await.unwrap();
                self.model.verified(REGIONS[region], self.nodes.clock.now());
            }
            Step::Record(record) => {
                self.policy.mode = if record { BudgetMode::Record } else { BudgetMode::Enforce };
            }
            Step::Wait { sevens } => {
                self.nodes.clock.advance(Duration::from_secs(7 * sevens));
                self.last = None;
            }
            Step::Flush => {
                self.nodes.flush().await;
                self.model = BudgetBook::default();
            }
        }
        let usage = self.nodes.one.budget_usage(self.tenant).await.unwrap();
        assert_alike(&usage, &self.model.usage(self.nodes.clock.now()), "usage");
    }
}

/// Buckets end at round seconds: every step is taken in the middle of one, so that its two calls
/// never fall on different sides. Waits are multiples of seven seconds, and no span of the rules is.
fn in_the_middle_of_a_second(nodes: &Nodes) -> bool {
    let past = nodes.clock.now().as_millis().rem_euclid(7_000) - 3_500;
    let is_there = (0..100).contains(&past);
    if !is_there {
        nodes.clock.advance(Duration::from_millis(u64::try_from(7_000 - past).unwrap()));
    }
    is_there
}

async fn story(nodes: &Nodes, steps: Vec<Step>) {
    let tenant = TenantId::random(nodes.draw());
    let mut world = World { nodes, tenant, policy: policy(), model: BudgetBook::default(), last: None };
    for step in steps {
        if !in_the_middle_of_a_second(nodes) {
            // Forgotten by both after a minute, but Redis goes by its own clock.
            world.last = None;
        }
        world.take(step).await;
    }
}

stories!(in_process: 128, on_redis: 128);
