#![deny(warnings)]

use axum::{Json, Router, extract::State, routing::post};
use idempotent_runtime::idempotent;

#[derive(Clone, serde::Serialize)]
struct Payments<T> {
    fee: T,
}

impl<T: Clone + Into<u64> + serde::Serialize + Send + Sync + 'static> Payments<T> {
    const LIMIT: u64 = 100;

    fn fee(&self) -> u64 {
        self.fee.clone().into()
    }

    #[idempotent(key = header("Idempotency-Key"), scope = payments.fee())]
    pub(crate) async fn create(
        State(payments): State<Self>,
        Json(amount): Json<u64>,
    ) -> Result<Json<Self>, String> {
        if amount + payments.fee() > Self::LIMIT {
            return Err("too much".into());
        }
        Ok(Json(Self { ..payments }))
    }

    fn router(self) -> Router {
        Router::new().route("/", post(Self::create)).with_state(self)
    }
}

pub fn main() {
    let _ = Payments { fee: 1_u8 }.router();
}
