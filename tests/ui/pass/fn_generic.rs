#![deny(warnings)]
//! Type parameters, lifetimes, const parameters, `impl Trait`, bounds in `where`.

use idempotent_runtime::{Error, Idempotency, KeyPart, MemoryStore, idempotent_fn};
use serde::{Serialize, de::DeserializeOwned};

#[idempotent_fn(key = (key, N), runtime = idempotency)]
async fn give<'a, K, T, const N: usize>(
    idempotency: &'a Idempotency,
    key: K,
    values: &'a [T; N],
    also: impl IntoIterator<Item = &'a T>,
) -> Result<Vec<T>, Error>
where
    K: KeyPart,
    T: Clone + Serialize + DeserializeOwned,
{
    Ok(values.iter().chain(also).cloned().collect())
}

async fn run() {
    let idempotency = Idempotency::new(MemoryStore::new());
    let also = vec![3];
    for _ in 0..2 {
        assert_eq!(give(&idempotency, "k", &[1, 2], &also).await.unwrap(), [1, 2, 3]);
    }
    assert_eq!(give(&idempotency, "k", &["a".to_owned()], &[]).await.unwrap(), ["a"]);
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
