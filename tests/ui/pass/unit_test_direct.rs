#![deny(warnings)]

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use idempotent_runtime::{Guarded, idempotent};

#[derive(Debug, PartialEq)]
enum Refused {
    TooMuch,
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> axum::response::Response {
        StatusCode::BAD_REQUEST.into_response()
    }
}

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn create(State(limit): State<u64>, Json(amount): Json<u64>) -> Result<Json<u64>, Refused> {
    if amount > limit {
        return Err(Refused::TooMuch);
    }
    Ok(Json(amount))
}

#[idempotent(key = header("Idempotency-Key"))]
async fn tick() -> StatusCode {
    StatusCode::ACCEPTED
}

/// A handler is a function: a unit test calls it, and gets what it returned.
#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    let _: Router = Router::new().route("/", post(create)).with_state(1);

    let created = create(State(10), Guarded::unguarded(Json(7))).await.direct();
    assert_eq!(created.map(|Json(amount)| amount), Ok(7));
    let refused = create(State(10), Guarded::unguarded(Json(11))).await.direct();
    assert_eq!(refused.err(), Some(Refused::TooMuch));
    assert_eq!(tick(Guarded::unguarded(())).await.direct(), StatusCode::ACCEPTED);
}
