//! A function that gives a value of 100 bytes: bare, fresh and replayed over the memory store.
//!
//! `fresh - bare` and `replay - bare` are what `#[idempotent_fn]` adds to a call.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use idempotent_runtime::{
    AcquireRequest, Acquired, Error, Fingerprint, Idempotency, LeaseId, MemoryStore, Metadata,
    Record, StorageKey, Store as _, idempotent_fn,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

/// 100 bytes as JSON.
#[derive(Serialize, Deserialize)]
struct Shipment {
    id: u64,
    order: u64,
    carrier: String,
    tracking: String,
}

struct Consumer {
    idempotency: Idempotency,
    store: MemoryStore,
    effects: AtomicU64,
}

impl Consumer {
    fn new() -> Self {
        let store = MemoryStore::builder().budget(4 << 30).build();
        let idempotency = Idempotency::new(store.clone());
        Self { idempotency, store, effects: AtomicU64::new(0) }
    }

    fn effect(&self, order: u64) -> Shipment {
        self.effects.fetch_add(1, Ordering::Relaxed);
        Shipment {
            id: 1_000_000,
            order,
            carrier: "the old post office!".to_owned(),
            tracking: "00340434161094042557".to_owned(),
        }
    }

    #[allow(clippy::unused_async)] // what is compared with is async
    async fn bare(&self, order: u64) -> Result<Shipment, Error> {
        Ok(self.effect(order))
    }

    /// What the store alone takes of a fresh call.
    async fn stored(&self, order: u64) -> Result<Shipment, Error> {
        let key = StorageKey::derive(None, None, "stored", &order);
        let fingerprint = Fingerprint::from_bytes(*key.as_bytes());
        let lease_for = Duration::from_secs(30);
        let ask = AcquireRequest::new(&key, &fingerprint, LeaseId::random(), lease_for);
        if self.store.recall(&key).is_none()
            && let Ok(Acquired::Granted(lease)) = self.store.acquire(ask).await
        {
            let shipment = self.effect(order);
            let body = serde_json::to_vec(&shipment).unwrap_or_default();
            let record = Record::new(fingerprint, Metadata::Value, body.into());
            let day = Duration::from_hours(24);
            if self.store.complete(&lease, record, day).await.is_ok() {
                return Ok(shipment);
            }
        }
        panic!("every key is new");
    }

    #[idempotent_fn(key = order, ttl = "7d", runtime = self.idempotency)]
    async fn guarded(&self, order: u64) -> Result<Shipment, Error> {
        Ok(self.effect(order))
    }
}

/// `count` calls, one after the other, with the keys `key(0)`, `key(1)`, … of a new consumer that has
/// seen `primed` keys already.
fn measure(
    bencher: &mut Bencher<'_>,
    runtime: &Runtime,
    primed: u64,
    call: &impl AsyncFn(&Consumer, u64) -> Result<Shipment, Error>,
) {
    const FIRST: u64 = 1_000_000_000;
    bencher.iter_custom(|count| {
        let consumer = Consumer::new();
        let took: Result<Duration, Error> = runtime.block_on(async {
            for nth in 0..primed {
                call(&consumer, FIRST + nth).await?;
            }
            let start = Instant::now();
            for nth in 0..count {
                let nth = if primed == 0 { nth } else { nth % primed };
                black_box(call(&consumer, black_box(FIRST + nth)).await?);
            }
            Ok(start.elapsed())
        });
        match took {
            Ok(took) => took,
            Err(error) => panic!("the memory store has room: {error}"),
        }
    });
}

fn function(criterion: &mut Criterion) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime: {error}"),
    };
    let shipment = serde_json::to_vec(&Consumer::new().effect(1_000_000_000));
    assert_eq!(shipment.map_or(0, |bytes| bytes.len()), 100);
    let mut group = criterion.benchmark_group("function");
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare", |b| measure(b, &runtime, 0, &Consumer::bare));
    group.bench_function("fresh", |b| measure(b, &runtime, 0, &Consumer::guarded));
    group.bench_function("store", |b| measure(b, &runtime, 0, &Consumer::stored));
    group.bench_function("replay", |b| measure(b, &runtime, 256, &Consumer::guarded));
    group.finish();
}

criterion_group!(benches, function);
criterion_main!(benches);
