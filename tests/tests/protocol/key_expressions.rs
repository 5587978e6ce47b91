//! Row "key", for keys that are expressions over the arguments.

use axum::{Json, extract::State};
use idempotent_runtime::idempotent;
use idempotent_tests::post;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kit::{Effects, User, memory, payments};

#[derive(Deserialize)]
struct Order {
    reference: Option<String>,
    #[serde(default)]
    shop: String,
    #[serde(default)]
    number: i64,
}

fn order(reference: impl Into<Value>) -> idempotent_tests::Request {
    post("/payments").json(&json!({"reference": reference.into()}))
}

#[idempotent(key = order.reference)]
async fn by_reference(State(effects): State<Effects>, Json(order): Json<Order>) -> String {
    drop(order);
    effects.happen().to_string()
}

#[tokio::test]
async fn a_field_of_the_body_is_a_key() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), by_reference);
    assert_eq!(order("r1").send(&app).await.text(), "1");
    assert_eq!(order("r2").send(&app).await.text(), "2");
    let again = order("r1").send(&app).await;
    assert!(again.is_replayed() && again.text() == "1");
    let header = order("r1").key("whatever").send(&app).await;
    assert!(header.is_replayed(), "the header is not asked");
}

/// CASES 39: what no header could carry is a key like any other when it comes from the body.
#[tokio::test]
async fn any_text_of_the_body_is_a_key_of_its_own() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), by_reference);
    let long = "k".repeat(1000);
    let keys = ["a b", "a\0b", "a\nb", "café", "cafe\u{301}", " a", "a ", "\"a\"", "a", " ", &long];
    for key in keys {
        assert!(!order(key).send(&app).await.is_replayed(), "{key:?}");
    }
    for key in keys {
        assert!(order(key).send(&app).await.is_replayed(), "{key:?}");
    }
    assert_eq!(effects.count(), keys.len());
}

#[tokio::test]
async fn an_expression_that_is_none_is_a_missing_key_and_an_empty_one_is_invalid() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), by_reference);
    order(Value::Null).send(&app).await.assert_problem(400, "key_missing");
    order("").send(&app).await.assert_problem(400, "key_invalid");
    assert_eq!(effects.count(), 0);
}

/// CASES 10: an optional key that is `None` guards nothing and shares nothing.
#[tokio::test]
async fn requests_whose_optional_expression_is_none_share_nothing() {
    #[idempotent(key = order.reference, optional)]
    async fn create(State(effects): State<Effects>, Json(order): Json<Order>) -> String {
        drop(order);
        effects.happen().to_string()
    }
    let app = payments(&memory(), Effects::default(), create);
    assert_eq!(order(Value::Null).send(&app).await.text(), "1");
    assert_eq!(order(Value::Null).send(&app).await.text(), "2");
    order("").send(&app).await.assert_problem(400, "key_invalid");
    assert_eq!(order("r").send(&app).await.text(), "3");
    assert_eq!(order("r").send(&app).await.text(), "3");
}

/// CASES 26: the parts of a key are told apart, wherever the cut is.
#[tokio::test]
async fn keys_that_differ_only_in_how_their_parts_are_split_do_not_meet() {
    #[idempotent(key = (order.shop, order.reference), fingerprint = 0)]
    async fn create(State(effects): State<Effects>, Json(order): Json<Order>) -> String {
        drop(order);
        effects.happen().to_string()
    }
    let app = payments(&memory(), Effects::default(), create);
    let ask = |shop: &str, reference: &str| {
        post("/payments").json(&json!({"shop": shop, "reference": reference}))
    };
    let splits = [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("a\0b", "c"), ("a", "b\0c")];
    for (shop, reference) in splits {
        assert!(!ask(shop, reference).send(&app).await.is_replayed(), "{shop:?} {reference:?}");
    }
    for (shop, reference) in splits {
        assert!(ask(shop, reference).send(&app).await.is_replayed(), "{shop:?} {reference:?}");
    }
}

/// CASES 26: nor does a scope run into the key that follows it.
#[tokio::test]
async fn a_scope_and_a_key_are_told_apart_wherever_the_cut_is() {
    #[idempotent(key = order.reference, scope = user.0, fingerprint = 0)]
    async fn create(
        State(effects): State<Effects>,
        user: User,
        Json(order): Json<Order>,
    ) -> String {
        drop((user, order));
        effects.happen().to_string()
    }
    let app = payments(&memory(), Effects::default(), create);
    for (user, key) in [("a", "bc"), ("ab", "c"), ("abc", "a")] {
        let answer = order(key).header("x-user", user).send(&app).await;
        assert!(!answer.is_replayed(), "{user} {key}");
    }
    assert!(!order("abc").send(&app).await.is_replayed());
    let empty = order("abc").header("x-user", "").send(&app).await;
    assert!(empty.is_replayed(), "an empty scope is no scope");
}

/// Numbers are keys by their value: `0` and `-1` are keys, not missing ones.
#[tokio::test]
async fn a_number_is_a_key_whatever_its_value() {
    #[idempotent(key = order.number)]
    async fn create(State(effects): State<Effects>, Json(order): Json<Order>) -> String {
        drop(order);
        effects.happen().to_string()
    }
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), create);
    let ask = |number: i64| post("/payments").json(&json!({"number": number}));
    for number in [0, -1, 1, i64::MIN, i64::MAX] {
        assert!(!ask(number).send(&app).await.is_replayed());
        assert!(ask(number).send(&app).await.is_replayed());
    }
    assert_eq!(effects.count(), 5);
}

/// CASES 3: key and fingerprint are frozen before the body runs; what the body does to its input
/// changes neither.
#[tokio::test]
async fn a_handler_that_changes_its_input_completes_the_key_that_was_claimed() {
    #[idempotent(key = order.reference, fingerprint = order.shop)]
    async fn create(State(effects): State<Effects>, Json(mut order): Json<Order>) -> String {
        order.reference.as_mut().unwrap().push_str(" changed");
        order.shop.push_str(" changed");
        format!("{} {} {}", effects.happen(), order.reference.unwrap(), order.shop)
    }
    let app = payments(&memory(), Effects::default(), create);
    let ask =
        |reference: &str| post("/payments").json(&json!({"reference": reference, "shop": "s"}));
    assert_eq!(ask("r").send(&app).await.text(), "1 r changed s changed");
    let again = ask("r").send(&app).await;
    assert!(again.is_replayed() && again.text() == "1 r changed s changed");
    let other = ask("r changed").send(&app).await;
    assert_eq!(other.text(), "2 r changed changed s changed", "never taken");
}

/// CASES 10: a key of which a part is `None` is a missing key.
#[tokio::test]
async fn a_key_with_a_missing_part_guards_nothing_and_shares_nothing() {
    #[idempotent(key = (order.shop, order.reference), optional)]
    async fn create(State(effects): State<Effects>, Json(order): Json<Order>) -> String {
        drop(order);
        effects.happen().to_string()
    }
    let app = payments(&memory(), Effects::default(), create);
    assert_eq!(order(Value::Null).send(&app).await.text(), "1");
    assert_eq!(order(Value::Null).send(&app).await.text(), "2");
    assert_eq!(order("r1").send(&app).await.text(), "3");
    assert!(order("r1").send(&app).await.is_replayed());
}
