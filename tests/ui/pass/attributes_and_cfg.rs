#![deny(warnings, missing_docs)]
#![allow(clippy::mixed_attributes_style, clippy::non_minimal_cfg)]
//! Attributes of the function and of its arguments stay where they mean something.

use axum::{Json, Router, extract::State, http::Method, routing::post};
use idempotent_runtime::idempotent;

/// Creates a payment.
///
/// In several lines.
#[doc(hidden)]
#[must_use]
#[idempotent(key = header("Idempotency-Key"))]
#[inline]
#[allow(unused_mut, reason = "to see that it stays")]
pub async fn documented(
    #[allow(unused_variables)] method: Method,
    #[cfg(all())] State(_present): State<u64>,
    #[cfg(any())] State(_absent): State<Missing>,
    #[cfg(any())] _: State<Missing>,
    #[allow(unused_variables)] mut body: Json<u64>,
) -> String {
    #![allow(dropping_copy_types)]
    drop(1);
    String::new()
}

#[cfg(any())]
#[idempotent(kye = )]
async fn not_there() {}

pub fn main() {
    let _: Router = Router::new().route("/", post(documented)).with_state(1);
}
