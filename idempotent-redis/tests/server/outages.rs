//! Servers that are killed, restarted or hang.

use std::time::{Duration, Instant};

use idempotent_redis::RedisStore;
use idempotent_runtime::{Acquired, Store, StoreError};
use idempotent_servers::RedisServer;

use crate::kit::{LEASE, TTL, ask, connect, state, unknown};

/// CASES 30, with every write on disk before it is answered.
#[tokio::test]
async fn a_durable_server_that_is_killed_has_forgotten_nothing() {
    let Some(mut server) = RedisServer::builder().durable().start() else { return };
    let store = connect(&server).await;
    let (ended, running) = (ask(), ask());
    ended.completed(&store).await;
    let lease = running.granted(&store).await;
    server.kill();

    let asked = Instant::now();
    for ask in [ended.again(), running.again(), ask()] {
        unknown(ask.of(&store).await);
    }
    unknown(store.complete(&lease, running.record(), TTL).await);
    unknown(store.inspect(&running.key).await);
    // Each was told as soon as a few attempts to connect had failed.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());

    server.restart();
    let back = until_answered(&store).await;
    assert!(back.is_ok(), "{back:?}");
    assert_eq!(ended.again().replayed(&store).await, ended.record());
    let other = running.again().of(&store).await;
    assert!(matches!(other, Ok(Acquired::InFlight { .. })), "{other:?}");
    store.renew(&lease, LEASE).await.unwrap();
    store.complete(&lease, running.record(), TTL).await.unwrap();
    assert_eq!(running.again().replayed(&store).await, running.record());
}

/// CASES 30, with nothing on disk: what was known is gone, and a former owner learns of it.
#[tokio::test]
async fn a_server_without_a_disk_that_is_killed_has_forgotten_all_but_confirms_nothing() {
    let Some(mut server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let (ended, running) = (ask(), ask());
    ended.completed(&store).await;
    let former = running.granted(&store).await;
    server.kill();
    server.restart();
    until_answered(&store).await.unwrap();

    assert_eq!(state(&store, ended).await, "absent");
    let lost = store.complete(&former, running.record(), TTL).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
    let lost = store.renew(&former, LEASE).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
    assert_eq!(state(&store, running).await, "absent");
    let next = running.again().granted(&store).await;
    assert_eq!(next.attempt, 1);
    assert!(next.token > former.token);
}

/// The connection finds its way back by itself: no call is made again here but the one that looks.
async fn until_answered(store: &RedisStore) -> Result<(), StoreError> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match store.inspect(&ask().key).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_unknown() && Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
    }
}

/// CASES 31: a server that hangs for 5 seconds, and does afterwards what it was asked meanwhile.
#[tokio::test]
async fn a_server_that_hangs_times_out_and_is_asked_again() {
    let Some(mut server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let (ended, running, asked) = (ask(), ask(), ask());
    ended.completed(&store).await;
    let lease = running.granted(&store).await;
    server.pause();
    let since = Instant::now();
    let mut told = 0;
    while since.elapsed() < Duration::from_secs(5) {
        let before = Instant::now();
        assert!(matches!(asked.of(&store).await, Err(StoreError::Timeout)));
        assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
        told += 1;
    }
    assert!(told >= 2);
    let unconfirmed = store.complete(&lease, running.record(), TTL).await;
    assert!(matches!(unconfirmed, Err(StoreError::Timeout)), "{unconfirmed:?}");
    server.resume();

    // The same call again finds its own lease; nobody else is granted another.
    let granted = asked.granted(&store).await;
    assert_eq!(granted.attempt, 1);
    let other = asked.again().of(&store).await;
    assert!(matches!(other, Ok(Acquired::InFlight { .. })), "{other:?}");
    // The completion that timed out was done, once.
    let again = store.complete(&lease, running.record(), TTL).await;
    assert!(matches!(again, Err(StoreError::LeaseLost)), "{again:?}");
    assert_eq!(running.again().replayed(&store).await, running.record());
    assert_eq!(ended.again().replayed(&store).await, ended.record());
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error_of_connect() {
    let Some(mut server) = RedisServer::start() else { return };
    server.kill();
    let refused = RedisStore::connect(server.url()).await;
    assert!(refused.is_err(), "{refused:?}");
}
