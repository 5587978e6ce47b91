// What the attribute writes for `minimal.rs`; written by the tests of idempotent-macros.
#![allow(unused_imports)]

//! The attribute as most handlers have it.
use axum::{Json, Router, routing::post};
use idempotent_runtime::idempotent;
async fn create_payment(
    __idempotent_last: ::idempotent_runtime::__private::Guarded<Json<u64>>,
) -> ::idempotent_runtime::__private::Outcome<Result<Json<u64>, String>> {
    use ::idempotent_runtime::__private as __idempotent;
    let (__idempotent_0, __idempotent_call) = match __idempotent::begin(
            __idempotent_last,
            {
                use __idempotent::DoesMore as _;
                <__idempotent::Probe<Json<u64>>>::READS_BODY
            },
            const {
                &__idempotent::Spec::new(
                        __idempotent::concat!(
                            __idempotent::module_path!(), "::create_payment"
                        ),
                    )
                    .ttl(86400000)
                    .key_header("idempotency-key")
            },
        )
        .await
    {
        __idempotent::Ok(__idempotent_done) => __idempotent_done,
        __idempotent::Err(__idempotent_answer) => return __idempotent_answer,
    };
    __idempotent::run(
            __idempotent_call,
            move || async move {
                if let __idempotent::Some(__idempotent_result) = __idempotent::None::<
                    Result<Json<u64>, String>,
                > {
                    return __idempotent_result;
                }
                let __idempotent_0 = __idempotent_0;
                let Json(amount) = __idempotent_0;
                let fee = amount.checked_div(100).ok_or("no fee")?;
                Ok(Json(amount + fee))
            },
            __idempotent::reply,
        )
        .await
}
pub fn main() {
    let _: Router = Router::new().route("/payments", post(create_payment));
}
