#![deny(warnings)]

use axum::{Router, routing::post};

/// The attribute by its path, in a module that imports nothing.
mod payments {
    pub(super) mod create {
        #[::idempotent_runtime::idempotent(key = header("Idempotency-Key"))]
        pub(in super::super) async fn handler(body: ::axum::body::Bytes) -> ::axum::body::Bytes {
            body
        }
    }

    pub(crate) fn router() -> axum::Router {
        axum::Router::new().route("/", axum::routing::post(create::handler))
    }
}

/// In a function, and with a raw name.
fn local() -> Router {
    #[idempotent_runtime::idempotent(key = header("Idempotency-Key"))]
    async fn r#type(r#in: String) -> String {
        #[idempotent_runtime::idempotent(key = header("Idempotency-Key"))]
        async fn inner() -> &'static str {
            "inner"
        }
        let _: Router = Router::new().route("/", post(inner));
        r#in
    }
    Router::new().route("/", post(r#type))
}

pub fn main() {
    let _: Router = payments::router().nest("/local", local());
}
