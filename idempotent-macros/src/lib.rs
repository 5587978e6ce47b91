//! The attributes of [`idempotent-runtime`](https://docs.rs/idempotent-runtime), which re-exports them:
//! depend on that crate, not on this one.
//!
//! An attribute is read into `Options`, one slot for each option, and the function into a `Handler` or
//! a `Function`; both note every mistake they find. Without one, `expand` writes the guarded function.
//! With one, `fallback` writes the function as it was, and all the errors.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod argument;
mod ctxt;
mod expand;
mod fallback;
mod function;
mod handler;
mod item;
mod model;
mod output;
mod parse;
#[cfg(test)]
mod snapshots;

use proc_macro2::TokenStream;

use self::{ctxt::Ctxt, function::Function, handler::Handler, model::Attribute, parse::Options};

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
/// | `key = fingerprint` | The key is the fingerprint: equal requests are one (`&fingerprint` is an argument of that name). | |
/// | `key = hash(order)` | The key is the digest of a value that implements `Serialize`: a `ContentKey`. | |
/// | `ttl = "24h"` | How long a record is replayed, from the end of the operation. | 24 h |
/// | `scope = user.id` | Whose key it is: two scopes never share one. An empty one is none. | Credentials are part of the fingerprint. |
/// | `shared` | Everybody shares the keys, on purpose: credentials do not count. | Credentials are part of the fingerprint; a warning where there are none. |
/// | `fingerprint = (&body.amount, &body.currency)` | What has to be the same for a request to be a retry, besides method, path and preconditions. | Query and body. |
/// | `fingerprint = hash(order)` | The same of a value that implements `Serialize`, as in `key = hash(order)`. | |
/// | `fingerprint = json` | Query, and the body by its value as JSON: neither the order of members nor white space counts, for clients that serialise anew (`&json` is an argument of that name). | |
/// | `fingerprint_headers = ["X-Account", "X-Dry-Run"]` | Header fields that decide about the effect: a retry with other values is another request. Those of `IdempotencyBuilder::fingerprint_headers` count besides. | |
/// | `lease = "30s"` | How long a process that died blocks the key. Renewed while the handler runs. | 30 s |
/// | `wait = "10s"` | How long a duplicate waits for the outcome of the first; `"0s"` answers `409` at once. | 10 s |
/// | `optional` | A request without a key runs unguarded. | It gets `400`. |
/// | `record = final` | Recorded are all answers but 1xx, 408, 425, 429, 5xx and those that ask for another request, such as 401 and 412; with `success` only 2xx, with `all` every one. | `final` |
/// | `on_abandoned = rerun` | After a crash with unknown outcome a retry runs the handler again; with `halt` it gets `409` until somebody has decided, and so does a retry after a 5xx, a panic or `DoNotRecord`, unless `NoEffect` says that nothing happened. | `rerun` |
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
/// arguments bind. It is evaluated once, after the extractors of what it speaks of and before the
/// body, and its value is only borrowed, of a tuple each element: `scope = (tenant.id, user.name)`
/// moves neither. A `key` that is `None` is a missing key.
///
/// # Content keys
///
/// For clients that send no key, `key = fingerprint` takes what they ask for as its name, with a short
/// ttl such as `ttl = "5min"`. **Two equal orders are one**: who orders the same thing twice within the
/// ttl gets it once. A key that the client draws is always better.
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
/// # What differs from the function without it
///
/// Arguments, their drops, warnings and results are those of the bare function, but for this:
///
/// - It returns an `Outcome<T>`, so lints about `Result` (`clippy::missing_errors_doc`) say nothing, and
///   its last argument is a `Guarded<T>`. `typed_post` of axum-extra asks for its path as the first
///   argument: put another one behind it, such as `_: ()`.
/// - What an option speaks of is taken apart before the body. Where its pattern leaves a part without a
///   name (`Session { user, .. }`), options see the names by reference; where each part has one, by value.
///   A name of a type that implements `Drop` (`Permit(id)`) that an option speaks of leaves the rest to be
///   dropped before the body: bind such an argument whole.
/// - `header(…)`, `hash(…)`, `fingerprint` and `json` are words of the attribute in the places above. A
///   function or argument of yours of that name is `self::hash(x)`, `&json`.
/// - A body that starts with items stands in a block of its own. Two names of one text that a macro gave
///   different meanings are one name.
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
    let options = Options::parse(&mut ctxt, Attribute::Handler, attribute);
    let (spawn, crate_path) = (options.spawn(), options.crate_path());
    let mistakes = ctxt.len();
    let handler = Handler::parse(&mut ctxt, item.clone(), spawn);
    let is_fit = ctxt.len() == mistakes;
    let guard = options.finish(&mut ctxt);
    // What is wrong with the options says nothing of the function, which others may call.
    let both = guard.as_ref().zip(handler.as_ref());
    match ctxt.finish(both) {
        Ok((guard, handler)) => expand::handler::expand(guard, handler),
        Err(errors) => {
            let stand_in = match handler.filter(|_| is_fit) {
                Some(handler) => expand::handler::stand_in(crate_path, spawn, &handler),
                None => fallback::with_names_once(item.clone(), Attribute::Handler),
            };
            fallback::fallback(&stand_in, errors)
        }
    }
}

