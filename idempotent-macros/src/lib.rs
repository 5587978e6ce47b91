//! The attribute of [`idempotent-runtime`](https://docs.rs/idempotent-runtime), which re-exports it:
//! depend on that crate, not on this one.
//!
//! An attribute is read into `Options`, one slot for each option, and the function into a `Handler`;
//! both note every mistake they find. Without one, `expand` writes the guarded handler. With one,
//! `fallback` writes the function as it was, and all the errors.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod argument;
mod ctxt;
mod expand;
mod fallback;
mod handler;
mod model;
mod output;
mod parse;
#[cfg(test)]
mod snapshots;

use proc_macro2::TokenStream;

use self::{ctxt::Ctxt, handler::Handler, parse::Options};

/// Makes an axum handler run once for each idempotency key, however often the request is sent.
///
/// ```ignore
/// #[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
/// async fn create_payment(
///     State(app): State<App>,
///     Json(new): Json<NewPayment>,
/// ) -> Result<(StatusCode, Json<Payment>), ApiError> {
///     let payment = app.payments.create(new).await?;
///     Ok((StatusCode::CREATED, Json(payment)))
/// }
///
/// let app = Router::new()
///     .route("/payments", post(create_payment))
///     .layer(Extension(Idempotency::new(MemoryStore::new())));
/// ```
///
/// # Options
///
/// Only `key` is needed. Every mistake in them is an error at compile time.
///
/// | Option | Meaning | Without it |
/// |---|---|---|
/// | `key = header("…")` | The header that carries the client's idempotency key. | |
/// | `key = order.reference` | The key is a value of the request, here of the body. | |
/// | `ttl = "24h"` | How long a record is replayed, from the end of the operation. | 24 h |
/// | `scope = user.id` | Whose key it is: two scopes never share one. | Credentials are part of the fingerprint. |
/// | `fingerprint = (&body.amount, &body.currency)` | What has to be the same for a request to be a retry, besides method and path. | Query and body. |
/// | `lease = "30s"` | How long a process that died blocks the key. Renewed while the handler runs. | 30 s |
/// | `wait = "10s"` | How long a duplicate waits for the outcome of the first; `"0s"` answers `409` at once. | 10 s |
/// | `optional` | A request without a key runs unguarded. | It gets `400`. |
/// | `record = final` | Recorded are all answers but 1xx, 408, 425, 429 and 5xx; with `success` only 2xx, with `all` every one. | `final` |
/// | `on_abandoned = rerun` | After a crash with unknown outcome a retry runs the handler again; with `halt` it gets `409` until somebody has looked. | `rerun` |
/// | `on_store_error = fail` | While the store cannot be reached, requests get `503`; with `bypass` they run unguarded. | `fail` |
/// | `on_record_failure = answer` | The client gets its answer also where recording it has to be repeated; with `withhold` it waits. | `answer` |
/// | `operation = "create_payment"` | The name of the operation, which outlives a change of the route. | Method and route. |
/// | `runtime = app.idempotency` | The `Idempotency` to use. | The `Extension`. |
/// | `spawn = false` | The handler runs in the request's own task: for task-locals and futures that are not `Send + 'static`. A client that hangs up cancels it. | `true` |
/// | `crate = some::path` | Where `idempotent-runtime` is found under another name. | `::idempotent_runtime` |
///
/// Durations are text such as `"90s"`, `"1h 30min"` or `"7 days"`.
///
/// # Expressions
///
/// `key`, `scope`, `fingerprint` and `runtime` take any expression over the names that the handler's
/// arguments bind. It is evaluated after all extractors and before the body, and its value is only
/// borrowed, of a tuple each element: `scope = (tenant.id, user.name)` moves neither. A `key` that is
/// `None` is a missing key.
///
/// # The function
///
/// Any async function that is a handler of axum, with 0 to 16 arguments, generic, or associated to a
/// type; without `self`. Its last argument becomes a `Guarded<T>` and its return type an
/// `Outcome<T>`, which is seen by who calls it directly, such as a unit test:
///
/// ```ignore
/// let answer = create_payment(State(app), Guarded::unguarded(Json(new))).await.direct();
/// ```
///
/// Put `#[utoipa::path]` and `#[axum::debug_handler]` above this attribute, so that they see the
/// function as it was written (`debug_handler` on a handler without arguments: below).
/// `#[tracing::instrument]` above it opens its span around the handler's body, once for each time
/// it runs; below it, around every request.
///
#[proc_macro_attribute]
pub fn idempotent(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    guard(attribute.into(), &item.into()).into()
}

fn guard(attribute: TokenStream, item: &TokenStream) -> TokenStream {
    let mut ctxt = Ctxt::new();
    let options = Options::parse(&mut ctxt, attribute);
    let handler = Handler::parse(&mut ctxt, item.clone(), options.spawn());
    let guard = options.finish(&mut ctxt);
    match ctxt.finish(guard.zip(handler)) {
        Ok((guard, handler)) => expand::expand(&guard, &handler),
        Err(errors) => fallback::fallback(item, errors),
    }
}
