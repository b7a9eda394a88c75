//! Random stories of two nodes, step by step against the pure `judge`.
//!
//! Waits are multiples of seven seconds, and no bucket here has room for one more at such a moment
//! exactly: the milliseconds between the store's clock and the model's decide nothing.

use std::time::Duration;

use guichet::domain::ids::TenantId;
use guichet::domain::limits::LimitSubject;
use guichet::domain::limits::bucket::{Bucket, Check, Rate, judge};
use guichet::ephemeral::LimitCheck;
use proptest::prelude::*;

use super::Nodes;
use super::stories::stories;

const RATES: [(&str, u32, u64, bool); 4] = [
    ("login-client", 3, 100, true),
    ("code-client", 7, 200, true),
    ("api-client", 2, 100, false),
    ("tenant-total", 5, 130, true),
];

#[derive(Debug, Clone)]
enum Step {
    Ask { node: usize, limits: Vec<usize> },
    Wait { sevens: u64 },
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let limits = || prop::sample::subsequence((0..RATES.len()).collect::<Vec<_>>(), 1..=RATES.len());
    let step = prop_oneof![
        20 => (0..2_usize, limits()).prop_map(|(node, limits)| Step::Ask { node, limits }),
        5 => (1..8_u64).prop_map(|sevens| Step::Wait { sevens }),
        1 => prop::bool::weighted(0.2).prop_map(|flush| if flush { Step::Flush } else { Step::Wait { sevens: 40 } }),
    ];
    prop::collection::vec(step, 1..80)
}

fn rate(of: usize) -> Rate {
    Rate { requests: RATES[of].1, window: Duration::from_secs(RATES[of].2) }
}

async fn ask(nodes: &Nodes, tenant: TenantId, model: &mut [Bucket], node: usize, limits: &[usize]) {
    let subject = LimitSubject::client("2001:db8::1".parse().unwrap());
    let checks: Vec<_> = limits
        .iter()
        .map(|of| LimitCheck { name: RATES[*of].0, subject, rate: rate(*of), enforced: RATES[*of].3 })
        .collect();
    let rules: Vec<_> = limits.iter().map(|of| Check { rate: rate(*of), enforced: RATES[*of].3 }).collect();
    let now = nodes.clock.now();
    let told = nodes.node(node).check_limits(tenant, &checks).await.unwrap();
    let mut buckets: Vec<_> = limits.iter().map(|of| model[*of]).collect();
    let expected = judge(&rules, &mut buckets, now);
    if expected.admitted {
        for (of, bucket) in limits.iter().zip(buckets) {
            model[*of] = bucket;
        }
    }

    assert_eq!(told.admitted, expected.admitted, "{limits:?}");
    for ((told, expected), of) in told.standings.iter().zip(&expected.standings).zip(limits) {
        assert_eq!(told.over, expected.over, "{}", RATES[*of].0);
        let apart = told.level.abs_diff(expected.level) / u64::from(rate(*of).requests);
        assert!(apart < 1_000, "{}: {apart} ms apart", RATES[*of].0);
    }
}

async fn story(nodes: &Nodes, steps: Vec<Step>) {
    let tenant = TenantId::random(nodes.draw());
    let mut model = [Bucket::default(); RATES.len()];
    for step in steps {
        match step {
            Step::Ask { node, limits } => ask(nodes, tenant, &mut model, node, &limits).await,
            Step::Wait { sevens } => nodes.clock.advance(Duration::from_secs(7 * sevens)),
            Step::Flush => {
                nodes.flush().await;
                model = Default::default();
            }
        }
    }
}

stories!(in_process: 256, on_redis: 128);
