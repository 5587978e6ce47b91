//! Every route, and what it says to what it cannot take.

use http::StatusCode;
use serde_json::json;

use crate::{place::everywhere, server::Server};

everywhere![
    refunds_at_once_give_back_no_more_than_was_paid,
    a_payment_is_made_and_shown,
    payments_are_listed_newest_first_and_at_most_100,
    a_problem_of_the_handler_is_replayed,
    what_is_not_a_payment_can_be_corrected_under_the_same_key,
    a_refund_gives_back_at_most_what_was_paid,
    a_refund_is_not_replayed_for_another_payment,
    unknown_payments_routes_and_methods_are_problems,
];

#[tokio::test]
async fn health_is_ok() {
    let server = Server::start().await;
    let answer = server.get("/health").answer().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json(), json!({ "status": "ok" }));
}

async fn a_payment_is_made_and_shown(server: Server) {
    let paid = server.pay("a").answer().await;
    let expected =
        json!({ "id": 1, "amount": 1000, "currency": "USD", "refunded": 0, "attempt": 1 });
    assert_eq!(paid.status, StatusCode::CREATED);
    assert_eq!(paid.json(), expected);
    assert_eq!(paid.header("content-type"), Some("application/json"));

    let shown = server.get(paid.header("location").unwrap()).answer().await;
    assert_eq!(shown.status, StatusCode::OK);
    assert_eq!(shown.json(), expected);
}

async fn payments_are_listed_newest_first_and_at_most_100(server: Server) {
    assert_eq!(server.get("/payments").answer().await.json(), json!({"count": 0, "payments": []}));
    for key in 1..=101 {
        server.pay(&key.to_string()).answer().await.assert_paid(1);
    }
    let page = server.get("/payments").answer().await.json();
    assert_eq!(page["count"], 101);
    let shown = page["payments"].as_array().unwrap();
    let ids = shown.iter().map(|payment| payment["id"].as_u64().unwrap());
    assert!(ids.eq((2..=101).rev()));
}

