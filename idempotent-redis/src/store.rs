//! The store contract, each step one call of a script.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use idempotent_runtime::{
    AcquireRequest, Acquired, KeyState, Lease, Record, Retention, StorageKey, Store, StoreError,
};

use crate::{
    builder::RedisStoreBuilder,
    connection::{Connection, Replicas},
    error::ConnectError,
    reply::{Astray, Reply},
    script::{self, Argument, Script, ScriptCall},
};

/// The longest span that is kept: a hundred years. Sums of two of them with today's time stay below
/// 2^53 microseconds, up to which Lua counts exactly.
const LONGEST: Duration = Duration::from_hours(24 * 36_525);

/// Keeps leases and records in Redis, for any number of processes. Cloning it is cheap, and clones
/// share one connection.
///
/// See the [crate](crate) for what it promises, what it needs of the server, and an example.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    connection: Connection,
    prefix: String,
    replicas: Option<Replicas>,
    /// Numbers the calls, so that each knows its own answer.
    calls: AtomicU64,
}

impl RedisStore {
    /// Connects to one server with the defaults of the [builder](Self::builder).
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the server cannot be reached.
    pub async fn connect(server: impl redis::IntoConnectionInfo) -> Result<Self, ConnectError> {
        Self::builder().connect(server).await
    }

    /// Connects to a cluster, of which some nodes are named, with the defaults of the
    /// [builder](Self::builder).
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when no node can be reached.
    #[cfg(feature = "cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cluster")))]
    pub async fn cluster<N: redis::IntoConnectionInfo>(
        nodes: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConnectError> {
        Self::builder().connect_cluster(nodes).await
    }

    /// Configures a store.
    pub fn builder() -> RedisStoreBuilder {
        RedisStoreBuilder::new()
    }

    pub(crate) fn new(connection: Connection, prefix: String, replicas: Option<Replicas>) -> Self {
        Self(Arc::new(Inner { connection, prefix, replicas, calls: AtomicU64::new(0) }))
    }

    /// The name under which the server holds a key, for `redis-cli` and tools.
    pub fn redis_key(&self, key: &StorageKey) -> String {
        format!("{}{{{key}}}", self.0.prefix)
    }

    async fn call(
        &self,
        script: &Script,
        key: &StorageKey,
        arguments: &[&dyn Argument],
        replicas: Option<Replicas>,
    ) -> Result<Reply, StoreError> {
        let number = self.0.calls.fetch_add(1, Ordering::Relaxed);
        let call = ScriptCall { key: &self.redis_key(key), arguments, number };
        let connection = &self.0.connection;
        let reply = Reply::new(connection.call(script, &call, replicas).await?, number);
        if let Err(StoreError::Unavailable(source)) = &reply
            && matches!(source.downcast_ref(), Some(Astray::OtherCall))
        {
            connection.reset().await;
        }
        reply
    }

    /// A step that changes something.
    async fn write(
        &self,
        script: &Script,
        key: &StorageKey,
        arguments: &[&dyn Argument],
    ) -> Result<Reply, StoreError> {
        self.call(script, key, arguments, self.0.replicas).await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.0.prefix)
            .field("replicas", &self.0.replicas)
            .finish_non_exhaustive()
    }
}

/// Microseconds, rounded up: what is shorter than one is not nothing.
fn micros(span: Duration) -> u64 {
    let nanos = span.min(LONGEST).as_nanos();
    u64::try_from(nanos.div_ceil(1000)).unwrap_or(u64::MAX)
}

impl Store for RedisStore {
    async fn acquire(&self, request: AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        let retention = match request.retention {
            Retention::For(span) => micros(span).to_string(),
            Retention::UntilResolved => "unresolved".to_owned(),
        };
        let arguments: [&dyn Argument; 7] = [
            &request.fingerprint.to_string(),
            &request.lease_id.to_string(),
            &micros(request.lease_for),
            &retention,
            &u8::from(request.takeover),
            &request.operation.as_str(),
            &micros(request.ttl),
        ];
        let reply = self.write(&script::ACQUIRE, request.key, &arguments).await?;
        reply.acquired(&request)
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let arguments: [&dyn Argument; 6] = [
            &lease.id.to_string(),
            &lease.token.as_u64(),
            &record.fingerprint().to_string(),
            &micros(ttl),
            &record.metadata().to_json(),
            &&record.body()[..],
        ];
        self.write(&script::COMPLETE, &lease.key, &arguments).await?.done()
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let arguments: [&dyn Argument; 3] =
            [&lease.id.to_string(), &lease.token.as_u64(), &micros(lease_for)];
        self.write(&script::RENEW, &lease.key, &arguments).await?.done()
    }

    async fn release(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        let arguments: [&dyn Argument; 3] =
            [&lease.id.to_string(), &lease.token.as_u64(), &micros(retention)];
        self.write(&script::RELEASE, &lease.key, &arguments).await?.done()
    }

    async fn free(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        let arguments: [&dyn Argument; 3] =
            [&lease.id.to_string(), &lease.token.as_u64(), &micros(retention)];
        self.write(&script::FREE, &lease.key, &arguments).await?.done()
    }

    async fn abandon(&self, lease: &Lease) -> Result<(), StoreError> {
        let arguments: [&dyn Argument; 2] = [&lease.id.to_string(), &lease.token.as_u64()];
        self.write(&script::ABANDON, &lease.key, &arguments).await?.done()
    }

    async fn reserve_step(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let arguments: [&dyn Argument; 3] =
            [&lease.id.to_string(), &lease.token.as_u64(), &micros(lease_for)];
        self.write(&script::RESERVE_STEP, &lease.key, &arguments).await?.done()
    }

    async fn save_step(&self, lease: &Lease, name: &str, value: Bytes) -> Result<(), StoreError> {
        let arguments: [&dyn Argument; 4] =
            [&lease.id.to_string(), &lease.token.as_u64(), &name, &&value[..]];
        let reply = self.write(&script::SAVE_STEP, &lease.key, &arguments).await?;
        match reply.word.as_str() {
            "conflict" => Err(StoreError::StepConflict { name: name.into() }),
            _ => reply.done(),
        }
    }

    async fn inspect(&self, key: &StorageKey) -> Result<KeyState, StoreError> {
        self.call(&script::INSPECT, key, &[], None).await?.state()
    }

    async fn forget(&self, key: &StorageKey, force: bool) -> Result<bool, StoreError> {
        self.write(&script::FORGET, key, &[&u8::from(force)]).await?.forgotten()
    }

    /// Always 0: Redis removes expired keys by itself.
    async fn purge_expired(&self, _limit: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    fn kind(&self) -> &'static str {
        "redis"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_up_and_bounded() {
        assert_eq!(micros(Duration::ZERO), 0);
        assert_eq!(micros(Duration::from_nanos(1)), 1);
        assert_eq!(micros(Duration::from_millis(1)), 1000);
        assert_eq!(micros(Duration::MAX), micros(LONGEST));
        // Today, a lease and a retention: what the scripts add up.
        let sum = 1_900_000_000_000_000 + 2 * micros(LONGEST);
        assert!(sum < 1 << 53);
    }
}
