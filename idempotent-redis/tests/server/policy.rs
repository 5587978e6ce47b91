//! What `connect` says of a server that may evict.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use idempotent_redis::RedisStore;
use idempotent_runtime::{Retention, Store};
use idempotent_servers::RedisServer;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    instrument::WithSubscriber as _,
    span,
};

use crate::kit::{Ask, LEASE, TTL, ask, state, unknown};

/// Keeps the warnings of one future.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("idempotent_redis")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        assert_eq!(*event.metadata().level(), Level::WARN);
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

async fn warnings(url: String) -> Vec<String> {
    let warnings = Warnings::default();
    // With one subscriber only, tracing asks the thread that comes to a log line first whether anybody
    // listens: another test's may say no for all. With two it asks both.
    let _second = tracing::Dispatch::new(Warnings::default());
    RedisStore::connect(url).with_subscriber(warnings.clone()).await.unwrap();
    let warnings = warnings.0.lock().unwrap();
    warnings.clone()
}

#[tokio::test]
async fn a_server_that_evicts_is_warned_of() {
    for (policy, warned) in [("noeviction", false), ("allkeys-lru", true), ("volatile-ttl", true)] {
        let Some(server) = RedisServer::builder().option("maxmemory-policy", policy).start() else {
            return;
        };
        let warnings = warnings(server.url()).await;
        assert_eq!(warnings.len(), usize::from(warned), "{warnings:?}");
        for warning in warnings {
            assert!(warning.contains(policy), "{warning}");
            assert!(warning.contains("set maxmemory-policy to noeviction"), "{warning}");
        }
    }
}

#[tokio::test]
async fn a_server_that_may_not_be_asked_is_used_and_said_to_be_unchecked() {
    let Some(server) = RedisServer::start() else { return };
    let rules = ["on", ">secret", "~*", "+@all", "-info", "-config"];
    server.command(&[&["ACL", "SETUSER", "limited"][..], &rules].concat());
    let url = server.url().replace("redis://", "redis://limited:secret@");
    let warnings = warnings(url).await;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("could not check redis"), "{warnings:?}");
}

/// The crate documentation names these commands.
#[tokio::test]
async fn the_rights_that_are_documented_are_enough() {
    let Some(server) = RedisServer::start() else { return };
    let commands =
        "evalsha eval time exists hmget hgetall hget hset hdel del pexpireat persist info wait";
    let commands: Vec<_> = commands.split(' ').map(|name| format!("+{name}")).collect();
    let rules = ["ACL", "SETUSER", "limited", "on", ">secret", "-@all", "~idempotent:*"];
    let rules: Vec<_> = rules.into_iter().chain(commands.iter().map(String::as_str)).collect();
    server.command(&rules);
    let url = server.url().replace("redis://", "redis://limited:secret@");
    assert_eq!(warnings(url.clone()).await, [""; 0]);

    let store = RedisStore::connect(url).await.unwrap();
    let ask = Ask { retention: Retention::UntilResolved, ..ask() };
    let lease = ask.granted(&store).await;
    store.renew(&lease, LEASE).await.unwrap();
    store.save_step(&lease, "step", Bytes::new()).await.unwrap();
    store.abandon(&lease).await.unwrap();
    let lease = ask.again().granted(&store).await;
    store.release(&lease, TTL).await.unwrap();
    ask.again().completed(&store).await;
    ask.again().replayed(&store).await;
    assert_eq!(state(&store, ask).await, "completed");
    assert!(store.forget(&ask.key, true).await.unwrap());
    // And no more keys than those of the prefix.
    let url = server.url().replace("redis://", "redis://limited:secret@");
    let elsewhere = RedisStore::builder().prefix("shop:").connect(url).await.unwrap();
    unknown(ask.of(&elsewhere).await);
}
