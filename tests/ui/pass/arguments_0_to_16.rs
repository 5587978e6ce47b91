#![deny(warnings)]
#![allow(clippy::too_many_arguments)]

use axum::{Json, Router, http::Method, routing::post};
use idempotent_runtime::idempotent;

/// `NAME(ARGUMENT, …)`: the last argument is always the body.
macro_rules! handlers {
    ($($name:ident($($argument:ident),*);)+) => {
        $(
            #[idempotent(key = header("Idempotency-Key"))]
            async fn $name($($argument: Method,)* Json(body): Json<u64>) -> String {
                let methods: &[Method] = &[$($argument),*];
                format!("{} {body}", methods.len())
            }
        )+

        pub fn main() {
            let _: Router =
                Router::new().route("/none", post(none))$(.route(concat!("/", stringify!($name)), post($name)))+;
        }
    };
}

#[idempotent(key = header("Idempotency-Key"))]
async fn none() -> &'static str {
    "none"
}

handlers! {
    with_1();
    with_2(m1);
    with_3(m1, m2);
    with_4(m1, m2, m3);
    with_5(m1, m2, m3, m4);
    with_6(m1, m2, m3, m4, m5);
    with_7(m1, m2, m3, m4, m5, m6);
    with_8(m1, m2, m3, m4, m5, m6, m7);
    with_9(m1, m2, m3, m4, m5, m6, m7, m8);
    with_10(m1, m2, m3, m4, m5, m6, m7, m8, m9);
    with_11(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10);
    with_12(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11);
    with_13(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12);
    with_14(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13);
    with_15(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14);
    with_16(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15);
}
