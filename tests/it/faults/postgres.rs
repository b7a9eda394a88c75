//! PostgreSQL breaks under two nodes.

use std::sync::Arc;

use super::{Codes, World, short_deadlines};
use crate::harness::databases::TestDatabase;
use crate::harness::node::Cluster;
use crate::harness::postgres::OwnPostgres;
use crate::harness::redis;

async fn world(postgres: &OwnPostgres, redis: &str) -> World {
    let database = TestDatabase::on_own_server(postgres.url());
    World::of(Arc::new(Cluster::spawn(&database, redis, short_deadlines).await)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again_it_has_lost_no_lock() {
    let Some(redis) = redis::shared_url() else { return };
    let Some(mut postgres) = OwnPostgres::start().await else { return };
    let world = world(&postgres, &redis).await;
    postgres.kill();
    world.attack().await;
    world.cannot_log_in().await;
    postgres.restart().await;
    world.recovers().await;
    world.holds(Codes::Kept).await;
}

/// No error tells that it is away: only the time does.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_it_keeps_nobody_waiting() {
    let Some(redis) = redis::shared_url() else { return };
    let Some(postgres) = OwnPostgres::start().await else { return };
    let world = world(&postgres, &redis).await;
    postgres.pause();
    world.attack().await;
    world.cannot_log_in().await;
    postgres.go_on();
    world.recovers().await;
    world.holds(Codes::Kept).await;
}
