//! The handler under the attribute.

use axum::{Extension, Json, Router, extract::State, http::StatusCode, routing::post};
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};

use crate::{App, NewPayment, PATH, Payment};

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn create(
    State(app): State<App>,
    Json(new): Json<NewPayment>,
) -> (StatusCode, Json<Payment>) {
    app.pay(new)
}

/// The handler under `#[idempotent]`, its keys in `store`.
pub fn ours(app: &App, store: MemoryStore) -> Router {
    Router::new()
        .route(PATH, post(create))
        .layer(Extension(Idempotency::new(store)))
        .with_state(app.clone())
}

/// The runtime in the state instead of a layer: `runtime = app.idempotency`.
mod in_state {
    use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
    use idempotent_runtime::{Idempotency, MemoryStore, idempotent};

    use crate::{App, NewPayment, PATH, Payment};

    #[derive(Clone)]
    struct WithRuntime {
        app: App,
        idempotency: Idempotency,
    }

    #[idempotent(key = header("Idempotency-Key"), ttl = "24h", runtime = state.idempotency)]
    async fn create(
        State(state): State<WithRuntime>,
        Json(new): Json<NewPayment>,
    ) -> (StatusCode, Json<Payment>) {
        state.app.pay(new)
    }

    /// The handler under `#[idempotent]`, its runtime in the router's state.
    pub fn ours_in_state(app: &App, store: MemoryStore) -> Router {
        let idempotency = Idempotency::new(store);
        let state = WithRuntime { app: app.clone(), idempotency };
        Router::new().route(PATH, post(create)).with_state(state)
    }
}

pub use self::in_state::ours_in_state;
