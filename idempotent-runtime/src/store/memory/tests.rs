//! The store contract and what `MemoryStore` adds to it, under paused time or real threads.

mod contract;
mod expiry;
mod full;
mod races;
mod steps;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::advance;

use super::{MemoryStore, OnFull, budget};
use crate::{
    fingerprint::Fingerprint,
    key::StorageKey,
    lease::{FencingToken, Lease, LeaseId},
    record::{Metadata, Record},
    store::{AcquireRequest, Acquired, KeyState, Retention, Store, StoreError},
};

const LEASE: Duration = Duration::from_secs(30);
const RETENTION: Duration = Duration::from_hours(1);
const TTL: Duration = Duration::from_hours(24);
const INSTANT: Duration = Duration::from_nanos(1);

/// The last instant of a span that does not include its end.
fn before(end: Duration) -> Duration {
    end.saturating_sub(INSTANT)
}

/// The answer of a call, which in this store never waits; works outside a runtime.
fn done<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a call of the memory store waited"),
    }
}

fn key(n: u32) -> StorageKey {
    StorageKey::derive(None, None, "POST /payments", &n)
}

fn fingerprint() -> Fingerprint {
    Fingerprint::of(&"the request")
}

fn record(body: &[u8]) -> Record {
    Record::new(fingerprint(), Metadata::Value, Bytes::copy_from_slice(body))
}

/// One sender's `acquire`, repeatable.
#[derive(Clone, Copy)]
struct Ask {
    key: StorageKey,
    fingerprint: Fingerprint,
    id: LeaseId,
    lease_for: Duration,
    retention: Retention,
    takeover: bool,
}

fn ask(n: u32) -> Ask {
    Ask {
        key: key(n),
        fingerprint: fingerprint(),
        id: LeaseId::random(),
        lease_for: LEASE,
        retention: Retention::For(RETENTION),
        takeover: true,
    }
}

impl Ask {
    fn other_request(self) -> Self {
        Self { fingerprint: Fingerprint::of(&"another request"), ..self }
    }

    fn lease_for(self, lease_for: Duration) -> Self {
        Self { lease_for, ..self }
    }

    fn until_resolved(self) -> Self {
        Self { retention: Retention::UntilResolved, ..self }
    }

    fn without_takeover(self) -> Self {
        Self { takeover: false, ..self }
    }

    fn of(&self, store: &MemoryStore) -> Result<Acquired, StoreError> {
        let request = AcquireRequest::new(&self.key, &self.fingerprint, self.id, self.lease_for)
            .retention(self.retention)
            .takeover(self.takeover);
        done(store.acquire(request))
    }

    fn granted(&self, store: &MemoryStore) -> Lease {
        match self.of(store) {
            Ok(Acquired::Granted(lease)) => lease,
            other => panic!("expected a lease, not {other:?}"),
        }
    }

    fn replayed(&self, store: &MemoryStore) -> (Record, Duration) {
        match self.of(store) {
            Ok(Acquired::Completed { record, expires_in }) => (record, expires_in),
            other => panic!("expected a record, not {other:?}"),
        }
    }
}

fn complete(store: &MemoryStore, lease: &Lease, body: &[u8]) {
    done(store.complete(lease, record(body), TTL)).unwrap();
}

fn state(store: &MemoryStore, n: u32) -> KeyState {
    done(store.inspect(&key(n))).unwrap()
}

fn forget(store: &MemoryStore, n: u32) -> bool {
    done(store.forget(&key(n), true)).unwrap()
}

fn purge(store: &MemoryStore) -> usize {
    done(store.purge_expired(usize::MAX)).unwrap()
}

/// What every step answers to a lease that does not hold its key.
fn refused_everywhere(store: &MemoryStore, lease: &Lease) {
    let before = format!("{:?}", done(store.inspect(&lease.key)).unwrap());
    let answers = [
        done(store.complete(lease, record(b"late"), TTL)),
        done(store.renew(lease, LEASE)),
        done(store.release(lease, RETENTION)),
        done(store.abandon(lease)),
        done(store.save_step(lease, "late", Bytes::new())),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(StoreError::LeaseLost)), "{answer:?}");
    }
    assert_eq!(format!("{:?}", done(store.inspect(&lease.key)).unwrap()), before);
}
