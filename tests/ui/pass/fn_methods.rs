#![deny(warnings)]
//! Methods with every kind of receiver, and associated functions.

use std::sync::Arc;

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

#[derive(Clone)]
struct Worker {
    idempotency: Idempotency,
    done: u32,
}

impl Worker {
    #[idempotent_fn(key = id, runtime = self.idempotency)]
    async fn by_reference(&self, id: u64) -> Result<u64, Error> {
        Ok(id + u64::from(self.done))
    }

    #[idempotent_fn(key = id, runtime = self.idempotency)]
    async fn by_mutable_reference(&mut self, id: u64) -> Result<u32, Error> {
        self.done += 1;
        Ok(self.done)
    }

    #[idempotent_fn(key = (id, self.done), runtime = self.idempotency)]
    async fn by_value(self, id: u64) -> Result<u64, Error> {
        let Self { done, .. } = self;
        Ok(id + u64::from(done))
    }

    #[idempotent_fn(key = id, runtime = self.idempotency)]
    async fn by_pointer(self: Arc<Self>, id: u64) -> Result<u64, Error> {
        drop(self);
        Ok(id)
    }

    #[idempotent_fn(key = id, runtime = worker.idempotency)]
    async fn associated(worker: &Self, id: u64) -> Result<Option<u64>, Error> {
        Ok((worker.done > 0).then_some(id))
    }
}

async fn run() {
    let mut worker = Worker { idempotency: Idempotency::new(MemoryStore::new()), done: 0 };
    for _ in 0..2 {
        assert_eq!(worker.by_mutable_reference(1).await.unwrap(), 1);
    }
    assert_eq!(worker.done, 1);
    assert_eq!(worker.by_reference(1).await.unwrap(), 2);
    assert_eq!(Worker::associated(&worker, 1).await.unwrap(), Some(1));
    assert_eq!(Arc::new(worker.clone()).by_pointer(1).await.unwrap(), 1);
    assert_eq!(worker.by_value(1).await.unwrap(), 2);
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
