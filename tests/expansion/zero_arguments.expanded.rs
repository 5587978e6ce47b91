// What the attribute writes for `zero_arguments.rs`; written by the tests of idempotent-macros.
#![allow(unused_imports)]

//! A handler without arguments gets one: the guard needs the request.
use axum::{Router, routing::post};
use idempotent_runtime::idempotent;
async fn tick(
    __idempotent_last: ::idempotent_runtime::__private::Guarded<()>,
) -> ::idempotent_runtime::__private::Outcome<()> {
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
                <::idempotent_runtime::__private::Probe<()>>::READS_BODY
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
                    ::core::concat!(::core::module_path!(), "::tick"),
                )
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
    ::idempotent_runtime::__private::run(
            __idempotent_call,
            move || async move {
                if let ::core::option::Option::Some(__idempotent_result) = ::core::option::Option::None::<
                    (),
                > {
                    return __idempotent_result;
                }
                println!("tick");
            },
            ::idempotent_runtime::__private::reply::<()>,
        )
        .await
}
pub fn main() {
    let _: Router = Router::new().route("/ticks", post(tick));
}
