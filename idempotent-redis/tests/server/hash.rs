//! How a key stands in Redis: readable, bounded by its own deadline, never half a record.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use idempotent_redis::{ConnectError, RedisStore};
use idempotent_runtime::{Acquired, Metadata, Record, Retention, Store, StoreError};
use idempotent_servers::{RedisServer, until};

use crate::kit::{Ask, LEASE, TTL, ask, clock, connect, state};

fn hgetall(server: &RedisServer, key: &str) -> BTreeMap<String, String> {
    let text = server.command(&["HGETALL", key]);
    let mut lines = text.lines().map(str::to_owned);
    let mut fields = BTreeMap::new();
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        fields.insert(name, value);
    }
    fields
}

fn response(body: &'static [u8]) -> (Metadata, Bytes) {
    let metadata = r#"{"kind":"response","status":201,"headers":[["content-type","application/json"],["location","/payments/1"]]}"#;
    (Metadata::from_json(metadata).unwrap(), Bytes::from_static(body))
}

#[tokio::test]
async fn a_person_can_read_a_key() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let ask = ask();
    let key = store.redis_key(&ask.key);
    assert_eq!(key, format!("idempotent:{{{}}}", ask.key));

    let lease = ask.granted(&store).await;
    store.save_step(&lease, "charge", Bytes::from_static(br#"{"id":1}"#)).await.unwrap();
    let fields = hgetall(&server, &key);
    assert_eq!(fields["state"], "leased");
    assert_eq!(fields["attempt"], "1");
    assert_eq!(fields["token"], lease.token.to_string());
    assert_eq!(fields["lease"], lease.id.to_string());
    assert_eq!(fields["fingerprint"], ask.fingerprint.to_string());
    assert_eq!(fields["retention"], TTL.as_micros().to_string());
    assert_eq!(fields["step:charge"], r#"{"id":1}"#);
    let left = fields["until"].parse::<u64>().unwrap() - clock(&server);
    assert!(left <= 30_000_000 && left > 20_000_000, "{left}");

    let (metadata, body) = response(br#"{"payment":"p-1"}"#);
    store
        .complete(&lease, Record::new(ask.fingerprint, metadata.clone(), body), TTL)
        .await
        .unwrap();
    let fields = hgetall(&server, &key);
    let names: Vec<_> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "attempt",
            "body",
            "fingerprint",
            "metadata",
            "operation",
            "state",
            "token",
            "ttl",
            "until"
        ],
        "nothing of the lease is left"
    );
    assert_eq!(fields["state"], "completed");
    assert_eq!(fields["metadata"], metadata.to_json());
    assert_eq!(fields["body"], r#"{"payment":"p-1"}"#);
}

#[tokio::test]
async fn stores_with_different_prefixes_share_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let store = |prefix: &'static str| {
        let url = server.url();
        async move { RedisStore::builder().prefix(prefix).connect(url).await.unwrap() }
    };
    let (one, two) = (store("shop:").await, store("bank:").await);
    let ask = ask();
    ask.completed(&one).await;
    assert_eq!(state(&two, ask).await, "absent");
    ask.other_request().granted(&two).await;
    assert!(!one.forget(&crate::kit::ask().key, true).await.unwrap());
    assert!(two.forget(&ask.key, true).await.unwrap());
    assert_eq!(state(&one, ask).await, "completed");
    for prefix in ["{shop}", "shop{", "shop}:"] {
        let refused = RedisStore::builder().prefix(prefix).connect(server.url()).await;
        assert!(matches!(refused, Err(ConnectError::Prefix(_))), "{refused:?}");
    }
}

/// CASES 40: half a record is no record, and no free key either.
#[tokio::test]
async fn a_key_with_a_missing_field_is_corrupt_and_never_granted() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let states = ["leased", "released", "abandoned", "completed", "freed"];
    for (at, of) in states.into_iter().enumerate() {
        let whole = ask();
        let lease = whole.granted(&store).await;
        match at {
            0 => {}
            1 => store.release(&lease, TTL).await.unwrap(),
            2 => store.abandon(&lease).await.unwrap(),
            4 => store.free(&lease, TTL).await.unwrap(),
            _ => store.complete(&lease, whole.record(), TTL).await.unwrap(),
        }
        let key = store.redis_key(&whole.key);
        for (field, value) in hgetall(&server, &key) {
            for garbage in [None, Some(""), Some("-1"), Some("1e3"), Some("99999999999999999999")] {
                let text = ["body", "metadata", "operation"].contains(&field.as_str());
                if garbage.is_some() && text {
                    continue;
                }
                match garbage {
                    None => server.command(&["HDEL", &key, &field]),
                    Some(garbage) => server.command(&["HSET", &key, &field, garbage]),
                };
                for ask in [whole, whole.again()] {
                    let answer = ask.of(&store).await;
                    assert!(
                        matches!(answer, Err(StoreError::Corrupt(_))),
                        "{of} without {field} ({garbage:?}): {answer:?}"
                    );
                }
                let seen = store.inspect(&whole.key).await;
                assert!(matches!(seen, Err(StoreError::Corrupt(_))), "{of}, {field}: {seen:?}");
                let ended = store.complete(&lease, whole.record(), TTL).await;
                assert!(ended.is_err(), "{of}, {field}: {ended:?}");
                let kept = store.forget(&whole.key, false).await;
                assert!(matches!(kept, Err(StoreError::Corrupt(_))), "{of}, {field}: {kept:?}");
                server.command(&["HSET", &key, &field, &value]);
            }
        }
        assert_eq!(state(&store, whole).await, if of == "freed" { "absent" } else { of });
    }
}

