//! A real cluster of three, started by the tests: the contract, the spread of keys, slots that move,
//! nodes that die.
#![cfg(feature = "cluster")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use idempotent_redis::RedisStore;
use idempotent_runtime::{Acquired, Store, StoreError};
use idempotent_servers::{RedisCluster, redis_command, until};
use idempotent_testkit::{Capabilities, Harness};

#[path = "server/kit.rs"]
#[allow(dead_code)] // what one server needs
mod kit;

use self::kit::{Ask, LEASE, TTL, ask, state};

struct Cluster(&'static RedisCluster);

impl Cluster {
    fn shared() -> Option<Self> {
        static SHARED: OnceLock<Option<RedisCluster>> = OnceLock::new();
        SHARED.get_or_init(RedisCluster::start).as_ref().map(Self)
    }
}

impl Harness for Cluster {
    type Store = RedisStore;

    async fn store(&self) -> RedisStore {
        RedisStore::cluster(self.0.urls()).await.unwrap()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().purges(false).races(16, 200)
    }
}

mod contract {
    use super::*;

    idempotent_testkit::conformance!(Cluster::shared());
}

fn slot(cluster: &RedisCluster, key: &str) -> u32 {
    cluster.nodes()[0].command(&["CLUSTER", "KEYSLOT", key]).parse().unwrap()
}

/// The hash tag is that of the storage key; around the prefix it would put all keys into one slot.
#[tokio::test]
async fn keys_spread_over_all_nodes() {
    let Some(cluster) = RedisCluster::start() else { return };
    let store = RedisStore::cluster(cluster.urls()).await.unwrap();
    for _ in 0..300 {
        let ask = ask();
        ask.completed(&store).await;
        let key = store.redis_key(&ask.key);
        assert_eq!(slot(&cluster, &key), slot(&cluster, &ask.key.to_string()));
    }
    for node in cluster.nodes() {
        let keys: u32 = node.command(&["DBSIZE"]).parse().unwrap();
        assert!((60..=140).contains(&keys), "{keys} of 300 keys");
    }
}

/// One node is named, and it is enough; a slot goes to another node while its keys are in use.
#[tokio::test]
async fn a_slot_that_moves_takes_leases_and_records_with_it() {
    let Some(cluster) = RedisCluster::start() else { return };
    let store = RedisStore::cluster(cluster.urls().into_iter().take(1)).await.unwrap();
    let (ended, running) = (ask(), ask());
    ended.completed(&store).await;
    let lease = running.granted(&store).await;
    for ask in [ended, running] {
        let key = store.redis_key(&ask.key);
        let slot = slot(&cluster, &key);
        let source = &cluster.nodes()[cluster.master_of_slot(slot)];
        let target = cluster.nodes().iter().find(|node| node.port() != source.port()).unwrap();
        let (slot, port) = (slot.to_string(), target.port().to_string());
        let [from, to] = [source, target].map(|node| node.command(&["CLUSTER", "MYID"]));
        target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]);
        source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
        // Before the key has gone, and after: the source sends the client on (`ASK`).
        assert_ne!(state(&store, ask).await, "absent");
        assert_eq!(source.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]), "OK");
        assert_ne!(state(&store, ask).await, "absent");
        for node in [target, source] {
            node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to]);
        }
    }
    assert_eq!(ended.again().replayed(&store).await, ended.record());
    let other = running.again().of(&store).await;
    assert!(matches!(other, Ok(Acquired::InFlight { .. })), "{other:?}");
    store.renew(&lease, LEASE).await.unwrap();
    store.complete(&lease, running.record(), TTL).await.unwrap();
    assert_eq!(running.again().replayed(&store).await, running.record());
}

async fn retried<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let asked = Instant::now();
        match call().await {
            Ok(value) => return value,
            Err(error) => {
                assert!(error.is_unknown(), "{what}: {error:?}");
                assert!(asked.elapsed() < Duration::from_secs(4), "{what}: {:?}", asked.elapsed());
                assert!(Instant::now() < deadline, "{what}: {error:?}");
            }
        }
    }
}

/// A node dies and its replica takes over: what was waited for is there, nothing runs twice.
#[tokio::test]
async fn a_node_that_dies_is_replaced_by_its_replica() {
    let Some(mut cluster) = RedisCluster::start_with(3, 1) else { return };
    let waiting = RedisStore::builder()
        .response_timeout(Duration::from_secs(4))
        .wait_for_replicas(1, Duration::from_secs(3));
    let store = waiting.connect_cluster(cluster.urls()).await.unwrap();
    let on = |cluster: &RedisCluster, ask: Ask| {
        cluster.master_of_slot(slot(cluster, &store.redis_key(&ask.key)))
    };
    let ended = ask();
    ended.completed(&store).await;
    let dying = on(&cluster, ended);
    let asks = std::iter::repeat_with(ask);
    let running = asks.into_iter().find(|ask| on(&cluster, *ask) == dying).unwrap();
    let elsewhere = std::iter::repeat_with(ask).find(|ask| on(&cluster, *ask) != dying).unwrap();
    let lease = running.granted(&store).await;
    elsewhere.completed(&store).await;

    cluster.node_mut(dying).kill();
    let port = cluster.nodes()[3 + dying].port();
    until("a replica that is promoted", || {
        let role = redis_command(port, &["INFO", "replication"]).ok()?;
        role.contains("role:master").then_some(())
    });
    // Its own replica is gone with it, so what is written now cannot be waited for.
    let store = RedisStore::cluster(cluster.urls()).await.unwrap();
    let record = retried("a replay", async || match ended.again().of(&store).await? {
        Acquired::Completed { record, .. } => Ok(record),
        other => panic!("expected a record, not {other:?}"),
    });
    assert_eq!(record.await, ended.record());
    let other = retried("a duplicate", async || running.again().of(&store).await).await;
    assert!(matches!(other, Acquired::InFlight { .. }), "{other:?}");
    store.complete(&lease, running.record(), TTL).await.unwrap();
    assert_eq!(running.again().replayed(&store).await, running.record());
    assert_eq!(elsewhere.again().replayed(&store).await, elsewhere.record());
}

/// The same handle, from before the failover, finds the new node.
#[tokio::test]
async fn a_store_outlives_a_failover() {
    let Some(mut cluster) = RedisCluster::start_with(3, 1) else { return };
    let store = RedisStore::cluster(cluster.urls()).await.unwrap();
    let ask = ask();
    ask.completed(&store).await;
    let dying = cluster.master_of_slot(slot(&cluster, &store.redis_key(&ask.key)));
    let replica = cluster.nodes()[3 + dying].port();
    until("the record on its replica", || {
        let keys = redis_command(replica, &["DBSIZE"]).ok()?;
        (keys == "1").then_some(())
    });
    cluster.node_mut(dying).kill();
    let found = retried("a replay", async || ask.again().of(&store).await).await;
    let Acquired::Completed { record, .. } = found else { panic!("{found:?}") };
    assert_eq!(record, ask.record());
}
