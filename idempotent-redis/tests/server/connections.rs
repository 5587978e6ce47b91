//! Connections that break while the server is well, and answers that are lost with them.

use std::time::Duration;

use bytes::Bytes;
use idempotent_redis::RedisStore;
use idempotent_runtime::{Acquired, Store, StoreError};
use idempotent_servers::{Answers, Proxy, RedisServer, until};

use crate::kit::{LEASE, TTL, ask, connect, info, state, unknown};

fn kill_connections(server: &RedisServer) -> usize {
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).parse().unwrap()
}

/// CASES 30: a pooled connection is dead. Nobody has to call in vain to find that out.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_is_replaced_before_the_next_call() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let ask = ask();
    let lease = ask.granted(&store).await;
    let before: u64 = info(&server, "total_connections_received").parse().unwrap();
    assert_eq!(kill_connections(&server), 1);
    until("a connection that comes back by itself", || {
        let own = server.command(&["CLIENT", "LIST", "TYPE", "normal"]);
        // That of the command itself is the other one.
        (own.lines().filter(|line| line.contains("id=")).count() == 2).then_some(())
    });
    assert!(info(&server, "total_connections_received").parse::<u64>().unwrap() > before);
    // `complete` is not sent twice, so it would fail on a dead connection.
    store.complete(&lease, ask.record(), TTL).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_right_after_its_connection_was_killed_succeeds() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    for _ in 0..20 {
        let ask = ask();
        kill_connections(&server);
        let lease = ask.granted(&store).await;
        assert_eq!(lease.attempt, 1);
        kill_connections(&server);
        store.renew(&lease, LEASE).await.unwrap();
        kill_connections(&server);
        store.save_step(&lease, "step", Bytes::new()).await.unwrap();
        kill_connections(&server);
        assert_eq!(state(&store, ask).await, "leased");
    }
}

/// CASES 31, 43: granted at the server, and the answer lost with its connection.
#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_found_again_by_its_id() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::new(server.address());
    let store = RedisStore::connect(proxy.url(&server.url())).await.unwrap();
    ask().completed(&store).await;

    // The connection breaks: the store itself asks again.
    let cut = ask();
    proxy.lose_answers(1, Answers::Cut);
    let lease = cut.granted(&store).await;
    assert_eq!((proxy.lost_answers(), lease.attempt), (1, 1));
    store.renew(&lease, LEASE).await.unwrap();
}

/// A network does not lose a part of a stream, but a proxy may: then each answer comes to the call
/// before its own.
#[tokio::test]
async fn an_answer_to_another_call_is_nobodys() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::new(server.address());
    let store = RedisStore::connect(proxy.url(&server.url())).await.unwrap();
    let (first, ended) = (ask(), ask());
    ended.completed(&store).await;

    proxy.lose_answers(1, Answers::Swallow);
    let asked = tokio::spawn({
        let store = store.clone();
        async move { first.of(&store).await }
    });
    while proxy.lost_answers() == 0 {
        tokio::task::yield_now().await;
    }
    // The answer to this one goes to `first`, which is not given another's record.
    unknown(ended.again().of(&store).await);
    let error = unknown(asked.await.unwrap());
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("the answer is that of another call"));
    // The connection was given up, and both find on another one what was done.
    assert_eq!(first.granted(&store).await.attempt, 1);
    assert_eq!(ended.again().replayed(&store).await, ended.record());
    assert!(proxy.connections() >= 2);
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_unknown_and_done() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::new(server.address());
    let store = RedisStore::connect(proxy.url(&server.url())).await.unwrap();
    let ask = ask();
    let lease = ask.granted(&store).await;
    // The server has seen the script, so that the lost answer is that of a completion.
    crate::kit::ask().completed(&store).await;
    proxy.lose_answers(1, Answers::Cut);
    unknown(store.complete(&lease, ask.record(), TTL).await);
    let again = store.complete(&lease, ask.record(), TTL).await;
    assert!(matches!(again, Err(StoreError::LeaseLost)), "{again:?}");
    assert_eq!(ask.again().replayed(&store).await, ask.record());
}

/// Answers that arrive after their callers have gone are not mistaken for those of other calls.
#[tokio::test]
async fn late_answers_go_to_nobody() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::new(server.address());
    let store = RedisStore::builder()
        .response_timeout(Duration::from_millis(200))
        .connect(proxy.url(&server.url()))
        .await
        .unwrap();
    let (ended, running) = (ask(), ask());
    ended.completed(&store).await;
    running.granted(&store).await;
    proxy.stall();
    for _ in 0..3 {
        assert!(matches!(ended.again().of(&store).await, Err(StoreError::Timeout)));
    }
    proxy.resume();
    for _ in 0..3 {
        let other = running.again().of(&store).await;
        assert!(matches!(other, Ok(Acquired::InFlight { .. })), "{other:?}");
        assert_eq!(ended.again().replayed(&store).await, ended.record());
    }
}
