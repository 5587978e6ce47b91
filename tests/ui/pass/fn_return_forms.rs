#![deny(warnings)]
//! `?`, early `return`, coercions, aliases of `Result`, `impl Trait`, never-ending loops.

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};
use serde::{Serialize, de::DeserializeOwned};

type Answer<T> = Result<T, Box<dyn std::error::Error>>;

#[idempotent_fn(key = text, runtime = idempotency)]
async fn parsed(idempotency: &Idempotency, text: &str) -> Answer<Vec<Box<str>>> {
    if text.is_empty() {
        return Err("nothing to parse".into());
    }
    let number: u8 = text.parse()?;
    if number > 100 {
        return Ok(vec!["large".into()]);
    }
    Ok(vec![text.into()])
}

#[idempotent_fn(key = id, runtime = idempotency)]
async fn opaque(
    idempotency: &Idempotency,
    id: u8,
) -> Result<impl Serialize + DeserializeOwned + ToString + use<>, Error> {
    Ok(id)
}

#[idempotent_fn(key = id, runtime = idempotency)]
async fn loops(idempotency: &Idempotency, id: u8) -> Result<(), Error> {
    loop {
        tokio::task::yield_now().await;
        if id > 0 {
            return Ok(());
        }
    }
}

async fn run() {
    let idempotency = Idempotency::new(MemoryStore::new());
    assert_eq!(parsed(&idempotency, "101").await.unwrap()[0].as_ref(), "large");
    assert!(parsed(&idempotency, "x").await.is_err());
    for _ in 0..2 {
        assert_eq!(opaque(&idempotency, 7).await.unwrap().to_string(), "7");
        loops(&idempotency, 1).await.unwrap();
    }
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
