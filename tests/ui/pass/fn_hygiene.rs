#![deny(warnings)]
#![no_implicit_prelude]
//! Nothing that the user has named may change what the attribute means.

use ::idempotent_runtime::{Error, Idempotency, MemoryStore, idempotent_fn};
use ::std::result::Result::{self, Ok};

#[allow(dead_code, unused_macros)]
mod shadows {
    pub struct Duration;
    pub struct Function;
    pub struct Site;
    pub struct Spec;
    pub fn run_function() {}
    pub fn values() {}
    pub mod core {}
    pub mod idempotent_runtime {}
}
#[allow(unused_imports)]
use shadows::*;

/// The names that the attribute uses for itself.
#[idempotent_fn(
    key = (__idempotent_call, __idempotent_values),
    runtime = __idempotent_result,
    attempt = __idempotent_attempt,
    ttl = "24h",
)]
async fn same_names(
    __idempotent_result: &Idempotency,
    __idempotent_call: u64,
    __idempotent_values: u64,
) -> Result<u64, Error> {
    let number = __idempotent_attempt.number();
    Ok(__idempotent_call + __idempotent_values + <u64 as ::std::convert::From<u32>>::from(number))
}

pub fn main() {
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { ::std::process::exit(1) };
    runtime.block_on(async {
        let idempotency = Idempotency::new(MemoryStore::new());
        let sum = same_names(&idempotency, 1, 2).await;
        ::std::assert!(::std::matches!(sum, Ok(4)));
    });
}
