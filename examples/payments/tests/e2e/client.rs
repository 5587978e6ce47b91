//! A client that opens a connection for every request, so that it can hang up on it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    task::{JoinError, JoinHandle},
    time::timeout,
};

use crate::server::PATIENCE;

/// A request to be sent, as often as one likes.
#[derive(Clone)]
pub(crate) struct Call {
    address: SocketAddr,
    request: Request<Full<Bytes>>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The connection was closed without an answer.
#[derive(Debug)]
pub(crate) struct NoAnswer;

/// A request on its way. Dropped, its connection is closed.
pub(crate) struct Sent(JoinHandle<Result<Answer, NoAnswer>>);

impl Call {
    pub(crate) fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::HOST, address.to_string());
        Self { address, request: request.body(Full::default()).unwrap() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn simulate(self, directives: &str) -> Self {
        self.header("simulate", directives)
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        *self.request.body_mut() = Full::from(body.to_owned());
        self
    }

    pub(crate) fn send(self) -> Sent {
        Sent(tokio::spawn(async move {
            let stream = TcpStream::connect(self.address).await.map_err(|_| NoAnswer)?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|_| NoAnswer)?;
            let answer = async move {
                let (head, body) = sender.send_request(self.request).await?.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok(Answer { status: head.status, headers: head.headers, body })
            };
            let (answer, _) = tokio::join!(answer, connection);
            answer.map_err(|_: hyper::Error| NoAnswer)
        }))
    }

    pub(crate) async fn answer(self) -> Answer {
        self.send().answer().await
    }

    /// Expects that the connection is closed without an answer.
    pub(crate) async fn no_answer(self) {
        self.send().no_answer().await;
    }
}

impl Sent {
    pub(crate) async fn answer(self) -> Answer {
        self.result().await.expect("an answer")
    }

    pub(crate) async fn no_answer(self) {
        let result = self.result().await;
        assert!(matches!(result, Err(NoAnswer)), "{result:?}");
    }

    pub(crate) fn hang_up(self) {
        drop(self);
    }

    pub(crate) async fn result(mut self) -> Result<Answer, NoAnswer> {
        let ended: Result<_, JoinError> = timeout(PATIENCE, &mut self.0).await.expect("in time");
        ended.unwrap()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// Expects the answer of a payment, made by this attempt.
    #[track_caller]
    pub(crate) fn assert_paid(&self, attempt: u32) {
        assert_eq!(self.status, StatusCode::CREATED, "{self:?}");
        assert_eq!(self.json()["attempt"], attempt);
    }

    /// Expects a problem of RFC 9457 with this status; answers its detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}
