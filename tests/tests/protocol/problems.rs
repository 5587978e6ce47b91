//! Problem answers, whole.

use axum::Router;
use http::HeaderMap;
use idempotent_runtime::{Idempotency, MemoryStore, defaults};
use idempotent_tests::{Answer, post};

use crate::kit::{Effects, pay, payments};

async fn missing(app: &Router) -> Answer {
    post("/payments").send(app).await
}

#[track_caller]
fn assert_points_to(answer: &Answer, docs: &str) {
    assert_eq!(answer.json()["type"], format!("{docs}#key_missing"));
    assert_eq!(answer.header("link"), format!("<{docs}>; rel=\"describedby\""));
}

/// RFC 9457.
#[tokio::test]
async fn a_problem_answer_has_every_member_and_nothing_else() {
    let runtime = Idempotency::new(MemoryStore::new());
    let app = payments(&runtime, Effects::default(), pay);
    let answer = missing(&app).await;
    assert_eq!(answer.status, 400);
    let problem = answer.json();
    let members: Vec<_> = problem.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["code", "detail", "retryable", "status", "title", "type"]);
    assert_eq!(problem["code"], "key_missing");
    assert_eq!(problem["status"], 400);
    assert_eq!(problem["retryable"], false);
    assert_eq!(problem["title"], "Idempotency key is missing");
    assert!(problem["detail"].as_str().unwrap().contains("idempotency key"));
    assert_points_to(&answer, defaults::DOCS_URL);

    let mut headers: HeaderMap = answer.headers.clone();
    let length = headers.remove("content-length").unwrap();
    assert_eq!(length.to_str().unwrap(), answer.body.len().to_string());
    headers.remove("link");
    assert_eq!(headers.remove("content-type").unwrap(), "application/problem+json");
    assert_eq!(headers.remove("cache-control").unwrap(), "no-store");
    assert!(headers.is_empty(), "{headers:?}");
}

#[tokio::test]
async fn problem_answers_point_where_the_service_says() {
    let docs = "https://example.com/errors";
    let runtime = Idempotency::builder(MemoryStore::new()).docs_url(docs).build().unwrap();
    let app = payments(&runtime, Effects::default(), pay);
    assert_points_to(&missing(&app).await, docs);
}

/// An address that cannot stand in a header costs the link, never the answer.
#[tokio::test]
async fn a_docs_url_that_is_no_header_value_costs_only_the_link() {
    let runtime = Idempotency::builder(MemoryStore::new()).docs_url("a\nb").build().unwrap();
    let answer = missing(&payments(&runtime, Effects::default(), pay)).await;
    assert_eq!((answer.status.as_u16(), answer.header("link")), (400, ""));
    assert_eq!(answer.json()["code"], "key_missing");
}
