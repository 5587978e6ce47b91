//! A server whose memory is spent and that evicts nothing.

use bytes::Bytes;
use idempotent_runtime::{Store, StoreError};
use idempotent_servers::{RedisServer, redis_command};

use crate::kit::{LEASE, TTL, ask, connect, info, state};

/// CASES 36: new operations are refused, and what runs can record its outcome.
#[tokio::test]
async fn a_full_server_refuses_new_keys_and_goes_on_with_those_it_knows() {
    let Some(server) = RedisServer::builder().option("maxmemory-policy", "noeviction").start()
    else {
        return;
    };
    let store = connect(&server).await;
    let (ended, to_complete, to_renew) = (ask(), ask(), ask());
    let (to_release, to_abandon, given_back) = (ask(), ask(), ask());
    ended.completed(&store).await;
    let completes = to_complete.granted(&store).await;
    let renews = to_renew.granted(&store).await;
    let frees = ask().granted(&store).await;
    let releases = to_release.granted(&store).await;
    let abandons = to_abandon.granted(&store).await;
    let lease = given_back.granted(&store).await;
    store.release(&lease, TTL).await.unwrap();

    server.command(&["SET", "filler", &"x".repeat(1024 * 1024)]);
    let used: u64 = info(&server, "used_memory").parse().unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", &(used - 512 * 1024).to_string()]);
    assert!(redis_command(server.port(), &["SET", "a", "b"]).unwrap_err().starts_with("OOM"));

    let new = ask();
    assert!(matches!(new.of(&store).await, Err(StoreError::Full)));
    assert_eq!(state(&store, new).await, "absent");
    assert_eq!(ended.again().replayed(&store).await, ended.record());
    store.renew(&renews, LEASE).await.unwrap();
    // CASES 77: a step that has not begun is refused, one that has run is saved.
    let reserved = store.reserve_step(&renews, LEASE).await;
    assert!(matches!(reserved, Err(StoreError::Full)), "{reserved:?}");
    store.save_step(&renews, "step", Bytes::from_static(b"1")).await.unwrap();
    store.free(&frees, LEASE).await.unwrap();
    to_renew.granted(&store).await;
    store.release(&releases, TTL).await.unwrap();
    store.abandon(&abandons).await.unwrap();
    store.complete(&completes, to_complete.record(), TTL).await.unwrap();
    for (ask, expected) in [
        (to_complete, "completed"),
        (to_renew, "leased"),
        (to_release, "released"),
        (to_abandon, "abandoned"),
    ] {
        assert_eq!(state(&store, ask).await, expected);
    }
    assert_eq!(given_back.again().granted(&store).await.attempt, 2);
    assert_eq!(to_abandon.again().granted(&store).await.attempt, 2);

    server.command(&["DEL", "filler"]);
    assert_eq!(new.granted(&store).await.attempt, 1);
    store.reserve_step(&renews, LEASE).await.unwrap();
}
