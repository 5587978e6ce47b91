//! Every option at once.

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::post,
};
use idempotent_runtime::{Idempotency, idempotent};

#[derive(Clone)]
pub struct App {
    idempotency: Idempotency,
}

#[derive(Clone)]
pub struct Tenant {
    id: u64,
    region: String,
}

#[derive(serde::Deserialize)]
pub struct NewPayment {
    reference: String,
    amount: u64,
    currency: String,
}

/// Doc comments, visibility and other attributes stay.
#[idempotent(
    key = new.reference,
    ttl = "7 days",
    scope = (tenant.id, tenant.region),
    fingerprint = (&new.amount, &new.currency),
    fingerprint_headers = ["X-Dry-Run", "X-Account"],
    lease = "30s",
    wait = "1.5s",
    optional,
    record = success,
    on_abandoned = halt,
    on_store_error = bypass,
    on_record_failure = withhold,
    operation = "create_payment",
    runtime = app.idempotency,
    spawn = true,
    crate = idempotent_runtime,
)]
pub(crate) async fn create_payment<T>(
    State(app): State<App>,
    Extension(tenant): Extension<Tenant>,
    _: Extension<T>,
    _account: Path<u64>,
    Json(mut new): Json<NewPayment>,
) -> Result<(StatusCode, impl IntoResponse), StatusCode>
where
    T: Clone + Send + Sync,
{
    drop((app, tenant));
    new.amount += 1;
    let amount = u32::try_from(new.amount).map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok((StatusCode::CREATED, Json(amount)))
}

pub fn main() {
    let _: Router<App> = Router::new().route("/{account}/payments", post(create_payment::<u8>));
}
