//! Tells random stories to a store and, step by step, to the pure rules it must agree with.
//!
//! Other stories on every run. One that fails is cut short as far as it still fails, and named
//! with its seed: `GUICHET_TEST_SEED` tells the same ones again.

use std::fmt::Write as _;

use guichet::entropy::Entropy;
use proptest::prelude::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

const SEED: &str = "GUICHET_TEST_SEED";

/// Tells `cases` stories of what `steps` draws; one that does not end well panics.
pub(crate) fn tell<S: Strategy, F: Future<Output = ()>>(
    cases: u32,
    runtime: &Runtime,
    steps: &S,
    story: impl Fn(S::Value) -> F,
) {
    let seed = named_seed().unwrap_or_else(|| Entropy::system().bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let told = |steps| {
        runtime.block_on(story(steps));
        Ok(())
    };
    let stories = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    if let Err(error) = TestRunner::new_with_rng(config, stories).run(steps, told) {
        panic!("{SEED}={} tells it again: {error}", show(seed));
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever repeats a story says so in the environment")]
fn named_seed() -> Option<[u8; 32]> {
    let text = std::env::var(SEED).ok()?;
    Some(std::array::from_fn(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()))
}

fn show(seed: [u8; 32]) -> String {
    seed.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The tests of a file that has `steps` and a `story`: on the store in process, and (where one is
/// named) on Redis.
macro_rules! stories {
    (in_process: $in_process:literal, on_redis: $on_redis:literal) => {
        pub(crate) fn both_agree_with_the_model(
            cases: u32,
            runtime: &tokio::runtime::Runtime,
            nodes: &crate::ephemeral::Nodes,
        ) {
            crate::ephemeral::stories::tell(cases, runtime, &steps(), |steps| story(nodes, steps));
        }

        #[test]
        fn the_in_process_store_is_the_model() {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            both_agree_with_the_model($in_process, &runtime, &crate::ephemeral::Nodes::in_memory());
        }

        #[test]
        fn the_redis_scripts_are_the_model() {
            let Some(url) = crate::harness::redis::shared_url() else { return };
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let nodes = runtime.block_on(crate::ephemeral::Nodes::on_redis(url));
            both_agree_with_the_model($on_redis, &runtime, &nodes);
        }
    };
}
pub(crate) use stories;
