use idempotent_runtime::{Error, Idempotency, idempotent_fn};

#[idempotent_fn(key = weight, runtime = idempotency)]
async fn ship(idempotency: &Idempotency, weight: f64) -> Result<f64, Error> {
    Ok(weight)
}

fn main() {}
