#![deny(warnings)]
//! Shapes of handlers and functions that came up elsewhere, in one router.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, Query, Request, State},
    http::StatusCode,
    response::IntoResponse,
    routing::post,
};
use idempotent_runtime::{Error, Idempotency, idempotent, idempotent_fn};

#[derive(Clone)]
struct App {
    idempotency: Idempotency,
    name: String,
}
#[derive(serde::Deserialize)]
struct New {
    id: u64,
    kind: Option<String>,
    tags: Vec<String>,
}

#[idempotent(key = (a, b), scope = app.name, runtime = app.idempotency)]
async fn reference(
    State(app): State<App>,
    Path((a, b)): Path<(u64, String)>,
    r#type: Json<New>,
) -> String {
    format!("{}{}", r#type.id, app.name)
}

#[idempotent(key = i64::from(id) + 1)]
async fn casts(Path(id): Path<u32>, Json(New { kind, tags, .. }): Json<New>) -> String {
    format!("{kind:?}{tags:?}{id}")
}

#[idempotent(key = id)]
async fn partial(Json(New { id, mut tags, .. }): Json<New>) -> String {
    tags.push(id.to_string());
    tags.concat()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn request(#[cfg(any())] gone: State<u64>, request: Request) -> impl IntoResponse {
    request.uri().to_string()
}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn not_send_is_send(
    Query(q): Query<HashMap<String, String>>,
) -> Result<impl IntoResponse, StatusCode> {
    let n = {
        let n = Rc::new(q.len());
        if *n > 3 {
            return Err(StatusCode::BAD_REQUEST);
        }
        *n
    };
    Ok(n.to_string())
}

#[idempotent(key = header("Idempotency-Key"))]
async fn never(Json(n): Json<u64>) -> String {
    loop {
        if n > 0 {
            break n.to_string();
        }
        tokio::task::yield_now().await;
    }
}

#[idempotent(key = header("Idempotency-Key"))]
async fn question(Json(n): Json<String>) -> Result<String, (StatusCode, String)> {
    const LIMIT: u64 = 7;
    fn double(n: u64) -> u64 {
        n * 2
    }
    let n: u64 =
        n.parse().map_err(|e: std::num::ParseIntError| (StatusCode::BAD_REQUEST, e.to_string()))?;
    Ok(double(n.min(LIMIT)).to_string())
}

struct Consumer<T> {
    idempotency: Idempotency,
    inner: T,
}
impl<T: Clone + Sync> Consumer<T> {
    #[idempotent_fn(key = *id, runtime = self.idempotency)]
    async fn by_ref(&self, &(ref id, n): &(u64, u32)) -> Result<u64, Error> {
        Ok(*id + u64::from(n))
    }
    #[idempotent_fn(key = id, runtime = self.idempotency, attempt = attempt)]
    async fn arc(self: Arc<Self>, mut id: u64) -> Result<u64, Error> {
        id += u64::from(attempt.number());
        Ok(id)
    }
    #[idempotent_fn(key = name, runtime = self.idempotency, operation = "mutable")]
    async fn mutable(
        &mut self,
        name: &str,
        _unused: u8,
        values: impl IntoIterator<Item = u64>,
    ) -> Result<u64, Error> {
        self.inner = self.inner.clone();
        Ok(values.into_iter().sum::<u64>() + name.len() as u64)
    }
    #[idempotent_fn(key = (n, items.len()), runtime = idempotency)]
    async fn assoc<'a, const N: usize>(
        idempotency: &'a Idempotency,
        n: u64,
        items: &'a [u8; N],
    ) -> Result<u64, Error>
    where
        T: 'a,
    {
        Ok(n + items.len() as u64)
    }
}

#[idempotent_fn(key = format!("{id}-{}", name), runtime = &runtime)]
async fn owned(runtime: Idempotency, id: u64, name: String, (_, b): (u8, u8)) -> Result<(), Error> {
    drop(name);
    let _ = b;
    Ok(())
}

struct User(u64);
impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = StatusCode;
    async fn from_request_parts(
        _: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, StatusCode> {
        Ok(Self(1))
    }
}

#[idempotent(key = header("Idempotency-Key"), scope = user.0, fingerprint = (&body, user.0))]
async fn with_user(user: User, body: String) -> String {
    format!("{}{body}", user.0)
}

#[idempotent(key = header("Idempotency-Key"), scope = id)]
async fn with_user2(User(id): User, body: String) -> String {
    format!("{id}{body}")
}

pub fn main() {
    let _ = (owned, Consumer::<u8>::by_ref, Consumer::<u8>::arc, Consumer::<u8>::assoc::<1>);
    let _ = async |consumer: &mut Consumer<u8>| consumer.mutable("a", 0, [7]).await;
    let _: Router<App> = Router::new()
        .route("/a/{a}/{b}", post(reference))
        .route("/b/{id}", post(casts))
        .route("/c", post(partial))
        .route("/d", post(request))
        .route("/e", post(never))
        .route("/f", post(question))
        .route("/g", post(with_user))
        .route("/h", post(with_user2))
        .route("/i", post(not_send_is_send));
}
