//! Trailers over HTTP/1.1, as bytes on a socket: those of a guarded answer arrive as those of a bare one.

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::{BodyExt as _, Full};
use idempotent_runtime::{Idempotency, MemoryStore, PassThrough, idempotent};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::kit::{Effects, Frames};

const CAP: usize = 1000;

/// An answer with trailers, of each kind.
fn answer(kind: &str) -> Response {
    let trailers = HeaderMap::from_iter([
        (HeaderName::from_static("x-checksum"), HeaderValue::from_static("1234")),
        (HeaderName::from_static("x-not-announced"), HeaderValue::from_static("5")),
    ]);
    let pieces = Frames::with_trailers(&["pay", "ment"], trailers.clone());
    let whole = Full::new(Bytes::from("payment"))
        .with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
    let mut response = Response::new(match kind {
        "known-length" => Body::new(whole),
        "no-body" => Frames::with_trailers(&[], trailers),
        "too-large" => Frames::with_trailers(&["0123456789"; CAP / 10 + 1], trailers),
        _ => pieces,
    });
    let headers = response.headers_mut();
    if kind != "not-announced" {
        headers.insert(header::TRAILER, HeaderValue::from_static("X-Checksum"));
    }
    match kind {
        "length-told" => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("7"));
        }
        "stream" => {
            let kind = HeaderValue::from_static("application/x-ndjson");
            headers.insert(header::CONTENT_TYPE, kind);
        }
        "marked" => {
            response.extensions_mut().insert(PassThrough);
        }
        _ => {}
    }
    response
}

#[idempotent(key = header("Idempotency-Key"))]
async fn guarded(State(effects): State<Effects>, Path(kind): Path<String>) -> Response {
    effects.happen();
    answer(&kind)
}

#[idempotent(key = header("Idempotency-Key"), spawn = false)]
async fn inline(State(effects): State<Effects>, Path(kind): Path<String>) -> Response {
    effects.happen();
    answer(&kind)
}

/// An answer as it came: its head without what a replay adds, its body without the sizes of the pieces,
/// and its trailers.
#[derive(PartialEq, Eq, Debug)]
struct Raw {
    head: Vec<String>,
    body: String,
    trailers: Vec<String>,
}

impl Raw {
    fn of(answer: &str) -> Self {
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        let added = ["date:", "idempotent-replayed:", "cache-control:"];
        let head = head.lines().filter(|line| !added.iter().any(|name| line.starts_with(name)));
        let mut head: Vec<_> = head.map(str::to_owned).collect();
        head.sort();
        if !head.iter().any(|line| line == "transfer-encoding: chunked") {
            return Self { head, body: rest.to_owned(), trailers: Vec::new() };
        }
        let (mut body, mut rest) = (String::new(), rest);
        loop {
            let (size, after) = rest.split_once("\r\n").unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                let trailers = after.lines().filter(|line| !line.is_empty());
                return Self { head, body, trailers: trailers.map(str::to_owned).collect() };
            }
            body.push_str(&after[..size]);
            rest = after[size..].strip_prefix("\r\n").unwrap();
        }
    }
}

async fn exchange(address: std::net::SocketAddr, path: &str, te: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close, te\r\n{te}\
         idempotency-key: {}{}\r\ncontent-length: 0\r\n\r\n",
        &path[1..],
        te.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// CASES 68: in the first answer and in replays, for those who ask for trailers and those who do not.
#[tokio::test]
async fn trailers_arrive_over_http_1_as_those_of_a_bare_answer() {
    let runtime = Idempotency::builder(MemoryStore::new()).max_response_bytes(CAP).build().unwrap();
    let effects = Effects::default();
    let app = Router::new()
        .route("/bare/{kind}", post(async |Path(kind): Path<String>| answer(&kind)))
        .route("/guarded/{kind}", post(guarded))
        .route("/inline/{kind}", post(inline))
        .layer(axum::Extension(runtime))
        .with_state(effects.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    let kept = ["announced", "not-announced", "known-length", "length-told", "no-body"];
    let passing = ["too-large", "stream", "marked"];
    let mut arrived = 0;
    for kind in kept.into_iter().chain(passing) {
        for te in ["te: trailers\r\n", ""] {
            let bare = Raw::of(&exchange(address, &format!("/bare/{kind}"), te).await);
            arrived += bare.trailers.len();
            for place in ["guarded", "inline"] {
                let path = format!("/{place}/{kind}");
                let first = exchange(address, &path, te).await;
                assert_eq!(Raw::of(&first), bare, "{path} {te}");
                let again = exchange(address, &path, te).await;
                if kept.contains(&kind) {
                    assert!(again.contains("idempotent-replayed: true"), "{again}");
                    assert_eq!(Raw::of(&again), bare, "the replay of {path} {te}");
                } else {
                    assert!(again.contains("not_replayable"), "{again}");
                }
            }
        }
    }
    assert_eq!(arrived, 5, "announced, without a body, too large, a stream, marked");
    assert_eq!(effects.count(), 8 * 2 * 2);
    server.abort();
}
