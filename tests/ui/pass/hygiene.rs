#![deny(warnings)]
#![no_implicit_prelude]
//! Nothing that the user has named may change what the attribute means.

use ::axum::{Json, Router, extract::Path, routing::post};
use ::idempotent_runtime::{Guarded, idempotent};

#[allow(dead_code, unused_macros)]
mod shadows {
    pub struct Duration;
    pub struct HeaderName;
    pub struct Spec;
    pub mod core {}
    pub mod idempotent_runtime {}
}
#[allow(unused_imports)]
use shadows::*;

/// The names that the attribute uses for itself.
#[idempotent(
    key = (__idempotent_call, __idempotent_guard, __idempotent_value),
    scope = __idempotent_last,
    ttl = "24h",
)]
async fn same_names(
    Path((__idempotent_call, __idempotent_guard)): Path<(u64, u64)>,
    Path(__idempotent_last): Path<(u64, u64)>,
    _: (),
    __idempotent_2_0: (),
    Json(__idempotent_value): Json<u64>,
) -> Json<u64> {
    let __idempotent_result = __idempotent_call + __idempotent_guard;
    let () = __idempotent_2_0;
    Json(__idempotent_result + __idempotent_last.0 + __idempotent_value)
}

pub fn main() {
    let _: Router = Router::new().route("/{a}/{b}", post(same_names));
    let path = (1_u64, 2_u64);
    let call = same_names(Path(path), Path(path), (), (), Guarded::unguarded(Json(4)));
    let runtime = ::tokio::runtime::Builder::new_current_thread().build();
    let ::core::result::Result::Ok(runtime) = runtime else { ::std::process::exit(1) };
    ::std::assert_eq!(runtime.block_on(call).direct().0, 8);
}
