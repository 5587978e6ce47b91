//! One sender's calls, and a store on a private server.

use std::{fmt::Debug, future::Future, time::Duration};

use bytes::Bytes;
use idempotent_redis::RedisStore;
use idempotent_runtime::{
    AcquireRequest, Acquired, Fingerprint, KeyState, Lease, LeaseId, Metadata, Record, Retention,
    StorageKey, Store, StoreError,
};
use idempotent_servers::{RedisServer, redis_command};

pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const TTL: Duration = Duration::from_hours(24);

/// One sender's `acquire`, repeatable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) key: StorageKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) id: LeaseId,
    pub(crate) lease_for: Duration,
    pub(crate) retention: Retention,
    pub(crate) takeover: bool,
}

/// A first request for a key that nobody else uses.
pub(crate) fn ask() -> Ask {
    let nonce = LeaseId::random();
    Ask {
        key: StorageKey::derive(None, None, "POST /payments", &nonce.as_bytes()),
        fingerprint: Fingerprint::of(&"the request"),
        id: nonce,
        lease_for: LEASE,
        retention: Retention::For(TTL),
        takeover: true,
    }
}

impl Ask {
    /// Another sender of the same request.
    pub(crate) fn again(self) -> Self {
        Self { id: LeaseId::random(), ..self }
    }

    pub(crate) fn other_request(self) -> Self {
        Self { fingerprint: Fingerprint::of(&"another request"), ..self.again() }
    }

    pub(crate) async fn of(&self, store: &RedisStore) -> Result<Acquired, StoreError> {
        let request = AcquireRequest::new(&self.key, &self.fingerprint, self.id, self.lease_for)
            .retention(self.retention)
            .takeover(self.takeover);
        store.acquire(request).await
    }

    #[track_caller]
    pub(crate) fn granted(self, store: &RedisStore) -> impl Future<Output = Lease> {
        let caller = std::panic::Location::caller();
        async move {
            match self.of(store).await {
                Ok(Acquired::Granted(lease)) => lease,
                other => panic!("expected a lease at {caller}, not {other:?}"),
            }
        }
    }

    pub(crate) async fn replayed(self, store: &RedisStore) -> Record {
        match self.of(store).await {
            Ok(Acquired::Completed { record, .. }) => record,
            other => panic!("expected a record, not {other:?}"),
        }
    }

    pub(crate) fn record(self) -> Record {
        Record::new(self.fingerprint, Metadata::Value, Bytes::from_static(b"42"))
    }

    pub(crate) async fn completed(self, store: &RedisStore) -> Record {
        let lease = self.granted(store).await;
        store.complete(&lease, self.record(), TTL).await.unwrap();
        self.record()
    }
}

pub(crate) async fn connect(server: &RedisServer) -> RedisStore {
    RedisStore::connect(server.url()).await.unwrap()
}

/// Expects an answer that leaves open whether the call was applied.
#[track_caller]
pub(crate) fn unknown<T: Debug>(answer: Result<T, StoreError>) -> StoreError {
    match answer {
        Err(error) if error.is_unknown() => error,
        other => panic!("expected an error that leaves it open, not {other:?}"),
    }
}

/// How a state is called, without what differs from call to call.
pub(crate) async fn state(store: &RedisStore, ask: Ask) -> &'static str {
    match store.inspect(&ask.key).await.unwrap() {
        KeyState::Absent => "absent",
        KeyState::Leased { .. } => "leased",
        KeyState::Released { .. } => "released",
        KeyState::Abandoned { .. } => "abandoned",
        KeyState::Completed { .. } => "completed",
        _ => "another",
    }
}

/// Microseconds of the server's clock.
pub(crate) fn clock(server: &RedisServer) -> u64 {
    let time = server.command(&["TIME"]);
    let mut parts = time.lines().map(|part| part.parse::<u64>().unwrap());
    parts.next().unwrap() * 1_000_000 + parts.next().unwrap()
}

/// One line of `INFO`.
pub(crate) fn info(server: &RedisServer, name: &str) -> String {
    let info = redis_command(server.port(), &["INFO"]).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim_end().to_owned()
}
