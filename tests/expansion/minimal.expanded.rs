// What the attribute writes for `minimal.rs`; written by the tests of idempotent-macros.
#![allow(unused_imports)]

//! The attribute as most handlers have it.
use axum::{Json, Router, routing::post};
use idempotent_runtime::idempotent;
async fn create_payment(
    __idempotent_last: ::idempotent_runtime::__private::Guarded<Json<u64>>,
) -> ::idempotent_runtime::__private::Outcome<Result<Json<u64>, String>> {
    let (__idempotent_value, mut __idempotent_guard) = ::idempotent_runtime::__private::Guarded::into_parts(
        __idempotent_last,
    );
    let __idempotent_value = match ::idempotent_runtime::__private::Late::first(
            __idempotent_value,
            {
                use ::idempotent_runtime::__private::DoesMore as _;
                let _ = <::idempotent_runtime::__private::Probe<
                    ::idempotent_runtime::__private::Unlisted,
                >>::READS_BODY;
                <::idempotent_runtime::__private::Probe<Json<u64>>>::READS_BODY
            },
            &mut __idempotent_guard,
        )
        .await
    {
        ::core::result::Result::Ok(__idempotent_taken) => __idempotent_taken,
        ::core::result::Result::Err(__idempotent_answer) => {
            return ::idempotent_runtime::__private::answered(__idempotent_answer);
        }
    };
    let mut __idempotent_call = ::idempotent_runtime::__private::Call::new(
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
    let __idempotent_value = match ::idempotent_runtime::__private::Late::unless_recorded(
        __idempotent_value,
        &mut __idempotent_call,
    ) {
        ::core::result::Result::Ok(__idempotent_taken) => __idempotent_taken,
        ::core::result::Result::Err(__idempotent_answer) => {
            return ::idempotent_runtime::__private::answered(__idempotent_answer);
        }
    };
    let __idempotent_value = match ::idempotent_runtime::__private::Late::take(
            __idempotent_value,
            ::idempotent_runtime::__private::Call::guard(&mut __idempotent_call),
        )
        .await
    {
        ::core::result::Result::Ok(__idempotent_taken) => __idempotent_taken,
        ::core::result::Result::Err(__idempotent_answer) => {
            return ::idempotent_runtime::__private::answered(__idempotent_answer);
        }
    };
    let __idempotent_0 = __idempotent_value;
    ::idempotent_runtime::__private::run(
            __idempotent_call,
            move || async move {
                if let ::core::option::Option::Some(__idempotent_result) = ::core::option::Option::None::<
                    Result<Json<u64>, String>,
                > {
                    return __idempotent_result;
                }
                let __idempotent_0 = __idempotent_0;
                let Json(amount) = __idempotent_0;
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
