#![deny(warnings)]
//! Every value of every option, in every position, with and without a comma at the end.

use axum::{Router, routing::post};
use idempotent_runtime::idempotent;

macro_rules! handlers {
    ($($name:ident($($options:tt)*))+) => {
        $(
            #[idempotent($($options)*)]
            async fn $name(body: String) -> String {
                body
            }
        )+

        pub fn main() {
            let _: Router = Router::new()$(.route(concat!("/", stringify!($name)), post($name)))+;
        }
    };
}
handlers! {
    trailing_comma(key = header("Idempotency-Key"),)
    other_header(ttl = "24h", key = header("X-Request_Id"))
    final_(key = header("Idempotency-Key"), record = final)
    success(record = success, key = header("Idempotency-Key"))
    all(key = header("Idempotency-Key"), record = all)
    rerun(key = header("Idempotency-Key"), on_abandoned = rerun)
    halt(key = header("Idempotency-Key"), on_abandoned = halt)
    fail(key = header("Idempotency-Key"), on_store_error = fail)
    bypass(key = header("Idempotency-Key"), on_store_error = bypass)
    answer(key = header("Idempotency-Key"), on_record_failure = answer)
    withhold(key = header("Idempotency-Key"), on_record_failure = withhold)
    optional(optional, key = header("Idempotency-Key"))
    shared(shared, key = header("Idempotency-Key"))
    shortest(key = header("Idempotency-Key"), ttl = "1ms", lease = "1ms", wait = "0s")
    longest(key = header("Idempotency-Key"), ttl = "100 years", lease = "24h", wait = "1h")
    composed(key = header("Idempotency-Key"), ttl = "1week 2days 3h 4min 5s 6ms", wait = "1.5s")
}
