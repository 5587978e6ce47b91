#![deny(warnings)]
//! A free function, called twice.

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

#[idempotent_fn(key = id, runtime = idempotency)]
async fn next(idempotency: &Idempotency, id: u64, given: &mut Vec<u64>) -> Result<usize, Error> {
    given.push(id);
    Ok(given.len())
}

async fn run() {
    let (idempotency, mut given) = (Idempotency::new(MemoryStore::new()), Vec::new());
    for _ in 0..2 {
        assert_eq!(next(&idempotency, 7, &mut given).await.unwrap(), 1);
    }
    assert_eq!(given, [7]);
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