/// What decides is the field, compared with the server's clock; the expiry of the key only tidies up.
#[tokio::test]
async fn a_record_that_redis_has_not_removed_yet_is_not_replayed() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let ask = ask();
    let lease = ask.granted(&store).await;
    store.complete(&lease, ask.record(), Duration::from_millis(20)).await.unwrap();
    let key = store.redis_key(&ask.key);
    if server.command(&["PERSIST", &key]) == "0" {
        return; // 20 ms were over before: nothing to see on a machine that is this slow
    }
    let end: u64 = server.command(&["HGET", &key, "until"]).parse().unwrap();
    until("the record to end", || (clock(&server) >= end).then_some(()));
    assert_eq!(state(&store, ask).await, "absent");
    let next = ask.other_request().granted(&store).await;
    assert_eq!(next.attempt, 1);
    assert!(next.token > lease.token);
}

#[tokio::test]
async fn a_lease_that_ends_leaves_its_key_for_the_retention() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let expires = |ask: Ask| {
        let left = server.command(&["PTTL", &store.redis_key(&ask.key)]);
        left.parse::<i64>().unwrap()
    };
    let one = Ask { retention: Retention::For(Duration::from_secs(100)), ..ask() };
    let lease = one.granted(&store).await;
    assert!((120_000..=130_001).contains(&expires(one)), "{}", expires(one));
    store.renew(&lease, LEASE * 10).await.unwrap();
    assert!((390_000..=400_001).contains(&expires(one)), "{}", expires(one));
    store.abandon(&lease).await.unwrap();
    assert!((90_000..=100_001).contains(&expires(one)), "{}", expires(one));
    store.release(&lease, Duration::from_secs(7)).await.unwrap();
    assert!((1..=7_001).contains(&expires(one)), "{}", expires(one));

    let kept = Ask { retention: Retention::UntilResolved, ..ask() };
    let lease = kept.granted(&store).await;
    assert_eq!(expires(kept), -1);
    store.renew(&lease, LEASE).await.unwrap();
    store.abandon(&lease).await.unwrap();
    assert_eq!(expires(kept), -1);
    store.complete(&lease, kept.record(), TTL).await.unwrap();
    assert!(expires(kept) > 0);
}

/// CASES 33, 44: the server's clock was set back, and the key is forgotten.
#[tokio::test]
async fn a_token_that_the_clock_has_not_reached_is_not_granted_again() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let ask = ask();
    let lease = ask.granted(&store).await;
    let ahead = clock(&server) + 3_600_000_000;
    let key = store.redis_key(&ask.key);
    server.command(&["HSET", &key, "token", &ahead.to_string()]);
    let forged = idempotent_runtime::FencingToken::from_u64(ahead);
    assert!(matches!(store.renew(&lease, LEASE).await, Err(StoreError::LeaseLost)));
    assert!(store.forget(&ask.key, true).await.unwrap());
    assert_eq!(state(&store, ask).await, "absent");
    assert!(!store.forget(&ask.key, true).await.unwrap());
    let next = ask.other_request().granted(&store).await;
    assert_eq!(next.attempt, 1);
    assert!(next.token > forged, "{} after {forged}", next.token);
}

/// Sizing, as the documentation tells it.
#[tokio::test]
async fn a_record_of_200_bytes_takes_less_than_a_kibibyte_and_a_half() {
    let Some(server) = RedisServer::start() else { return };
    let store = connect(&server).await;
    let ask = ask();
    let usage = || -> usize {
        let key = store.redis_key(&ask.key);
        server.command(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).parse().unwrap()
    };
    let lease = ask.granted(&store).await;
    let leased = usage();
    let (metadata, body) = response(&[b'x'; 200]);
    store.complete(&lease, Record::new(ask.fingerprint, metadata, body), TTL).await.unwrap();
    let completed = usage();
    println!("bytes: leased {leased}, completed with 200 bytes {completed}");
    assert!(leased < 700 && completed < 1536, "leased {leased}, completed {completed}");
    assert!(matches!(ask.again().of(&store).await, Ok(Acquired::Completed { .. })));
}
