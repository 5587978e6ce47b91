//! A client of HTTP/1.1 that keeps its connection.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::process::PATIENCE;

/// A request to be sent, as often as one likes.
#[derive(Clone)]
pub(crate) struct Call(Request<Full<Bytes>>);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The connection was closed without an answer.
#[derive(Debug)]
pub(crate) struct NoAnswer;

pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    pub(crate) async fn send(&mut self, call: &Call) -> Result<Answer, NoAnswer> {
        let answer = timeout(PATIENCE, self.send_now(call)).await.expect("an answer in time");
        answer.map_err(|_| NoAnswer)
    }

    async fn send_now(&mut self, call: &Call) -> hyper::Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) if !connection.is_closed() => connection,
            closed => {
                let stream = TcpStream::connect(self.address).await.expect("the service listens");
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                closed.insert(sender)
            }
        };
        connection.ready().await?;
        let (head, body) = connection.send_request(call.0.clone()).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

impl Call {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "orders");
        Self(request.body(Full::default()).unwrap())
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Two lamps.
    pub(crate) fn order(key: &str) -> Self {
        let body = r#"{"item": "lamp", "quantity": 2, "address": "1 Main Street"}"#;
        Self::new("POST", "/orders").header("idempotency-key", key).json(body)
    }

    /// Changes what was ordered.
    pub(crate) fn change(order: &str, quantity: u32) -> Self {
        let body = format!(r#"{{"quantity": {quantity}, "address": "2 Side Street"}}"#);
        Self::new("PUT", order).json(&body)
    }

    pub(crate) fn if_match(self, etag: &str) -> Self {
        self.header("if-match", etag)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers_mut().append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn json(mut self, body: &str) -> Self {
        *self.0.body_mut() = Full::from(body.to_owned());
        self.header("content-type", "application/json")
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

    /// Expects an order that was placed; answers its path.
    #[track_caller]
    pub(crate) fn placed(&self) -> &str {
        assert_eq!(self.status, StatusCode::CREATED, "{self:?}");
        self.header("location").unwrap()
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
