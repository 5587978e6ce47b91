// What the attribute writes for `every_option.rs`; written by the tests of idempotent-macros.
#![allow(unused_imports)]

//! Every option at once.
use axum::{
    Extension, Json, Router, extract::{Path, State},
    http::StatusCode, response::IntoResponse, routing::post,
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
pub(crate) async fn create_payment<T>(
    State(app): State<App>,
    Extension(tenant): Extension<Tenant>,
    __idempotent_2: Extension<T>,
    __idempotent_3: Path<u64>,
    __idempotent_last: idempotent_runtime::__private::Guarded<Json<NewPayment>>,
) -> idempotent_runtime::__private::Outcome<
    Result<(StatusCode, impl IntoResponse), StatusCode>,
>
where
    T: Clone + Send + Sync + 'static,
{
    use idempotent_runtime::__private as __idempotent;
    let (Json(new), __idempotent_guard) = match __idempotent::take(__idempotent_last)
        .await
    {
        __idempotent::Ok(__idempotent_done) => __idempotent_done,
        __idempotent::Err(__idempotent_answer) => return __idempotent_answer,
    };
    let __idempotent_call = __idempotent::Call::new(
            __idempotent_guard,
            const {
                &__idempotent::Spec::new(
                        __idempotent::concat!(
                            __idempotent::module_path!(), "::create_payment"
                        ),
                    )
                    .ttl(604800000)
                    .lease(30000)
                    .wait(1500)
                    .optional()
                    .record(__idempotent::RecordRule::Success)
                    .fingerprint_headers(&["x-account", "x-dry-run"])
                    .on_abandoned(__idempotent::OnAbandoned::Halt)
                    .on_store_error(__idempotent::OnStoreError::Bypass)
                    .on_record_failure(__idempotent::OnRecordFailure::Withhold)
                    .operation("create_payment")
            },
        )
        .runtime(&app.idempotency)
        .scope(&(&tenant.id, &tenant.region))
        .fingerprint(&(&&new.amount, &&new.currency))
        .key(&new.reference);
    __idempotent::run(
            __idempotent_call,
            move || async move {
                if let __idempotent::Some(__idempotent_result) = __idempotent::None::<
                    Result<(StatusCode, _), StatusCode>,
                > {
                    return __idempotent_result;
                }
                let app = app;
                let tenant = tenant;
                let __idempotent_2 = __idempotent_2;
                let __idempotent_3 = __idempotent_3;
                let mut new = new;
                drop((app, tenant));
                new.amount += 1;
                let amount = u32::try_from(new.amount)
                    .map_err(|_| StatusCode::BAD_REQUEST)?;
                Ok((StatusCode::CREATED, Json(amount)))
            },
            __idempotent::reply,
        )
        .await
}
pub fn main() {
    let _: Router<App> = Router::new()
        .route("/{account}/payments", post(create_payment::<u8>));
}
