#![deny(warnings)]
//! Where the runtime may come from.

use std::sync::{Arc, LazyLock};

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

static SHARED: LazyLock<Idempotency> = LazyLock::new(|| Idempotency::new(MemoryStore::new()));

#[idempotent_fn(key = id, runtime = SHARED)]
async fn of_a_static(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[idempotent_fn(key = id, runtime = idempotency)]
async fn of_an_arc(idempotency: Arc<Idempotency>, id: u64) -> Result<usize, Error> {
    Ok(Arc::strong_count(&idempotency))
}

#[idempotent_fn(key = id, runtime = make().clone())]
async fn of_a_call(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn make() -> &'static Idempotency {
    &SHARED
}

async fn run() {
    assert_eq!(of_a_static(1).await.unwrap(), 1);
    assert_eq!(of_an_arc(Arc::new(SHARED.clone()), 1).await.unwrap(), 1);
    assert_eq!(of_a_call(1).await.unwrap(), 1);
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
