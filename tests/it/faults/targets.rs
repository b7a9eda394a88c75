//! The contract of the ephemeral store, on a Redis Cluster of three primaries and on Valkey: the
//! same functions that a single Redis and the in-process store are held to.
//!
//! One server for all the functions of a file: every run of one has a prefix of its own.

use crate::ephemeral::{self, Nodes};
use crate::harness::redis::{OwnCluster, OwnRedis};

/// Random stories for each model; the store's own tests tell more of them.
const STORIES: u32 = 16;

/// What the nodes stand on, for as long as it is held.
enum Target {
    Cluster(Box<OwnCluster>),
    Valkey(OwnRedis),
}

impl Target {
    async fn cluster() -> Option<Self> {
        Some(Self::Cluster(Box::new(OwnCluster::start().await?)))
    }

    async fn valkey() -> Option<Self> {
        OwnRedis::start_valkey().await.map(Self::Valkey)
    }

    async fn nodes(&self) -> Nodes {
        match self {
            Self::Cluster(cluster) => Nodes::on_cluster(&cluster.urls()).await,
            Self::Valkey(server) => Nodes::on_redis(server.url()).await,
        }
    }
}

macro_rules! contract {
    ($target:ident: $($room:ident),+; $($model:ident),+) => {
        mod $target {
            use super::{STORIES, Target, ephemeral};

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $room() {
                let Some(target) = Target::$target().await else { return };
                ephemeral::$room::all(|| target.nodes()).await;
            })+

            /// In one test: a server takes longer to start than these stories to tell.
            #[test]
            fn scripts_are_the_models() {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let Some(target) = runtime.block_on(Target::$target()) else { return };
                $(
                    let nodes = runtime.block_on(target.nodes());
                    ephemeral::$model::both_agree_with_the_model(STORIES, &runtime, &nodes);
                )+
            }
        }
    };
}

contract!(cluster: attempts, budget, codes, limits, tokens; model_attempts, model_codes, model_limits, budget);
contract!(valkey: attempts, budget, codes, limits, tokens; model_attempts, model_codes, model_limits, budget);
