//! Which store to choose, what each promises, and what it costs.
//!
//! The store is one line: `Idempotency::new(store)`. All stores prove one contract, with the suite of
//! `idempotent-testkit`; what differs is what they survive.
//!
//! # Choosing
//!
//! | you have | take | because |
//! |---|---|---|
//! | one process, and keys may be forgotten with it | [`MemoryStore`](crate::MemoryStore) | nothing to run, a replay costs a microsecond |
//! | one machine, nothing to install | `SqliteStore` of `idempotent-sqlx` | a file that survives `kill -9`; effect and record in one transaction |
//! | effects in PostgreSQL | `PostgresStore` of `idempotent-sqlx` with `record_in` | effect and record commit together: **exactly once**, whatever is killed when |
//! | effects elsewhere, many processes | `PostgresStore` without `record_in`, or `RedisStore` of `idempotent-redis` | leases with fencing; Redis has the shorter way, PostgreSQL forgets nothing |
//! | many replays of few keys | [`Cached`](crate::Cached) around any of them | a replay from it costs no round trip |
//!
//! Only `record_in` closes the gap between an effect and its record, and only for effects in the same
//! database. With every other combination a process that is killed between the two has had its effect
//! and nobody knows: the lease runs out, and `on_abandoned` decides ([`OnAbandoned`](crate::OnAbandoned)).
//!
//! # What each promises
//!
//! | | memory | SQLite | PostgreSQL | Redis |
//! |---|---|---|---|---|
//! | the process is killed | all is forgotten | kept | kept | kept |
//! | the machine loses power | all is forgotten | kept (`synchronous = FULL`) | kept (`synchronous_commit = on`) | as its persistence says: `appendfsync always` keeps all, `everysec` may lose a second, none loses all |
//! | the server restarts | | | requests in between get `503` | requests in between get `503` |
//! | failover to a replica | | | nothing is lost where replication is synchronous | **replication is asynchronous**: what the primary acknowledged in its last milliseconds may be gone |
//! | the clock jumps | its clock does not (monotonic) | leases and records end early or late by as much | the same, by the server's clock | the same, by the server's clock |
//! | memory or disk is full | `503 store_full` for new keys | `503` | `503` | `503 store_full` for new keys (`noeviction`) |
//! | waiting for another process | | polls | polls | polls |
//!
//! What an asynchronous failover can lose, exactly: a lease that the new primary has never heard of, so
//! a second process is granted the key while the first still runs; or a record, so a retry runs again.
//! In both cases the handler runs twice. Fencing tokens still grow, because they are drawn from the
//! server's clock: a resource that compares them refuses the older one. `wait_for_replicas` narrows the
//! window to failures of several servers at once, and closes it never. Sentinel and Cluster are
//! asynchronous alike, and so is a managed Redis unless it says otherwise. Where that is not good
//! enough, take PostgreSQL.
//!
//! A clock that jumps ahead ends leases early: a running handler is taken over while it runs, and its
//! own outcome is refused by the token when it comes back. No store compares clocks of two machines, and
//! no process's clock decides about another's lease.
//!
//! # What a request costs
//!
//! | | round trips |
//! |---|---|
//! | a fresh request | 2: acquire, complete |
//! | a replay | 1; from `Cached`, from memory: 0 |
//! | a fresh request with `record_in` | 2: acquire, and one read after the commit; and one statement more in the handler's transaction |
//! | a transient outcome | 2: acquire, release |
//! | a step | 2: renew, save |
//! | a handler that runs longer than a third of its lease | 1 more for each third |
//! | a duplicate in the same process | 0: it shares the answer |
//! | duplicates in another process | 1 read each 5 to 40 ms for all of them together, until the answer is there |
//!
//! # How much it takes
//!
//! For an answer of 200 bytes of JSON, indexes included:
//!
//! | | a record | 1,000 requests/s with `ttl = "24h"`: 86.4 million records |
//! |---|---|---|
//! | memory | 0.43 KB, charged as 0.52 KB | a budget of 45 GB: shorten the ttl, or take another store |
//! | SQLite | like PostgreSQL, not measured | |
//! | PostgreSQL | 0.96 KB | 83 GB |
//! | Redis | 1.4 KB (0.7 KB with `hash-max-listpack-value 512`) | 118 GB (62 GB) |
//!
//! [`MemoryStore`](crate::MemoryStore) holds what its budget says, and then refuses new keys. The default
//! of 256 MiB is enough for so many keys at once, and so for so many new keys a second:
//!
//! | each key has | at once | a second with `ttl = "24h"` | `"1h"` | `"10m"` |
//! |---|---|---|---|---|
//! | an answer of 200 bytes | 520,000 | 6 | 144 | 860 |
//! | an answer of 1 KiB | 200,000 | 2.3 | 55 | 330 |
//! | no answer: it failed and may be tried again | 700,000 | 8 | 194 | 1,160 |
//!
//! Twice the budget holds twice as many. At half of it and at nine tenths one warning each says how many
//! keys there are, how fast they come and when the store will be full.
//!
//! Redis and memory expire by themselves. In SQL tables expired keys are never replayed, and stay until
//! they are purged: as many each second as come in, here 1,000. `spawn_purger` does that in batches of a
//! thousand that skip what others hold, and any number of processes may run it; `autovacuum` has to keep
//! up with it (`autovacuum_vacuum_scale_factor = 0.02` on `leases` and `records`).
//!
//! # At internet scale
//!
//! **Redis Cluster.** Each key is one hash in a slot of its own, because the hash tag encloses the
//! storage key and not the prefix: keys spread over all nodes, every step stays one script on one node,
//! and adding nodes adds throughput. `RedisStore::builder().connect_cluster(nodes)`.
//!
//! **PostgreSQL, tables in parts.** Leases are what is written most: twice for each request, and again by
//! each renewal. All access is by key, so their table can be partitioned by its hash, which gives smaller
//! indexes and vacuums that run beside each other. After `migrate()`, before the first request:
//!
//! ```sql
#![doc = include_str!("stores/partitioned.sql")]
//! ```
//!
//! **PostgreSQL, dropping instead of deleting.** At tens of thousands of requests a second, deleting
//! costs as much as inserting. Partitions by time cannot be dropped under a key that must stay unique
//! across time: a retry a minute after midnight has to find the record of a minute before. It can where
//! the *key itself* says when it began, as UUIDv7 does, or a message with its date: then the week of the
//! key chooses the schema, every retry goes to the same one, and the schema of a week goes as a whole
//! when its keys and their ttl are over:
//!
//! ```sql
//! -- one schema for each week of keys: PostgresStore::builder().schema("idempotency_2026w47")
//! drop schema idempotency_2026w45 cascade;
//! ```
//!
//! The handler's attribute names the runtime of that week, `runtime = app.week_of(key.0)`, over an
//! argument that carries the key. A key from a week that is over is refused by the application, as one
//! from the future is.
//!
//! **PostgreSQL behind a transaction pooler** (PgBouncer): `PostgresStore::builder()
//! .prepared_statements(false)`. No step uses a session's state.
