//! Replicas: waited for, read-only, cut off, promoted.

use std::{error::Error as _, time::Duration};

use idempotent_redis::{ConnectError, RedisStore, ReplicasBehind};
use idempotent_runtime::{Store, StoreError};
use idempotent_servers::{RedisServer, redis_command, until};

use crate::kit::{TTL, ask, connect, info, state, unknown};

pub(crate) fn until_in_sync(master: &RedisServer, replicas: usize) {
    until("replicas that follow", || {
        let replication = master.command(&["INFO", "replication"]);
        (replication.matches("state=online").count() == replicas).then_some(())
    });
}

fn pair() -> Option<(RedisServer, RedisServer)> {
    let master = RedisServer::start()?;
    let replica = RedisServer::builder().replica_of(&master).start()?;
    until_in_sync(&master, 1);
    Some((master, replica))
}

/// Waits so long that a replica on a busy machine is no reason to fail.
async fn waiting(server: &RedisServer, replicas: u32) -> RedisStore {
    let builder = RedisStore::builder()
        .response_timeout(Duration::from_secs(15))
        .wait_for_replicas(replicas, Duration::from_secs(3));
    builder.connect(server.url()).await.unwrap()
}

#[tokio::test]
async fn a_write_that_was_waited_for_outlives_its_master() {
    let Some((mut master, replica)) = pair() else { return };
    let store = waiting(&master, 1).await;
    let (ended, running) = (ask(), ask());
    ended.completed(&store).await;
    let lease = running.granted(&store).await;
    master.kill();
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let promoted = connect(&replica).await;
    assert_eq!(ended.again().replayed(&promoted).await, ended.record());
    promoted.complete(&lease, running.record(), TTL).await.unwrap();
    assert_eq!(running.again().replayed(&promoted).await, running.record());
}

#[tokio::test]
async fn a_write_that_too_few_replicas_acknowledge_is_unknown_and_stands() {
    let Some((master, mut replica)) = pair() else { return };
    let store = waiting(&master, 1).await;
    let running = ask();
    let lease = running.granted(&store).await;
    replica.pause();

    let asked = ask();
    for error in [
        unknown(asked.of(&store).await),
        unknown(store.complete(&lease, running.record(), TTL).await),
    ] {
        let behind = error.source().and_then(|source| source.downcast_ref::<ReplicasBehind>());
        let behind = behind.unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!((behind.acknowledged, behind.wanted), (0, 1));
    }
    // A refusal is none of the replicas' business, and changes nothing.
    assert_eq!(state(&store, running).await, "completed");
    replica.resume();
    until("a replica that has caught up", || {
        let offset = |name| info(&master, name);
        let slave = offset("slave0");
        slave.contains(&format!("offset={},", offset("master_repl_offset"))).then_some(())
    });
    assert_eq!(asked.granted(&store).await.attempt, 1);
    assert_eq!(running.again().replayed(&store).await, running.record());
}

#[tokio::test]
async fn a_wait_as_long_as_an_answer_is_refused() {
    let wait = |within| {
        RedisStore::builder()
            .response_timeout(Duration::from_secs(1))
            .wait_for_replicas(1, within)
            .connect("redis://127.0.0.1:1/")
    };
    let refused = wait(Duration::from_secs(1)).await;
    assert!(matches!(refused, Err(ConnectError::ReplicaTimeout)), "{refused:?}");
    let refused = wait(Duration::ZERO).await;
    assert!(matches!(refused, Err(ConnectError::ZeroTimeout)), "{refused:?}");
}

#[tokio::test]
async fn a_read_only_replica_is_unavailable_and_can_be_looked_at() {
    let Some((mut master, replica)) = pair() else { return };
    let ended = ask();
    ended.completed(&waiting(&master, 1).await).await;
    let store = connect(&replica).await;
    unknown(ask().of(&store).await);
    assert_eq!(state(&store, ended).await, "completed");

    // Cut off from its master, it may be told to answer nothing at all.
    replica.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    master.kill();
    until("a replica that misses its master", || {
        let answer = redis_command(replica.port(), &["GET", "a"]);
        answer.is_err_and(|error| error.starts_with("MASTERDOWN")).then_some(())
    });
    unknown(ask().of(&store).await);
    unknown(ended.again().of(&store).await);
}

#[tokio::test]
async fn a_master_that_misses_its_replicas_is_unavailable() {
    let Some(master) = RedisServer::builder().option("min-replicas-to-write", "1").start() else {
        return;
    };
    let store = connect(&master).await;
    let answer = ask().of(&store).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}
