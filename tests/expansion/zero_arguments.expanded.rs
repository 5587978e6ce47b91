// What the attribute writes for `zero_arguments.rs`; written by the tests of idempotent-macros.
#![allow(unused_imports)]

//! A handler without arguments gets one: the guard needs the request.
use axum::{Router, routing::post};
use idempotent_runtime::idempotent;
async fn tick(
    __idempotent_last: ::idempotent_runtime::__private::Guarded<()>,
) -> ::idempotent_runtime::__private::Outcome<()> {
    use ::idempotent_runtime::__private as __idempotent;
    let ((), __idempotent_call) = match __idempotent::begin(
            __idempotent_last,
            {
                use __idempotent::DoesMore as _;
                <__idempotent::Probe<()>>::READS_BODY
            },
            const {
                &__idempotent::Spec::new(
                        __idempotent::concat!(__idempotent::module_path!(), "::tick"),
                    )
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
                    (),
                > {
                    return __idempotent_result;
                }
                println!("tick");
            },
            __idempotent::reply,
        )
        .await
}
pub fn main() {
    let _: Router = Router::new().route("/ticks", post(tick));
}
