//! What a step costs, counted between the client and the server.

use bytes::Bytes;
use idempotent_redis::RedisStore;
use idempotent_runtime::{Acquired, Store};
use idempotent_servers::{Proxy, RedisServer};

use crate::kit::{LEASE, TTL, ask};

#[tokio::test]
async fn each_step_is_one_round_trip() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::new(server.address());
    let store = RedisStore::connect(proxy.url(&server.url())).await.unwrap();
    // The server has seen each script.
    let warm = ask();
    let lease = warm.granted(&store).await;
    store.save_step(&lease, "step", Bytes::new()).await.unwrap();
    store.renew(&lease, LEASE).await.unwrap();
    store.abandon(&lease).await.unwrap();
    store.release(&lease, TTL).await.unwrap();
    warm.again().completed(&store).await;
    store.inspect(&warm.key).await.unwrap();
    store.forget(&warm.key, false).await.unwrap();

    let mut last = (proxy.round_trips(), proxy.flushes());
    let mut costs = |step: &str| {
        let now = (proxy.round_trips(), proxy.flushes());
        assert_eq!((now.0 - last.0, now.1 - last.1), (1, 1), "{step}");
        last = now;
    };
    let ask = ask();
    let lease = ask.granted(&store).await;
    costs("a fresh acquire");
    assert!(matches!(ask.again().of(&store).await, Ok(Acquired::InFlight { .. })));
    costs("an acquire in flight");
    store.save_step(&lease, "step", Bytes::from_static(b"1")).await.unwrap();
    costs("save_step");
    store.renew(&lease, LEASE).await.unwrap();
    costs("renew");
    store.release(&lease, TTL).await.unwrap();
    costs("release");
    let lease = ask.again().granted(&store).await;
    assert_eq!(lease.steps.len(), 1);
    costs("an acquire that is given steps");
    store.abandon(&lease).await.unwrap();
    costs("abandon");
    store.complete(&lease, ask.record(), TTL).await.unwrap();
    costs("complete");
    ask.again().replayed(&store).await;
    costs("a replay");
    store.inspect(&ask.key).await.unwrap();
    costs("inspect");
    store.forget(&ask.key, false).await.unwrap();
    costs("forget");
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn waiting_for_replicas_costs_no_further_round_trip() {
    let Some(server) = RedisServer::start() else { return };
    let Some(_replica) = RedisServer::builder().replica_of(&server).start() else { return };
    let proxy = Proxy::new(server.address());
    let store = RedisStore::builder()
        .wait_for_replicas(1, std::time::Duration::from_secs(1))
        .connect(proxy.url(&server.url()))
        .await
        .unwrap();
    crate::replicas::until_in_sync(&server, 1);
    ask().completed(&store).await;
    let before = proxy.round_trips();
    ask().completed(&store).await;
    assert_eq!(proxy.round_trips() - before, 2);
}
