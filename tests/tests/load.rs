//! Many keys over loopback, each sent by eight clients at once.
#![allow(clippy::unwrap_used)] // a test

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Extension, Json, Router, extract::State, routing};
use http::StatusCode;
use idempotent_runtime::{Idempotency, MemoryStore, idempotent};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const CLIENTS: usize = 8;
/// How many keys are under way at once.
const LANES: usize = 16;
/// The whole load where the code is optimised, a tenth where it is not.
const KEYS: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };

type Effects = Arc<AtomicU64>;

#[idempotent(key = header("Idempotency-Key"), ttl = "24h")]
async fn pay(State(effects): State<Effects>, Json(new): Json<Value>) -> (StatusCode, Json<Value>) {
    let id = effects.fetch_add(1, Ordering::Relaxed);
    tokio::task::yield_now().await;
    (StatusCode::CREATED, Json(json!({"id": id, "amount": new["amount"]})))
}

struct Client(TcpStream);

impl Client {
    /// Sends one payment on a connection that stays open; its status and body.
    async fn pay(&mut self, key: usize) -> (String, Vec<u8>) {
        let body = json!({"amount": key}).to_string();
        let request = format!(
            "POST /payments HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             idempotency-key: \"key-{key}\"\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let head = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.0.read_buf(&mut read).await.unwrap() > 0, "the connection was closed");
        };
        let text = String::from_utf8(read[..head].to_vec()).unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let end = head + length.unwrap().parse::<usize>().unwrap();
        while read.len() < end {
            assert!(self.0.read_buf(&mut read).await.unwrap() > 0, "the connection was closed");
        }
        (text.lines().next().unwrap().to_owned(), read[head..end].to_vec())
    }
}

/// CASES 27, 32: one effect for each key, and for each key one answer, byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_clients_for_each_key_have_one_effect_and_one_answer() {
    let effects = Effects::default();
    let app = Router::new()
        .route("/payments", routing::post(pay))
        .layer(Extension(Idempotency::new(MemoryStore::new())))
        .with_state(Arc::clone(&effects));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let lane = |lane: usize| async move {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Client(TcpStream::connect(address).await.unwrap()));
        }
        let mut answers = Vec::new();
        for key in (lane..KEYS).step_by(LANES) {
            let mut sent = Vec::new();
            for mut client in clients.drain(..) {
                sent.push(tokio::spawn(async move {
                    let answer = client.pay(key).await;
                    (client, answer)
                }));
            }
            let mut same = HashSet::new();
            for sent in sent {
                let (client, (status, body)) = sent.await.unwrap();
                assert_eq!(status, "HTTP/1.1 201 Created");
                same.insert(body);
                clients.push(client);
            }
            assert_eq!(same.len(), 1, "key {key} got several answers");
            answers.extend(same);
        }
        answers
    };
    let lanes: Vec<_> = (0..LANES).map(|number| tokio::spawn(lane(number))).collect();
    let mut answers = HashSet::new();
    for lane in lanes {
        answers.extend(lane.await.unwrap());
    }
    assert_eq!(answers.len(), KEYS, "two keys got one answer");
    assert_eq!(effects.load(Ordering::Relaxed), KEYS as u64);
    server.abort();
}
