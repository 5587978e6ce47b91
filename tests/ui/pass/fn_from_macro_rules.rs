#![deny(warnings)]
//! Written by `macro_rules!`.

use idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};

macro_rules! consumers {
    ($($name:ident: $ty:ty, $key:expr, $body:expr;)+) => {$(
        #[idempotent_fn(key = $key, runtime = idempotency)]
        async fn $name(idempotency: &Idempotency, argument: $ty) -> Result<$ty, Error> {
            let _ = &argument;
            Ok($body)
        }
    )+};
}
const KEY: fn() -> u64 = || 7;
consumers! {
    one: u64, KEY(), 1;
    two: String, KEY(), "two".to_owned();
}

async fn run() {
    let idempotency = Idempotency::new(MemoryStore::new());
    assert_eq!(one(&idempotency, 5).await.unwrap(), 1);
    assert_eq!(two(&idempotency, String::new()).await.unwrap(), "two");
}

pub fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
