//! Redis breaks under two nodes, in every way it can.

use std::time::Duration;

use tokio::time::Instant;

use super::{Codes, RECOVERY, THRESHOLD, World, short_deadlines};
use crate::harness::node::Cluster;
use crate::harness::redis::OwnRedis;
use crate::harness::switch::Switch;
use crate::nodes::{PASSWORD, Person};

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again_empty_it_gives_nobody_a_guess() {
    let Some(mut redis) = OwnRedis::start(&[]).await else { return };
    World::on(&redis.url(), |world| async move {
        redis.kill();
        world.is_refused().await;
        redis.restart().await;
        world.recovers().await;
        world.holds(Codes::Lost).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied_while_it_runs_it_gives_nobody_a_guess() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    World::on(&redis.url(), |world| async move {
        redis.command(&["FLUSHALL"]).await;
        world.recovers().await;
        world.holds(Codes::Lost).await;
    })
    .await;
}

/// Whatever was in flight runs when it wakes, after its callers have given up.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_in_the_middle_of_an_attack_it_counts_what_it_ran_late() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    World::on(&redis.url(), |world| async move {
        let freezing = async {
            tokio::time::sleep(Duration::from_millis(15)).await;
            redis.signal("STOP");
        };
        tokio::join!(world.attack(), freezing);
        world.is_refused().await;
        redis.signal("CONT");
        world.recovers().await;
        world.holds(Codes::Kept).await;
    })
    .await;
}

/// Slower than a reply may be: callers give up, their calls run all the same.
#[tokio::test(flavor = "multi_thread")]
async fn too_slow_it_is_away() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    World::on(&redis.url(), |world| async move {
        for _ in 0..3 {
            redis.command(&["CLIENT", "PAUSE", "1500", "ALL"]).await;
            world.attack().await;
        }
        world.recovers().await;
        world.holds(Codes::Kept).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_it_is_away_until_there_is_room() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    World::on(&redis.url(), |world| async move {
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
        world.is_refused().await;
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
        world.recovers().await;
        world.holds(Codes::Kept).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_scripts_it_is_told_them_again() {
    let Some(redis) = OwnRedis::start(&[]).await else { return };
    World::on(&redis.url(), |world| async move {
        redis.command(&["SCRIPT", "FLUSH", "SYNC"]).await;
        let refused = world.attack().await.iter().filter(|answer| answer.status == 503).count();
        assert_eq!(refused, 0);
        world.recovers().await;
        world.holds(Codes::Kept).await;
    })
    .await;
}

/// Demoted it may not write, promoted it has what the other had.
#[tokio::test(flavor = "multi_thread")]
async fn demoted_to_a_replica_it_is_away_until_it_is_promoted() {
    let (Some(redis), Some(other)) = (OwnRedis::start(&[]).await, OwnRedis::start(&[]).await) else { return };
    World::on(&redis.url(), |world| async move {
        other.command(&["REPLICAOF", "127.0.0.1", redis.port()]).await;
        other.is_in_step().await;
        other.command(&["REPLICAOF", "NO", "ONE"]).await;
        redis.command(&["REPLICAOF", "127.0.0.1", other.port()]).await;
        redis.is_in_step().await;
        world.is_refused().await;
        redis.command(&["REPLICAOF", "NO", "ONE"]).await;
        world.recovers().await;
        world.holds(Codes::Kept).await;
    })
    .await;
}

/// A primary, its replica in step, and an address that leads to the primary.
async fn replicated() -> Option<(OwnRedis, OwnRedis, Switch)> {
    let (primary, replica) = (OwnRedis::start(&[]).await?, OwnRedis::start(&[]).await?);
    replica.command(&["REPLICAOF", "127.0.0.1", primary.port()]).await;
    replica.is_in_step().await;
    let address = Switch::to(primary.port()).await;
    Some((primary, replica, address))
}

/// Another server stands behind the same address, with all that the first had told it.
#[tokio::test(flavor = "multi_thread")]
async fn failed_over_to_its_replica_it_gives_nobody_a_guess() {
    let Some((mut primary, replica, address)) = replicated().await else { return };
    World::on(&format!("redis://127.0.0.1:{}/", address.port()), |world| async move {
        primary.kill();
        world.is_refused().await;
        address.point_at(replica.port());
        world.is_refused().await;
        replica.command(&["REPLICAOF", "NO", "ONE"]).await;
        world.recovers().await;
        world.holds(Codes::Kept).await;
    })
    .await;
}

/// The host of the first lost its power: no connection breaks, and none goes on.
#[tokio::test(flavor = "multi_thread")]
async fn vanished_without_a_word_it_is_found_again_where_its_address_leads_now() {
    let Some((_primary, replica, address)) = replicated().await else { return };
    World::on(&format!("redis://127.0.0.1:{}/", address.port()), |world| async move {
        address.point_at(replica.port());
        address.strand();
        world.is_refused().await;
        replica.command(&["REPLICAOF", "NO", "ONE"]).await;
        world.recovers().await;
        world.holds(Codes::Kept).await;
    })
    .await;
}

/// The first lives on as a replica of the second: it breaks no connection, and only refuses to write.
#[tokio::test(flavor = "multi_thread")]
async fn handed_over_to_its_replica_it_is_found_again_where_its_address_leads_now() {
    let Some((primary, replica, address)) = replicated().await else { return };
    World::on(&format!("redis://127.0.0.1:{}/", address.port()), |mut world| async move {
        replica.command(&["REPLICAOF", "NO", "ONE"]).await;
        primary.command(&["REPLICAOF", "127.0.0.1", replica.port()]).await;
        primary.is_in_step().await;
        world.is_refused().await;
        address.point_at(replica.port());
        let moved = Instant::now();
        for node in &world.cluster.nodes {
            // A replica can still say of a lock that it is one; only what is written is judged by the new primary.
            while world.owner.log_in(node, PASSWORD).await.status != 200 {
                assert!(moved.elapsed() < 2 * RECOVERY, "{:?}: {}", moved.elapsed(), node.log());
            }
            world.compared_before += 1.0;
        }
        println!("found within {:?}", moved.elapsed());
        world.recovers().await;
        world.holds(Codes::Kept).await;
    })
    .await;
}

/// Each of them took a place that the replica did not confirm in time; none was compared.
#[tokio::test(flavor = "multi_thread")]
async fn log_ins_that_its_replica_did_not_confirm_count_for_nothing() {
    let Some((primary, replica, _address)) = replicated().await else { return };
    let careful = |node, settings| short_deadlines(node, settings).with("GUICHET__REDIS__WAIT_REPLICAS", "1");
    Cluster::run_on(&primary.url(), careful, |cluster| async move {
        let node = &cluster.nodes[0];
        let owner = Person::register(node, "owner@example.com").await;
        owner.log_in(node, PASSWORD).await.must_be(200);
        replica.signal("STOP");
        for _ in 0..THRESHOLD {
            owner.log_in(node, PASSWORD).await.must_be(503);
        }
        replica.signal("CONT");
        // One place may be taken until that last one is given back, all of them not.
        owner.log_in(node, PASSWORD).await.must_be(200);
    })
    .await;
}