#[tokio::test]
async fn what_is_not_a_payment_is_a_problem() {
    let server = Server::start().await;
    let bodies = [
        (r#"{"amount": 0, "currency": "USD"}"#, "positive"),
        (r#"{"amount": -1, "currency": "USD"}"#, "positive"),
        (r#"{"amount": 10.5, "currency": "USD"}"#, "amount"),
        (r#"{"amount": "1000", "currency": "USD"}"#, "amount"),
        (r#"{"amount": 9223372036854775808, "currency": "USD"}"#, "amount"),
        (r#"{"amount": 1000, "currency": "usd"}"#, "three capital letters"),
        (r#"{"amount": 1000, "currency": "USDT"}"#, "three capital letters"),
        (r#"{"amount": 1000, "currency": "ÄÖ"}"#, "three capital letters"),
        (r#"{"amount": 1000, "currency": 840}"#, "currency"),
        (r#"{"amount": 1000}"#, "currency"),
        (r#"{"currency": "USD"}"#, "amount"),
        (r#"{"amount": 1000, "currency": "USD""#, "JSON"),
        ("[]", "JSON"),
        ("null", "JSON"),
        ("", "JSON"),
    ];
    for (at, (body, says)) in bodies.into_iter().enumerate() {
        let call = server.post("/payments").key(&at.to_string()).json(body);
        let detail = call.answer().await.problem(400);
        assert!(detail.contains(says), "{body}: {detail}");
    }
    assert_eq!(server.count().await, 0);
}

/// CASES 22: what the handler found wrong is its answer, and the key is then that request's.
async fn a_problem_of_the_handler_is_replayed(server: Server) {
    server.pay("a").answer().await.assert_paid(1);
    let refund = |amount: u32| {
        let body = json!({ "amount": amount }).to_string();
        server.post("/payments/1/refund").key("b").json(&body).answer()
    };
    let (first, second) = (refund(1001).await, refund(1001).await);
    assert_eq!(first.problem(400), second.problem(400));
    assert!(!first.is_replay() && second.is_replay());
    refund(1000).await.problem(422);
}

/// CASES 22, 63: a body that is no payment is told so as often as it comes, and claims nothing.
async fn what_is_not_a_payment_can_be_corrected_under_the_same_key(server: Server) {
    let paid = r#"{"amount": 1000, "currency": "USD"}"#;
    let wrong = [
        ("malformed", server.post("/payments").json(r#"{"amount": 1000, "cur"#), 400),
        ("invalid", server.post("/payments").json(r#"{"amount": 0, "currency": "USD"}"#), 400),
        ("content-type", server.post("/payments").body(paid), 415),
    ];
    for (key, call, status) in wrong {
        for _ in 0..2 {
            let answer = call.clone().key(key).answer().await;
            answer.problem(status);
            assert!(!answer.is_replay(), "{key}");
        }
        server.pay(key).answer().await.assert_paid(1);
    }
    let refund = |amount| {
        let refund = server.post("/payments/1/refund").key("refund");
        refund.json(&json!({ "amount": amount }).to_string()).answer()
    };
    refund(0).await.problem(400);
    assert_eq!(refund(400).await.json()["attempt"], 1);
}

#[tokio::test]
async fn a_key_is_required_must_be_valid_and_belongs_to_one_request() {
    let server = Server::start().await;
    let body = r#"{"amount": 1000, "currency": "USD"}"#;
    let code = |answer: crate::client::Answer, status| {
        answer.problem(status);
        answer.json()["code"].as_str().unwrap().to_owned()
    };
    let unkeyed = server.post("/payments").json(body);
    assert_eq!(code(unkeyed.clone().answer().await, 400), "key_missing");
    assert_eq!(code(unkeyed.clone().key("a b").answer().await, 400), "key_invalid");
    assert_eq!(code(unkeyed.clone().key("a").key("b").answer().await, 400), "key_invalid");
    assert_eq!(code(unkeyed.clone().key(&"k".repeat(256)).answer().await, 400), "key_invalid");
    assert_eq!(server.count().await, 0);

    server.pay("a").answer().await.assert_paid(1);
    let other = server.post("/payments").key("a").json(r#"{"amount": 1, "currency": "USD"}"#);
    assert_eq!(code(other.answer().await, 422), "key_reused");
    assert_eq!(server.count().await, 1);
}

async fn a_refund_gives_back_at_most_what_was_paid(server: Server) {
    server.pay("a").answer().await.assert_paid(1);
    let refund = |key, amount| {
        let body = json!({ "amount": amount }).to_string();
        server.post("/payments/1/refund").key(key).json(&body).answer()
    };

    let first = refund("b", 400).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.json()["refunded"], 400);
    let again = refund("b", 400).await;
    assert!(again.is_replay());
    assert_eq!(again.body, first.body);

    assert!(refund("c", 601).await.problem(400).contains("600"));
    assert_eq!(refund("d", 600).await.json()["refunded"], 1000);
    refund("e", 1).await.problem(400);
    refund("f", 0).await.problem(400);
    refund("g", -1).await.problem(400);
    assert_eq!(server.get("/payments/1").answer().await.json()["refunded"], 1000);
}

async fn refunds_at_once_give_back_no_more_than_was_paid(server: Server) {
    server.pay("a").answer().await.assert_paid(1);
    let refund = |key: usize| {
        let refund = server.post("/payments/1/refund").key(&key.to_string());
        refund.json(r#"{"amount": 300}"#).send()
    };
    let sent: Vec<_> = (0..8).map(refund).collect();
    let mut refunded = 0;
    for refund in sent {
        let answer = refund.answer().await;
        match answer.status {
            StatusCode::CREATED => refunded += 300,
            _ => _ = answer.problem(400),
        }
    }
    assert_eq!(refunded, 900);
    assert_eq!(server.get("/payments/1").answer().await.json()["refunded"], 900);
}

/// CASES 19: the same key for another resource is another request.
async fn a_refund_is_not_replayed_for_another_payment(server: Server) {
    server.pay("a").answer().await.assert_paid(1);
    server.pay("b").answer().await.assert_paid(1);
    let refund = |id: u32| {
        let path = format!("/payments/{id}/refund");
        server.post(&path).key("c").json(r#"{"amount": 400}"#).answer()
    };
    assert_eq!(refund(1).await.status, StatusCode::CREATED);
    refund(2).await.problem(422);
    assert_eq!(server.get("/payments/2").answer().await.json()["refunded"], 0);
}

async fn unknown_payments_routes_and_methods_are_problems(server: Server) {
    for id in ["0", "1", "-1", "x", "18446744073709551615", "18446744073709551616", "%FF"] {
        server.get(&format!("/payments/{id}")).answer().await.problem(404);
        let refund = server.post(&format!("/payments/{id}/refund")).key(&format!("refund-{id}"));
        refund.json(r#"{"amount": 1}"#).answer().await.problem(404);
    }
    server.get("/").answer().await.problem(404);
    server.get("/payments/1/refund").answer().await.problem(405);
    server.post("/health").answer().await.problem(405);
}
