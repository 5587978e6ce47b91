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
    let (__idempotent_value, mut __idempotent_guard) = idempotent_runtime::__private::Guarded::into_parts(
        __idempotent_last,
    );
    let __idempotent_value = match idempotent_runtime::__private::Late::take(
            __idempotent_value,
            &mut __idempotent_guard,
        )
        .await
    {
        ::core::result::Result::Ok(__idempotent_taken) => __idempotent_taken,
        ::core::result::Result::Err(__idempotent_answer) => {
            return idempotent_runtime::__private::answered(__idempotent_answer);
        }
    };
    let Json(new) = __idempotent_value;
    let __idempotent_call = idempotent_runtime::__private::Call::new(
            __idempotent_guard,
            const {
                &idempotent_runtime::__private::Spec::new(
                        ::core::concat!(::core::module_path!(), "::create_payment"),
                    )
                    .ttl(idempotent_runtime::__private::Duration::new(604800, 0))
                    .lease(idempotent_runtime::__private::Duration::new(30, 0))
                    .wait(idempotent_runtime::__private::Duration::new(1, 500000000))
                    .optional()
                    .record(idempotent_runtime::__private::RecordRule::Success)
                    .fingerprint_headers(&["x-account", "x-dry-run"])
                    .on_abandoned(idempotent_runtime::__private::OnAbandoned::Halt)
                    .on_store_error(idempotent_runtime::__private::OnStoreError::Bypass)
                    .on_record_failure(
                        idempotent_runtime::__private::OnRecordFailure::Withhold,
                    )
                    .operation("create_payment")
            },
        )
        .runtime(&app.idempotency)
        .scope(&(&tenant.id, &tenant.region))
        .fingerprint(&(&&new.amount, &&new.currency))
        .key(&new.reference);
    idempotent_runtime::__private::run(
            __idempotent_call,
            move || async move {
                if let ::core::option::Option::Some(__idempotent_result) = ::core::option::Option::None::<
                    Result<(StatusCode, _), StatusCode>,
                > {
                    return __idempotent_result;
                }
                let app = app;
                let _ = &app;
                let tenant = tenant;
                let _ = &tenant;
                let __idempotent_2 = __idempotent_2;
                let __idempotent_3 = __idempotent_3;
                let mut new = new;
                let _ = &new;
                drop((app, tenant));
                new.amount += 1;
                let amount = u32::try_from(new.amount)
                    .map_err(|_| StatusCode::BAD_REQUEST)?;
                Ok((StatusCode::CREATED, Json(amount)))
            },
            idempotent_runtime::__private::reply::<Result<(StatusCode, _), StatusCode>>,
        )
        .await
}
pub fn main() {
    let _: Router<App> = Router::new()
        .route("/{account}/payments", post(create_payment::<u8>));
}
