#![deny(warnings)]

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::Method,
    routing::post,
};
use idempotent_runtime::idempotent;

#[idempotent(key = header("Idempotency-Key"))]
async fn ignored(
    _: Method,
    State(_): State<u8>,
    Path((_, id)): Path<(u64, u64)>,
    _: Json<u64>,
) -> String {
    id.to_string()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn unused(
    _method: Method,
    _: Extension<u64>,
    Path(_ids): Path<(u64, u64)>,
    _body: Json<u64>,
) {
}

pub fn main() {
    let _: Router = Router::new()
        .route("/ignored/{a}/{b}", post(ignored))
        .route("/unused/{a}/{b}", post(unused))
        .layer(Extension(1_u64))
        .with_state(1);
}
