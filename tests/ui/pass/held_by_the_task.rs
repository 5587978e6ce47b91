#![deny(warnings)]
//! The client hangs up: the handler runs on, and what its arguments hold is held until it ends.

use std::sync::{Arc, Mutex};

use axum::{
    Extension, Router,
    extract::{FromRequestParts, State},
    http::request::Parts,
    routing::post,
};
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use idempotent_tests::post as request;
use tokio::sync::Notify;

type Log = Arc<Mutex<Vec<&'static str>>>;

#[derive(Clone, Default)]
struct App {
    log: Log,
    gate: Arc<Notify>,
}

/// Notes when it is dropped.
struct Permit(Log);

impl FromRequestParts<App> for Permit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        app.log.lock().unwrap().push("taken");
        Ok(Self(Arc::clone(&app.log)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("given back");
    }
}

#[idempotent(key = header("Idempotency-Key"))]
async fn slow(State(app): State<App>, _: Permit, _permit: Permit) {
    app.log.lock().unwrap().push("begun");
    app.gate.notified().await;
    app.log.lock().unwrap().push("ended");
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    let app = App::default();
    let router = Router::new()
        .route("/", post(slow))
        .layer(Extension(Idempotency::new(MemoryStore::new())))
        .with_state(app.clone());
    let log = || app.log.lock().unwrap().clone();

    let client = tokio::spawn(async move { request("/").key("a").send(&router).await });
    while !log().contains(&"begun") {
        tokio::task::yield_now().await;
    }
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(log(), ["taken", "taken", "begun"]);

    app.gate.notify_one();
    while log().len() < 6 {
        tokio::task::yield_now().await;
    }
    assert_eq!(log()[3..], ["ended", "given back", "given back"]);
}
