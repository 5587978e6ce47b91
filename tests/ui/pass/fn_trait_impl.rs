#![deny(warnings)]
//! The implementation of a trait with async functions, and one that returns a future.

use std::future::Future;

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

trait Consumer {
    type Failure;
    fn consume(&self, id: u64) -> impl Future<Output = Result<u64, Self::Failure>> + Send;
    fn later(&self, id: u64) -> impl Future<Output = Result<u64, Self::Failure>> + Send;
}

struct Doubles(Idempotency);

impl Consumer for Doubles {
    type Failure = Error;

    #[idempotent_fn(key = id, runtime = self.0)]
    async fn consume(&self, id: u64) -> Result<u64, Error> {
        Ok(id * 2)
    }

    #[idempotent_fn(key = id, runtime = self.0)]
    fn later(&self, id: u64) -> impl Future<Output = Result<u64, Self::Failure>> + Send {
        let tripled = id * 3;
        async move { Ok(tripled) }
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

async fn run() {
    let consumer = Doubles(Idempotency::new(MemoryStore::new()));
    for _ in 0..2 {
        assert_eq!(is_send(consumer.consume(2)).await.unwrap(), 4);
        assert_eq!(is_send(consumer.later(2)).await.unwrap(), 6);
    }
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
