//! PostgreSQL breaks under two nodes.

use std::sync::Arc;

use sqlx::query;

use super::{Codes, World, ask_for_a_code, short_deadlines};
use crate::harness::databases::TestDatabase;
use crate::harness::node::Cluster;
use crate::harness::postgres::{self, OwnPostgres};
use crate::harness::redis;
use crate::harness::switch::Switch;

/// No row is written any more, with the error that tells so.
const TABLES_ARE_FULL: &str = "DO $do$
    DECLARE t text;
    BEGIN
        CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
        END $$;
        FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('CREATE TRIGGER is_full BEFORE INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION is_full()', t);
        END LOOP;
    END $do$";

async fn world(postgres: &OwnPostgres, redis: &str) -> World {
    world_at(postgres.url(), redis).await
}

async fn world_at(url: String, redis: &str) -> World {
    let database = TestDatabase::on_own_server(url);
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

/// Each statement waits for a lock on its table until the server itself gives up.
#[tokio::test(flavor = "multi_thread")]
async fn too_slow_it_keeps_nobody_waiting() {
    let Some(redis) = redis::shared_url() else { return };
    let Some(postgres) = OwnPostgres::start().await else { return };
    let world = world(&postgres, &redis).await;
    let mut holding = postgres.connect().await;
    query("BEGIN").execute(&mut holding).await.unwrap();
    query("LOCK TABLE accounts, contacts, attempts, sessions, outbox IN ACCESS EXCLUSIVE MODE")
        .execute(&mut holding)
        .await
        .unwrap();
    world.attack().await;
    world.cannot_log_in().await;
    query("ROLLBACK").execute(&mut holding).await.unwrap();
    world.recovers().await;
    world.holds(Codes::Kept).await;
}

/// A connection is taken and then ended with an error.
#[tokio::test(flavor = "multi_thread")]
async fn out_of_memory_it_keeps_nobody_waiting() {
    let Some(redis) = redis::shared_url() else { return };
    let Some(postgres) = OwnPostgres::start().await else { return };
    let world = world(&postgres, &redis).await;
    postgres.starve().await;
    world.attack().await;
    world.cannot_log_in().await;
    postgres.feed();
    world.recovers().await;
    world.holds(Codes::Kept).await;
}

/// What cannot be written of a table's new rows fails alone: reading goes on, and so does the server.
#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_its_tables_it_gives_no_session_and_no_code() {
    let Some(redis) = redis::shared_url() else { return };
    let Some(postgres) = OwnPostgres::start().await else { return };
    let mut world = world(&postgres, &redis).await;
    postgres.execute(TABLES_ARE_FULL).await;
    world.attack().await;
    world.cannot_log_in().await;
    // The owner's password was compared on each node: only the session found no room.
    world.compared_before += 2.0;
    postgres.execute("DROP FUNCTION is_full CASCADE").await;
    world.recovers().await;
    world.holds(Codes::Kept).await;
}

/// Without room for its log a server ends itself, and does so again whenever it is started.
#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_its_log_it_has_lost_no_lock() {
    let Some(redis) = redis::shared_url() else { return };
    let Some(mut postgres) = OwnPostgres::start().await else { return };
    let world = world(&postgres, &redis).await;
    postgres.fill_its_disk();
    world.attack().await;
    postgres.ends().await;
    world.cannot_log_in().await;
    postgres.restart().await;
    world.recovers().await;
    world.holds(Codes::Kept).await;
}

/// Another server stands behind the same address: first it may only be read, then it is the primary.
#[tokio::test(flavor = "multi_thread")]
async fn failed_over_to_its_stand_by_it_has_lost_no_lock() {
    let Some(redis) = redis::shared_url() else { return };
    let Some(mut primary) = OwnPostgres::start().await else { return };
    let stand_by = primary.stand_by().await;
    let address = Switch::to(primary.port()).await;
    let world = world_at(postgres::url(address.port()), &redis).await;
    primary.kill();
    world.attack().await;
    address.point_at(stand_by.port());
    for node in &world.cluster.nodes {
        // What can be read is compared; what has to be written is refused.
        ask_for_a_code(node).await.must_be(503);
    }
    stand_by.promote().await;
    world.recovers().await;
    world.holds(Codes::Kept).await;
}
