//! Requests to a router without a socket, and their answers as a test looks at them.

use std::{fmt, future::Future, panic::Location, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use tower::ServiceExt as _;

/// A request that is being put together.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// `POST` to `path`, with an empty body and no key.
pub fn post(path: &str) -> Request {
    Request::new(Method::POST, path)
}

/// `GET` of `path`.
pub fn get(path: &str) -> Request {
    Request::new(Method::GET, path)
}

impl Request {
    /// A request with any method.
    pub fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// Adds `Idempotency-Key`.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// Sends it with its body in one piece.
    pub async fn send(self, app: &Router) -> Answer {
        let body = Body::from(self.body.clone());
        self.send_body(app, body).await
    }

    /// Sends it with another body: a stream, one that fails, one that never ends.
    pub async fn send_body(self, app: &Router, body: Body) -> Answer {
        let answer =
            async { Answer::of(app.clone().oneshot(self.into_http(body)).await.unwrap()).await };
        in_time(answer).await
    }

    /// The response as it is, its body unread.
    pub async fn response(self, app: &Router) -> http::Response<Body> {
        let body = Body::from(self.body.clone());
        in_time(app.clone().oneshot(self.into_http(body))).await.unwrap()
    }

    fn into_http(self, body: Body) -> http::Request<Body> {
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().unwrap();
        *request.headers_mut() = self.headers;
        request
    }
}

/// Under paused time, where nothing else can happen, a test fails rather than hangs.
#[track_caller]
pub(crate) fn in_time<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        let done = timeout(Duration::from_hours(48), future).await;
        done.unwrap_or_else(|_| panic!("waited for ever at {caller}"))
    }
}

/// An answer, read to its end.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    async fn of(response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        Self { status: parts.status, headers: parts.headers, body: body.to_bytes(), trailers }
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The value of a header that stands once, or `""`.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether the answer says that it comes from a record.
    pub fn is_replayed(&self) -> bool {
        self.header("idempotent-replayed") == "true"
    }

    /// Asserts that this is a whole problem answer with `code`.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.problem_code().as_str()),
            (status, code),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().ends_with(&format!("#{code}")));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        assert!(self.header("link").ends_with("rel=\"describedby\""));
        let retry_after = self.headers.get(header::RETRY_AFTER);
        if let Some(seconds) = retry_after {
            assert!(seconds.to_str().unwrap().parse::<u64>().unwrap() >= 1);
        }
        if retry_after.is_some() {
            assert_eq!(problem["retryable"], true);
        }
    }

    fn problem_code(&self) -> String {
        if self.header("content-type") != "application/problem+json" {
            return String::from("(no problem)");
        }
        self.json()["code"].as_str().unwrap_or("(no code)").to_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(400)]);
        write!(f, "{} {:?}\n{body}", self.status, self.headers)
    }
}