/// Makes an async function have its effect once for each key, however often it is called: for messages
/// of a broker, jobs, timers, webhooks.
///
/// ```ignore
/// #[idempotent_fn(key = event.id, ttl = "7d", runtime = self.idempotency)]
/// async fn on_paid(&self, event: OrderPaid) -> Result<Shipment, ShipError> {
///     self.carrier.ship(event.order).await
/// }
/// ```
///
/// `Ok` is recorded, as JSON, and given to whoever calls with the same key. `Err` is given to its
/// caller as it is and not recorded: the key is released, and the next call runs. So an `Err` *means*
/// "safe to repeat". Everything that is not the function's own doing arrives as an
/// `idempotent_runtime::Error` in `E`.
///
/// # The function
///
/// Any async function that returns `Result<T, E>` with `T: Serialize + DeserializeOwned` and
/// `E: From<idempotent_runtime::Error>`: free, a method, in an `impl` of a trait, also under
/// `#[async_trait]`, generic, borrowing. Its signature stays as it is. It runs in its caller's task,
/// on a tokio runtime, and its future is `Send` where its body is.
///
/// - A value that is replayed went through JSON, and what `T` skips is lost. A value that JSON would not
///   give back is refused the first time (`Error::Unrecordable`): `Some` of what is `null` itself
///   (`Some(())`, `Some(None)`, `Some(Value::Null)`), `NaN` and the infinities. Return a `bool`, an enum
///   or an id instead.
/// - **A record that no longer reads as `T` is an error** (`Error::Unreadable`), never a second
///   execution: add fields with `#[serde(default)]`.
/// - A value that is refused so, or is larger than `max_response_bytes`, is recorded as a
///   tombstone: the function ran, and later calls get `Error::NotReplayable`.
/// - A call whose future is dropped while the body runs leaves its lease to lapse, and the next call
///   takes over as another attempt (`on_abandoned = halt`: nobody does). Spawn it, where its caller may
///   go away.
///
/// # Options
///
/// `key` and `runtime` are needed. Every mistake in them is an error at compile time.
///
/// | Option | Meaning | Without it |
/// |---|---|---|
/// | `key = event.id` | What names the operation. `None` and the empty string are an error. | |
/// | `key = hash(event)` | The digest of a value that implements `Serialize`, a `ContentKey`. | |
/// | `runtime = self.idempotency` | The `Idempotency` to use. | |
/// | `ttl = "7d"` | How long a value is replayed, from the end of the call. | 24 h |
/// | `scope = event.tenant` | Whose key it is: two scopes never share one. | One scope for all. |
/// | `fingerprint = (&event.amount, &event.currency)` | What has to be the same for a call to be a repetition. | The key alone. |
/// | `fingerprint = hash(event)` | The same of a value that implements `Serialize`, as in `key = hash(event)`. | |
/// | `attempt = attempt` | Binds the attempt in the body: a `ValueAttempt<T>`. | |
/// | `lease = "30s"` | How long a process that died blocks the key. Renewed while the function runs. | 30 s |
/// | `wait = "10s"` | How long a duplicate waits for the value of the first. | 10 s |
/// | `on_abandoned = rerun` | After a crash with unknown outcome the next call runs again; with `halt` it gets an error until somebody has decided, and so does the one after a panic or an `Err`, unless `attempt.no_effect()` says that nothing happened. | `rerun` |
/// | `on_store_error = fail` | While the store cannot be reached, calls are errors; with `bypass` they run unguarded. | `fail` |
/// | `on_record_failure = answer` | The caller gets its value also where recording it has to be repeated; with `withhold` it waits. | `answer` |
/// | `operation = "ship_order"` | The name of the operation, which outlives a renaming. | Module and function. |
/// | `crate = some::path` | Where `idempotent-runtime` is found under another name. | `::idempotent_runtime` |
///
/// **Renaming or moving a function forgets its keys** unless `operation` is set. Two methods of one
/// name in one module have to set it: both are refused as soon as both were called. So does a method that
/// a trait provides, which is one function for all types that have it: a second type is refused. Name it,
/// and put into `key` or `scope` what tells the types apart. A generic function
/// is one operation for all of its types: `handle::<Charge>` and `handle::<Refund>` with the key 7 are
/// one, unless something that tells them apart is in `key` or `scope`.
///
/// # Expressions
///
/// `key`, `scope`, `fingerprint` and `runtime` take any expression over the function's arguments. It is
/// evaluated before the body, and its value is only borrowed, of a tuple each element. `hash(…)` is a word
/// of the attribute: a function of yours of that name is `self::hash(x)`.
///
/// # Content keys
///
/// `key = hash(event)` is for messages without an id of their own, with a short ttl such as
/// `ttl = "5min"`. **Two equal events are one.** See `ContentKey`.
#[proc_macro_attribute]
pub fn idempotent_fn(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    guard_function(attribute.into(), &item.into()).into()
}

fn guard_function(attribute: TokenStream, item: &TokenStream) -> TokenStream {
    let mut ctxt = Ctxt::new();
    let options = Options::parse(&mut ctxt, Attribute::Function, attribute);
    let function = Function::parse(&mut ctxt, item.clone());
    let guard = options.finish_function(&mut ctxt);
    match ctxt.finish(guard.zip(function)) {
        Ok((guard, function)) => expand::function::expand(&guard, &function),
        Err(errors) => {
            let plain = fallback::with_names_once(item.clone(), Attribute::Function);
            fallback::fallback(&plain, errors)
        }
    }
}
