// What the attribute writes for `minimal.rs`; written by the tests of idempotent-macros.
#![allow(unused_imports)]

//! The attribute as most handlers have it.
use axum::{Json, Router, routing::post};
use idempotent_runtime::idempotent;
async fn create_payment(
    __idempotent_last: ::idempotent_runtime::__private::Guarded<Json<u64>>,
) -> ::idempotent_runtime::__private::Outcome<Result<Json<u64>, String>> {
    let (__idempotent_value, __idempotent_guard) = __idempotent_last.into_parts();
    let Json(amount) = __idempotent_value;
    let __idempotent_call = ::idempotent_runtime::__private::Call::new(
            __idempotent_guard,
            const {
                &::idempotent_runtime::__private::Spec::new(
                        ::core::concat!(::core::module_path!(), "::create_payment"),
                    )
                    .ttl(::idempotent_runtime::__private::Duration::new(86400, 0))
            },
        )
        .key_header(const {
            ::idempotent_runtime::__private::HeaderName::from_static("idempotency-key")
        });
    ::idempotent_runtime::__private::run(
            __idempotent_call,
            async move {
                #[allow(unreachable_code, clippy::empty_loop, clippy::let_unit_value)]
                if false {
                    let __idempotent_result: Result<Json<u64>, String> = loop {};
                    return __idempotent_result;
                }
                let fee = amount.checked_div(100).ok_or("no fee")?;
                Ok(Json(amount + fee))
            },
            ::idempotent_runtime::__private::reply::<Result<Json<u64>, String>>,
        )
        .await
}
pub fn main() {
    let _: Router = Router::new().route("/payments", post(create_payment));
}
