use axum::{Json, extract::Path};
use idempotent_runtime::{Error, Idempotency, idempotent, idempotent_fn};

#[idempotent(key = header("Idempotency-Key"))]
async fn create(Path(id): Path<u64>, Json(id): Json<u64>) -> String {
    id.to_string()
}

#[idempotent_fn(key = id, runtime = runtime)]
async fn ship(runtime: &Idempotency, id: u64, (id, _): (u64, u64)) -> Result<u64, Error> {
    drop(runtime.clone());
    Ok(id)
}

fn main() {}
