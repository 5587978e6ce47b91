#![deny(warnings)]
//! Documentation, visibility, lints, `cfg` on arguments, inner attributes, `instrument`.

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

/// Documented.
#[tracing::instrument(skip_all)]
#[idempotent_fn(key = id, runtime = idempotency)]
#[inline]
pub(crate) async fn documented(
    idempotency: &Idempotency,
    id: u64,
    #[cfg(any())] missing: Missing,
    #[allow(unused)] unused: u8,
    _: u8,
    _held: String,
) -> Result<u64, Error> {
    #![allow(unused_variables)]
    let unused_too = 1;
    Ok(id)
}

#[idempotent_fn(key = id, runtime = idempotency)]
#[tracing::instrument(skip_all)]
async fn instrumented(idempotency: &Idempotency, id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn run() {
    let idempotency = Idempotency::new(MemoryStore::new());
    assert_eq!(documented(&idempotency, 1, 2, 3, String::new()).await.unwrap(), 1);
    assert_eq!(instrumented(&idempotency, 1).await.unwrap(), 1);
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
