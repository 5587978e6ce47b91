//! Redis as the store of `idempotent-runtime`: many processes on many machines keep one promise.
//!
//! ```no_run
//! use idempotent_redis::RedisStore;
//! use idempotent_runtime::Idempotency;
//!
//! # async fn start() -> Result<(), idempotent_redis::ConnectError> {
//! let store = RedisStore::connect("redis://127.0.0.1/").await?;
//! let idempotency = Idempotency::new(store);
//! # drop(idempotency);
//! # Ok(())
//! # }
//! ```
//!
//! Each step of the store is one call of a Lua script and one round trip; a fresh request costs two, a
//! replay one. All time is the server's. Works with Redis 7 (tested with 7.0), on one server, behind a
//! failover, or on a cluster (feature `cluster`).
//!
//! # What it needs of the server
//!
//! - **`maxmemory-policy noeviction`.** Any other policy removes records when memory is short, and an
//!   operation whose record is gone runs again when it is retried. `connect` warns where it finds
//!   another (or may not ask). When memory is full, new operations and new steps get `503 store_full`;
//!   what runs can renew its lease, save the step that it has begun and record its outcome all the same,
//!   above `maxmemory` by what they bring.
//! - **A disk it waits for**, where a restart must forget nothing: `appendonly yes` with
//!   `appendfsync always`.
//! - Under an ACL: `EVALSHA EVAL TIME EXISTS HMGET HGETALL HGET HSET HDEL DEL PEXPIREAT PERSIST` on the
//!   keys of the prefix; `INFO` for the check of the policy, `WAIT` where replicas are waited for.
//!
//! # What is in Redis
//!
//! One hash for each key, `idempotent:{<64 hex digits>}`, readable with `HGETALL`:
//!
//! | field | |
//! |---|---|
//! | `state` | `leased`, `abandoned` (given up by its owner), `released`, `completed`; `freed` for one lease after a request that was not applied; `forgotten` for a moment after a clock was set back |
//! | `operation`, `ttl` | the name of the operation; microseconds that its record is replayable |
//! | `fingerprint` | 64 hex digits |
//! | `attempt`, `token`, `first_token` | which execution, its fencing token, and that of attempt 1 |
//! | `until` | microseconds since 1970: the end of the lease; in other states, of what is remembered |
//! | `lease`, `retention` | lease id; microseconds that the key is remembered after its lease, or `unresolved` |
//! | `metadata`, `body` | of a record: status and headers as JSON, and the bytes of the answer |
//! | `step:<name>` | the result of a step |
//!
//! The raw idempotency key is not there. Redis removes a key when it is over (`PEXPIREAT`), so there is
//! nothing to purge; whether a lease or a record *holds* is decided by `until` and the server's clock,
//! never by the key's expiry. Half a record, a wrong type or a field that cannot be read is
//! [`Corrupt`](idempotent_runtime::StoreError::Corrupt), never a free key; `forget` with `force`
//! removes it.
//!
//! # What happens when …
//!
//! | | with `appendfsync always` | with `appendfsync everysec` (Redis' default for the file) | with nothing on disk |
//! |---|---|---|---|
//! | the **server crashes** and starts again | nothing is lost | up to a second (or two) of leases, records and steps is lost | all is lost |
//!
//! - **What a loss means.** A lost *record*: a retry of that request runs again. A lost *lease*: a
//!   duplicate that arrives while the handler runs is granted the key too, and both run; the first is
//!   told that its lease is lost when it renews or completes, and the answer that was recorded is
//!   given to everybody. A lost *renewal*: the lease may run out early, with the same effect. Fencing
//!   tokens grow all the same, so whatever compares them refuses the stale writer.
//! - **The server cannot be reached**, or answers `LOADING`, `READONLY`, `MASTERDOWN`, `CLUSTERDOWN`,
//!   `TRYAGAIN`, `NOREPLICAS`: `Unavailable`, and no handler runs. The store reconnects by itself; a
//!   connection that died while idle is replaced before the next call, and a call that may be repeated
//!   is, once. During an outage each call fails after a few attempts to connect (tenths of a second
//!   where the port is closed, at most the connection timeout for each where nothing answers).
//! - **The server hangs**: `Timeout` after the response timeout (1.5 s). The call may have been done;
//!   the engine asks again with the same lease id and finds its own lease.
//!
//! ## Failover
//!
//! Replication of Redis is asynchronous: a master that dies takes with it whatever it had answered and
//! its replica had not received yet, usually milliseconds of leases, renewals, records and steps, with
//! the meaning above. A master that is cut off from the others goes on answering *its* clients until
//! it learns that it was replaced: what these write in that time is lost, and meanwhile the same key
//! can be leased on both sides.
//!
//! [`wait_for_replicas`](RedisStoreBuilder::wait_for_replicas) narrows the window: a write counts only
//! when so many replicas have acknowledged it. Where too few do in time, `acquire` and all other
//! writes are *unknown*: an `acquire` runs nothing (`503` after the engine's own repetitions), a
//! `complete` is tried again for a second, is then found by reading the master, and the client gets its
//! answer. It does **not close** the window: a failover may promote a replica that is not among those
//! that acknowledged, and a master that is cut off together with enough replicas acknowledges on.
//! `min-replicas-to-write` and `min-replicas-max-lag` on the server bound how long such a master goes
//! on. Where a second effect must not happen, let the effect's own system compare the fencing token or
//! a downstream key, or record in the transaction of a SQL store.
//!
//! ## The clock jumps
//!
//! Leases and records end by the wall clock of the server that answers, as does Redis' own expiry. Set
//! *forward* by an hour (or a failover to a server whose clock is ahead), leases that are running end
//! early, which lets a duplicate take over an operation that runs, and records are forgotten an hour
//! early. Set *back*, both last longer: an abandoned key stays locked for as much. Fencing tokens are
//! `max(previous + 1, clock in µs)`, so they grow for a key that is known, whatever the clock does, and
//! `forget` keeps the token until the clock has passed it; only for a key that expired before the clock
//! was set back can a token be granted that is lower. Let the servers' clocks be slewed (`chrony`,
//! `ntpd -x`), not stepped.
//!
//! # Sizing
//!
//! Measured on Redis 7.0 with 20,000 keys, all indexes included: a lease takes 440 bytes; a record with
//! a JSON body of 200 bytes and two headers 1,130 bytes, or 710 with `hash-max-listpack-value 512`,
//! which keeps such hashes compact. At 1,000 requests/s and a ttl of 24 h that is 86 million records:
//! 98 GB, or 61 GB compact, spread over a cluster; an hour is 4 GB, or 2.6 GB compact.
//!
//! A fresh request occupies the server for some 30 µs, so one node serves tens of thousands per second.
//! Durations are kept to the microsecond and up to a hundred years. Numbers in Lua are exact up to 2^53:
//! microseconds since 1970 reach that in 2255.
//!
//! # Cluster
//!
//! With the feature `cluster`, `RedisStore::cluster` follows redirections and failovers. The hash tag
//! is that of the storage key, so keys spread over all slots, and all of one key is in one slot.
//!
//! | feature | |
//! |---|---|
//! | `cluster` | `RedisStore::cluster` |
//!
//! For TLS, enable the features of the driver, which is re-exported as [`redis`], in your own manifest,
//! for instance `redis = { version = "1.8", features = ["tokio-rustls-comp"] }`.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod builder;
mod connection;
mod error;
mod eviction;
mod reply;
mod script;
mod store;

pub use redis;

pub use self::{
    builder::RedisStoreBuilder,
    error::{ConnectError, ReplicasBehind},
    store::RedisStore,
};
