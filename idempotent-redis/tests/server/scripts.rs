//! Scripts, and what they leave alone.

use bytes::Bytes;
use idempotent_runtime::{Acquired, Store};
use idempotent_servers::RedisServer;

use crate::kit::{LEASE, TTL, ask, connect, info, state};

/// A restart or an operator makes the server lose its scripts.
#[tokio::test]
async fn each_step_outlives_the_loss_of_its_script() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let flush = || server.command(&["SCRIPT", "FLUSH", "SYNC"]);
    let ask = ask();
    for _ in 0..2 {
        flush();
        let lease = ask.again().granted(&store).await;
        flush();
        store.save_step(&lease, "step", Bytes::from_static(b"1")).await.unwrap();
        flush();
        store.renew(&lease, LEASE).await.unwrap();
        flush();
        store.release(&lease, TTL).await.unwrap();
        flush();
        let lease = ask.again().granted(&store).await;
        flush();
        store.abandon(&lease).await.unwrap();
        flush();
        store.complete(&lease, ask.record(), TTL).await.unwrap();
        flush();
        assert_eq!(state(&store, ask).await, "completed");
        flush();
        assert!(store.forget(&ask.key, false).await.unwrap());
    }
}

#[tokio::test]
async fn an_acquire_that_grants_nothing_writes_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let (leased, ended, given_up) = (ask(), ask(), ask());
    leased.granted(&store).await;
    ended.completed(&store).await;
    let lease = given_up.granted(&store).await;
    store.abandon(&lease).await.unwrap();
    let released = ask();
    let lease = released.granted(&store).await;
    store.release(&lease, TTL).await.unwrap();

    let changes = info(&server, "rdb_changes_since_last_save");
    let in_flight = leased.again().of(&store).await;
    assert!(matches!(in_flight, Ok(Acquired::InFlight { .. })), "{in_flight:?}");
    ended.again().replayed(&store).await;
    for ask in [leased, ended, given_up, released] {
        let refused = ask.other_request().of(&store).await;
        assert!(matches!(refused, Ok(Acquired::FingerprintMismatch)), "{refused:?}");
        store.inspect(&ask.key).await.unwrap();
    }
    let mut halted = given_up.again();
    halted.takeover = false;
    let abandoned = halted.of(&store).await;
    assert!(matches!(abandoned, Ok(Acquired::Abandoned { attempt: 1 })), "{abandoned:?}");
    assert!(released.of(&store).await.is_err());
    assert_eq!(info(&server, "rdb_changes_since_last_save"), changes);
    ask().granted(&store).await;
    assert_ne!(info(&server, "rdb_changes_since_last_save"), changes);
}
