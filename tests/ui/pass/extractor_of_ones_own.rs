#![deny(warnings)]

use axum::{
    Router,
    body::Bytes,
    extract::{FromRef, FromRequest, FromRequestParts, Request},
    http::{StatusCode, request::Parts},
    routing::post,
};
use idempotent_runtime::idempotent;

#[derive(Clone)]
struct App {
    tenants: Tenants,
}

#[derive(Clone)]
struct Tenants(u64);

impl FromRef<App> for Tenants {
    fn from_ref(app: &App) -> Self {
        app.tenants.clone()
    }
}

/// From the parts, with a part of the state.
struct Tenant(u64);

impl<S> FromRequestParts<S> for Tenant
where
    S: Sync,
    Tenants: FromRef<S>,
{
    type Rejection = StatusCode;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, StatusCode> {
        Ok(Self(Tenants::from_ref(state).0))
    }
}

/// From the body, with the whole state.
struct Signed(Bytes);

impl FromRequest<App> for Signed {
    type Rejection = StatusCode;

    async fn from_request(request: Request, app: &App) -> Result<Self, StatusCode> {
        let body = Bytes::from_request(request, app).await;
        body.map(Self).map_err(|_| StatusCode::BAD_REQUEST)
    }
}

#[idempotent(key = header("Idempotency-Key"), scope = tenant.0)]
async fn both(tenant: Tenant, Signed(body): Signed) -> String {
    format!("{} {}", tenant.0, body.len())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn parts(Tenant(id): Tenant) -> String {
    id.to_string()
}

pub fn main() {
    let _: Router = Router::new()
        .route("/both", post(both))
        .route("/parts", post(parts))
        .with_state(App { tenants: Tenants(1) });
}
