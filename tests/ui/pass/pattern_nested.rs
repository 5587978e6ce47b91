#![deny(warnings)]

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::post,
};
use idempotent_runtime::idempotent;

#[derive(Clone)]
struct App {
    name: &'static str,
    limits: (u64, u64),
}

#[derive(serde::Deserialize)]
struct NewPayment {
    id: String,
    amount: u64,
    note: Option<String>,
}

#[idempotent(key = (reference, account), fingerprint = (low, whole.len()))]
async fn create(
    State(App { name, limits: (low, _) }): State<App>,
    Path((account, _)): Path<(u64, u64)>,
    Json(NewPayment { id: reference, amount, note: whole, .. }): Json<NewPayment>,
) -> String {
    format!("{name} {low} {account} {reference} {amount} {whole:?}")
}

trait Len {
    fn len(&self) -> usize;
}

impl Len for Option<String> {
    fn len(&self) -> usize {
        self.as_deref().map_or(0, str::len)
    }
}

pub fn main() {
    let app = App { name: "app", limits: (1, 2) };
    let _: Router = Router::new().route("/{account}/{of}", post(create)).with_state(app);
}
