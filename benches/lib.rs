//! What the benchmarks share: the one small JSON handler that all of them measure.
#![forbid(unsafe_code)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};

mod floor;
#[cfg(feature = "ours")]
mod ours;
pub use self::floor::floor;
#[cfg(feature = "ours")]
pub use self::ours::{ours, ours_in_state};

/// Where the handler is mounted.
pub const PATH: &str = "/payments";

/// The body of every request.
pub const BODY: &str = r#"{"amount":1000,"currency":"USD"}"#;

/// The state of the handler: the number of payments made.
#[derive(Debug, Clone, Default)]
pub struct App {
    payments: Arc<AtomicU64>,
}

impl App {
    /// How often the handler's effect happened.
    #[must_use]
    pub fn effects(&self) -> u64 {
        self.payments.load(Ordering::Relaxed)
    }

    fn pay(&self, new: NewPayment) -> (StatusCode, Json<Payment>) {
        let id = self.payments.fetch_add(1, Ordering::Relaxed);
        let NewPayment { amount, currency } = new;
        (StatusCode::CREATED, Json(Payment { id, amount, currency }))
    }
}

#[derive(Debug, Deserialize)]
struct NewPayment {
    amount: u64,
    currency: String,
}

#[derive(Debug, Serialize)]
struct Payment {
    id: u64,
    amount: u64,
    currency: String,
}

async fn create(
    State(app): State<App>,
    Json(new): Json<NewPayment>,
) -> (StatusCode, Json<Payment>) {
    app.pay(new)
}

/// The handler with no guard.
pub fn bare(app: &App) -> Router {
    Router::new().route(PATH, post(create)).with_state(app.clone())
}
