//! A real memory store whose calls fail, hang or lose their answers on command.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use idempotent_runtime::{
    AcquireRequest, Acquired, KeyState, Lease, MemoryStore, Record, StorageKey, Store, StoreError,
};
use tokio::sync::Semaphore;

use crate::client::in_time;

/// A call of the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // named after the calls
pub enum Step {
    Acquire,
    Complete,
    Renew,
    Release,
    Free,
    Abandon,
    Inspect,
    SaveStep,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Not applied: the store cannot be reached.
    Unreachable,
    /// Not applied: what is stored cannot be read.
    Corrupt,
    /// Not applied: no room.
    Full,
    /// Not applied: the lease is another's.
    LeaseLost,
    /// Never answered and not applied.
    Hang,
    /// Applied, and its answer lost.
    LoseAnswer,
    /// Applied, and never answered.
    ApplyThenHang,
    /// Held at a gate until the test opens it, then applied. Not applied when the caller gave up.
    Hold(Gate),
    /// Applied at once, its answer held at a gate until the test opens it.
    HoldAnswer(Gate),
    /// Applied when the test opens a gate, even if the caller gave up long before.
    Late(Gate),
    /// Applied after this long. Not applied when the caller gave up.
    Slow(Duration),
}

/// Where a call waits for the test.
#[derive(Clone, Debug)]
pub struct Gate(Arc<(Semaphore, Semaphore)>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new((Semaphore::new(0), Semaphore::new(0))))
    }

    /// Waits until a call (or handler) has come to the gate.
    ///
    /// # Panics
    ///
    /// When none comes within an hour, which takes no time where time is paused.
    pub async fn reached(&self) {
        in_time(self.0.0.acquire()).await.unwrap().forget();
    }

    /// Lets one through.
    pub fn open(&self) {
        self.0.1.add_permits(1);
    }

    /// Comes to the gate and waits until it is opened.
    pub async fn pass(&self) {
        self.0.0.add_permits(1);
        self.0.1.acquire().await.unwrap().forget();
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// A memory store that fails on command. Clones are one store.
#[derive(Clone)]
pub struct Faulty {
    inner: MemoryStore,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    next: HashMap<Step, Vec<Fault>>,
    always: HashMap<Step, Fault>,
    calls: HashMap<Step, usize>,
}

impl Faulty {
    /// A store without faults over `inner`.
    pub fn new(inner: MemoryStore) -> Self {
        Self { inner, script: Arc::default() }
    }

    /// How many hold this store: what has dropped it is gone.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.script)
    }

    /// The store without faults.
    pub fn inner(&self) -> &MemoryStore {
        &self.inner
    }

    /// The next call of `step` that has no other fault before it meets `fault`.
    pub fn next(&self, step: Step, fault: Fault) {
        self.script.lock().unwrap().next.entry(step).or_default().push(fault);
    }

    /// Every call of `step` meets `fault`, until [`heal`](Self::heal).
    pub fn always(&self, step: Step, fault: Fault) {
        self.script.lock().unwrap().always.insert(step, fault);
    }

    /// Every call of every kind meets `fault`: the store is away.
    pub fn always_all(&self, fault: &Fault) {
        use Step::{Abandon, Acquire, Complete, Free, Inspect, Release, Renew, SaveStep};
        for step in [Acquire, Complete, Renew, Release, Free, Abandon, Inspect, SaveStep] {
            self.always(step, fault.clone());
        }
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut script = self.script.lock().unwrap();
        script.next.clear();
        script.always.clear();
    }

    /// How often `step` was called.
    pub fn calls(&self, step: Step) -> usize {
        self.script.lock().unwrap().calls.get(&step).copied().unwrap_or(0)
    }

    async fn call<T: Send + 'static>(
        &self,
        step: Step,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let fault = {
            let mut script = self.script.lock().unwrap();
            *script.calls.entry(step).or_default() += 1;
            let next = script.next.get_mut(&step).filter(|faults| !faults.is_empty());
            next.map(|faults| faults.remove(0)).or_else(|| script.always.get(&step).cloned())
        };
        let away = || StoreError::unavailable("connection refused");
        match fault {
            None => call.await,
            Some(Fault::Unreachable) => Err(away()),
            Some(Fault::Corrupt) => Err(StoreError::corrupt("unexpected end of data")),
            Some(Fault::Full) => Err(StoreError::Full),
            Some(Fault::LeaseLost) => Err(StoreError::LeaseLost),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::LoseAnswer) => call.await.and_then(|_| Err(away())),
            Some(Fault::ApplyThenHang) => {
                let _ = call.await;
                std::future::pending().await
            }
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                call.await
            }
            Some(Fault::HoldAnswer(gate)) => {
                let answer = call.await;
                gate.pass().await;
                answer
            }
            Some(Fault::Late(gate)) => {
                let late = async move {
                    gate.pass().await;
                    call.await
                };
                tokio::spawn(late).await.unwrap()
            }
            Some(Fault::Slow(time)) => {
                tokio::time::sleep(time).await;
                call.await
            }
        }
    }
}

impl Store for Faulty {
    async fn acquire(&self, request: AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        let (inner, key, fingerprint) = (self.inner.clone(), *request.key, *request.fingerprint);
        let AcquireRequest { lease_id, lease_for, retention, takeover, ttl, .. } = request;
        let operation = request.operation.clone();
        let call = async move {
            let request = AcquireRequest::new(&key, &fingerprint, lease_id, lease_for);
            let request = request.retention(retention).takeover(takeover);
            inner.acquire(request.operation(&operation, ttl)).await
        };
        self.call(Step::Acquire, call).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: Record,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call(Step::Complete, async move { inner.complete(&lease, record, ttl).await }).await
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call(Step::Renew, async move { inner.renew(&lease, lease_for).await }).await
    }

    async fn release(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call(Step::Release, async move { inner.release(&lease, retention).await }).await
    }

    async fn free(&self, lease: &Lease, retention: Duration) -> Result<(), StoreError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call(Step::Free, async move { inner.free(&lease, retention).await }).await
    }

    async fn reserve_step(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call(Step::Renew, async move { inner.reserve_step(&lease, lease_for).await }).await
    }

    async fn abandon(&self, lease: &Lease) -> Result<(), StoreError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call(Step::Abandon, async move { inner.abandon(&lease).await }).await
    }

    async fn save_step(&self, lease: &Lease, name: &str, value: Bytes) -> Result<(), StoreError> {
        let (inner, lease, name) = (self.inner.clone(), lease.clone(), name.to_owned());
        let call = async move { inner.save_step(&lease, &name, value).await };
        self.call(Step::SaveStep, call).await
    }

    async fn inspect(&self, key: &StorageKey) -> Result<KeyState, StoreError> {
        let (inner, key) = (self.inner.clone(), *key);
        self.call(Step::Inspect, async move { inner.inspect(&key).await }).await
    }

    async fn forget(&self, key: &StorageKey, force: bool) -> Result<bool, StoreError> {
        self.inner.forget(key, force).await
    }

    async fn purge_expired(&self, limit: usize) -> Result<usize, StoreError> {
        self.inner.purge_expired(limit).await
    }

    fn kind(&self) -> &'static str {
        "faulty"
    }
}
