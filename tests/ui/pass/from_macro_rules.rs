#![deny(warnings)]

use axum::{Json, Router, extract::State, routing::post};
use idempotent_runtime::{Idempotency, idempotent};

#[derive(Clone)]
pub struct App {
    idempotency: Idempotency,
    limit: u64,
}

/// What a macro hands on arrives in invisible groups.
macro_rules! handlers {
    ($($(#[$attr:meta])* $vis:vis $name:ident($app:ident, $new:ident: $body:ty): $key:expr, $ttl:literal => $block:block)+) => {$(
        $(#[$attr])*
        #[idempotent(key = $key, ttl = $ttl, operation = $ttl, runtime = $app.idempotency)]
        $vis async fn $name(State($app): State<App>, Json($new): Json<$body>) -> Result<String, String> {
            let done = $block;
            Ok(format!("{done:?}"))
        }
    )+};
}
handlers! {
    /// With a value.
    pub with_value(app, amount: u64): amount + app.limit, "24h" => { amount.checked_add(1).ok_or("")? }

    without(app, amount: (u64, String)): (amount.0, amount.1), "7d" => { drop((app, amount)) }
}

pub fn main() {
    let _: Router<App> =
        Router::new().route("/with", post(with_value)).route("/without", post(without));
}
