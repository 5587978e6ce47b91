use axum::Json;
use idempotent_runtime::idempotent;

#[idempotent(
    key = header("Host"),
    tll = "24h",
    lease = "0s",
    wait = 10,
    record = sometimes,
    operation = "",
    spawn = no,
    optional = false,
)]
async fn create(Json(amount): Json<u64>) -> Json<u64> {
    Json(amount)
}

fn main() {}
