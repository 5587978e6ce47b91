//! What only real bytes on a socket can say: these tests run in real time.

use axum::extract::State;
use bytes::Bytes;
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::kit::{Effects, payments};

#[idempotent(key = header("Idempotency-Key"))]
async fn measure(State(effects): State<Effects>, body: Bytes) -> String {
    effects.happen();
    body.len().to_string()
}

/// Sends `request` as it is, closes the sending half, and reads all that comes back.
async fn exchange(requests: &[&[u8]]) -> (Vec<String>, Effects) {
    let effects = Effects::default();
    let app = payments(&Idempotency::new(MemoryStore::new()), effects.clone(), measure);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut answers = Vec::new();
    for request in requests {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A server that gives up may close with a reset.
        let _ = stream.read_to_end(&mut answer).await;
        answers.push(String::from_utf8_lossy(&answer).into_owned());
    }
    server.abort();
    (answers, effects)
}

fn request(key: &str, rest: &str) -> Vec<u8> {
    let head = "POST /payments HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    format!("{head}idempotency-key: {key}\r\n{rest}").into_bytes()
}

/// CASES 37: a request that ends before its announced length is no request; its retry is.
#[tokio::test]
async fn a_request_shorter_than_its_content_length_is_not_executed() {
    let short = request("k", "content-length: 100\r\n\r\n0123456789");
    let whole = request("k", "content-length: 10\r\n\r\n0123456789");
    let (answers, effects) = exchange(&[&short, &short, &whole, &whole]).await;
    for answer in &answers[..2] {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(answers[2].starts_with("HTTP/1.1 200") && answers[2].ends_with("10"), "{answers:?}");
    assert!(answers[3].contains("idempotent-replayed: true"), "{answers:?}");
    assert_eq!(effects.count(), 1);
}

/// CASES 37: chunked, and cut off in the middle of a chunk, or garbage where a chunk should be.
#[tokio::test]
async fn a_chunked_request_that_breaks_is_not_executed() {
    let cut = request("k", "transfer-encoding: chunked\r\n\r\n5\r\nhel");
    let garbage = request("k", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
    let whole = request("k", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let (answers, effects) = exchange(&[&cut, &garbage, &whole]).await;
    for answer in &answers[..2] {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(answers[2].starts_with("HTTP/1.1 200") && answers[2].ends_with('5'), "{answers:?}");
    assert_eq!(effects.count(), 1);
}

/// CASES 37: a length that is too large is refused before any of it was read.
#[tokio::test]
async fn a_content_length_over_the_limit_is_refused_unread() {
    let (answers, effects) = exchange(&[
        &request("k", "content-length: 10485760\r\n\r\n"),
        &request("k", "content-length: 18446744073709551616\r\n\r\n"),
    ])
    .await;
    assert!(answers[0].starts_with("HTTP/1.1 413"), "{answers:?}");
    assert!(answers[0].contains("application/problem+json"));
    assert!(answers[0].contains("\"code\":\"body_too_large\""));
    assert!(answers[1].starts_with("HTTP/1.1 400"), "{answers:?}");
    assert_eq!(effects.count(), 0);
}

/// CASES 39: control characters in a key never come further than the server's parser, or we say no.
#[tokio::test]
async fn control_characters_in_a_key_are_refused() {
    let keys = ["a\0b", "\0", "\"a\0b\"", "a\x01b", "a\x7fb", "a\rb", "a\nb"];
    let requests = keys.map(|key| request(key, "content-length: 1\r\n\r\nx"));
    let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    let (answers, effects) = exchange(&requests).await;
    for (answer, key) in answers.iter().zip(keys) {
        assert!(answer.starts_with("HTTP/1.1 400"), "{key:?}: {answer}");
    }
    assert_eq!(effects.count(), 0);
}

/// CASES 39: bytes beyond ASCII pass the server's parser; we say no.
#[tokio::test]
async fn keys_that_are_no_ascii_are_refused_with_a_problem() {
    let mut latin = request("caf", "content-length: 1\r\n\r\nx");
    let at = latin.windows(3).position(|window| window == b"caf").unwrap() + 3;
    latin.insert(at, 0xe9);
    let utf8 = request("café", "content-length: 1\r\n\r\nx");
    let (answers, effects) = exchange(&[&latin, &utf8]).await;
    for answer in &answers {
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("\"code\":\"key_invalid\""), "{answer}");
    }
    assert_eq!(effects.count(), 0);
}
