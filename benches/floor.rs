//! As little as a guard in memory can do, written by hand around this one handler: where the others
//! cannot get below.
//!
//! It buffers the body and hands it on, hashes key and request, looks the key up, and keeps the
//! answer. It has no lease, no single-flight, no expiry and no bound; two requests sent at once both
//! run, and whatever goes wrong in between is not looked after.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{FromRequest as _, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use bytes::Bytes;
use hashbrown::HashMap;

use crate::{App, NewPayment, PATH};

const LIMIT: usize = 2 * 1024 * 1024;

#[derive(Clone, Default)]
struct Floor {
    app: App,
    records: Arc<Mutex<HashMap<[u8; 32], Record>>>,
}

#[derive(Clone)]
struct Record {
    fingerprint: [u8; 32],
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
}

async fn create(State(floor): State<Floor>, request: Request) -> Response {
    match guard(&floor, request).await {
        Ok(response) => response,
        Err(status) => status.into_response(),
    }
}

async fn guard(floor: &Floor, request: Request) -> Result<Response, StatusCode> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LIMIT).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let key = parts.headers.get("idempotency-key").ok_or(StatusCode::BAD_REQUEST)?;
    let key = digest(&["POST", PATH, ":"], key.as_bytes());
    let fingerprint = digest(&["POST", parts.uri.path()], &body);

    let records = || floor.records.lock().unwrap_or_else(PoisonError::into_inner);
    let known = records().get(&key).cloned();
    if let Some(Record { fingerprint: known, status, content_type, body, .. }) = known {
        if known != fingerprint {
            return Err(StatusCode::UNPROCESSABLE_ENTITY);
        }
        let replayed = [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (REPLAYED, HeaderValue::from_static("true")),
        ];
        return Ok((status, replayed, body).into_response());
    }

    let request = Request::from_parts(parts, Body::from(body));
    let new = match Json::<NewPayment>::from_request(request, &()).await {
        Ok(Json(new)) => new,
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let (parts, body) = floor.app.pay(new).into_response().into_parts();
    let body = to_bytes(body, LIMIT).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let record = Record {
        fingerprint,
        status: parts.status,
        content_type: parts.headers[header::CONTENT_TYPE].clone(),
        body: Bytes::copy_from_slice(&body),
    };
    records().insert(key, record);
    Ok(Response::from_parts(parts, Body::from(body)))
}

const REPLAYED: header::HeaderName = header::HeaderName::from_static("idempotent-replayed");

fn digest(names: &[&str], content: &[u8]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(256);
    for name in names {
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.extend_from_slice(content);
    blake3::hash(&bytes).into()
}

/// The handler under the least that a guard can be.
pub fn floor(app: &App) -> Router {
    let state = Floor { app: app.clone(), ..Floor::default() };
    Router::new().route(PATH, post(create)).with_state(state)
}
