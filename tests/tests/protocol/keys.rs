//! Row "key", for keys in a header.

use axum::extract::State;
use http::StatusCode;
use idempotent_runtime::{Attempt, Idempotency, IdempotencyBuilder, MemoryStore, idempotent};
use idempotent_tests::{Answer, Request, post};

use crate::kit::{Effects, memory, pay, payments};

fn keyed(values: &[&[u8]]) -> Request {
    let add = |request: Request, value: &&[u8]| request.header("idempotency-key", value);
    values.iter().fold(post("/payments"), add)
}

#[tokio::test]
async fn a_request_without_a_key_is_refused_and_not_executed() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), pay);
    let answer = post("/payments").body("x").send(&app).await;
    answer.assert_problem(400, "key_missing");
    assert_eq!(answer.json()["retryable"], false);
    assert_eq!(effects.count(), 0);
}

/// CASES 39: every malformed key is told apart from a missing one, and nothing is executed.
#[tokio::test]
async fn malformed_keys_are_refused_and_not_executed() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), pay);
    let too_long = [b'k'; 256];
    let quoted_too_long = [b"\"", too_long.as_slice(), b"\""].concat();
    let malformed: [&[&[u8]]; 25] = [
        &[b""],
        &[b"   "],
        &[b"\"\""],
        &[b"\""],
        &[b"\"abc"],
        &[b"\"abc\"x"],
        &[b"\"abc\" x"],
        &[b"\"a\", \"b\""],
        &[b"\"abc\";p=1"],
        &[b"\"abc\";p"],
        &[b"\"a\\nb\""],
        &[b"\"a\\\""],
        &[b"\"a\tb\""],
        &[b"a b"],
        &[b"a\tb"],
        &[b"a, b"],
        &["café".as_bytes()],
        &["\"café\"".as_bytes()],
        &[b"\xff\xfe"],
        &[b"\"\xff\""],
        &[&too_long],
        &[&quoted_too_long],
        &[b"a", b"b"],
        &[b"a", b"a"],
        &[b"a", b""],
    ];
    for values in malformed {
        let answer = keyed(values).send(&app).await;
        answer.assert_problem(400, "key_invalid");
        assert_eq!(answer.json()["retryable"], false, "{values:?}");
    }
    assert_eq!(effects.count(), 0);
}

/// CASES 39: quotes, escapes, commas, outer spaces: one spelling or another, it is one key.
#[tokio::test]
async fn every_spelling_of_a_key_finds_its_record() {
    let spellings: [&[&[u8]]; 5] = [
        &[b"abc", b"\"abc\"", b"  abc ", b"\t\"abc\"  "],
        &[b"a,b;c=d", b"\"a,b;c=d\""],
        &[b"a\"b", b"\"a\\\"b\""],
        &[b"a\\b", b"\"a\\\\b\""],
        &[&[b'k'; 255], &[b"\"".as_slice(), &[b'k'; 255], b"\""].concat()],
    ];
    for spellings in spellings {
        let effects = Effects::default();
        let app = payments(&memory(), effects.clone(), pay);
        for (at, spelling) in spellings.iter().enumerate() {
            let answer = keyed(&[spelling]).send(&app).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
            assert_eq!(answer.is_replayed(), at > 0, "{}", spelling.escape_ascii());
        }
        assert_eq!(effects.count(), 1);
    }
}

/// CASES 39: percent signs are not decoded, letters keep their case, nothing is cut off.
#[tokio::test]
async fn keys_that_differ_in_one_character_are_different_keys() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), pay);
    let longest = [b'k'; 255];
    let mut longest_but_one = longest;
    longest_but_one[254] = b'K';
    let keys: [&[u8]; 16] = [
        b"abc",
        b"Abc",
        b"abc.",
        b"'abc'",
        b"50%25",
        b"50%",
        b"%00",
        b"%61bc",
        b"\"a b\"",
        b"\"a  b\"",
        b"a+b",
        b"a%20b",
        b"null",
        b"0",
        &longest,
        &longest_but_one,
    ];
    for key in keys {
        assert!(!keyed(&[key]).send(&app).await.is_replayed(), "{}", key.escape_ascii());
    }
    assert_eq!(effects.count(), keys.len());
    for key in keys {
        assert!(keyed(&[key]).send(&app).await.is_replayed(), "{}", key.escape_ascii());
    }
}

#[tokio::test]
async fn a_key_may_come_in_any_header_that_the_attribute_names() {
    #[idempotent(key = header("X-Request-Key"))]
    async fn create(State(effects): State<Effects>) -> String {
        effects.happen().to_string()
    }
    let app = payments(&memory(), Effects::default(), create);
    post("/payments").key("k").send(&app).await.assert_problem(400, "key_missing");
    let ask = || post("/payments").header("x-request-key", "k");
    assert!(!ask().key("a").send(&app).await.is_replayed());
    assert!(ask().key("b").send(&app).await.is_replayed(), "the other header says nothing");
}

#[idempotent(key = header("Idempotency-Key"), optional)]
async fn pay_maybe(State(effects): State<Effects>, attempt: Attempt) -> String {
    format!("{} guarded: {}", effects.happen(), attempt.is_guarded())
}

/// CASES 10: requests without an optional key share nothing, with each other or with keyed ones.
#[tokio::test]
async fn requests_without_an_optional_key_share_nothing() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), pay_maybe);
    for number in 1..=3 {
        let answer = post("/payments").send(&app).await;
        assert_eq!(answer.text(), format!("{number} guarded: false"));
        assert!(!answer.headers.contains_key("idempotent-replayed"));
    }
    assert_eq!(post("/payments").key("k").send(&app).await.text(), "4 guarded: true");
    assert!(post("/payments").key("k").send(&app).await.is_replayed());
    assert_eq!(post("/payments").send(&app).await.text(), "5 guarded: false");
}

/// CASES 39: an optional key that is there has to be a key.
#[tokio::test]
async fn an_optional_key_that_is_malformed_is_refused() {
    let effects = Effects::default();
    let app = payments(&memory(), effects.clone(), pay_maybe);
    for values in [&[b"".as_slice()] as &[&[u8]], &[b"a b"], &[b"\"a"], &[b"a", b"a"]] {
        keyed(values).send(&app).await.assert_problem(400, "key_invalid");
    }
    assert_eq!(effects.count(), 0);
}

/// With another secret, what a store holds is other people's.
#[tokio::test]
async fn a_hash_secret_makes_keys_of_its_own() {
    let store = MemoryStore::new();
    let effects = Effects::default();
    let runtime = |secret: Option<[u8; 32]>| {
        let builder = Idempotency::builder(store.clone());
        secret.into_iter().fold(builder, IdempotencyBuilder::hash_secret).build().unwrap()
    };
    let app = |secret| payments(&runtime(secret), effects.clone(), pay);
    let secrets = [None, Some([1; 32]), Some([2; 32])];
    for secret in secrets {
        assert!(!keyed(&[b"k"]).send(&app(secret)).await.is_replayed());
    }
    for secret in secrets {
        assert!(keyed(&[b"k"]).send(&app(secret)).await.is_replayed());
    }
    assert_eq!(effects.count(), 3);

    // What was asked for cannot be guessed from the store either.
    let mut fingerprints = Vec::new();
    for secret in secrets {
        let state = runtime(secret).inspect(&None::<&str>, "POST /payments", "k").await.unwrap();
        fingerprints.push(*state.fingerprint().unwrap().as_bytes());
    }
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 3);
}

/// The key is the client's secret as much as its name: no answer repeats it.
#[tokio::test]
async fn no_answer_echoes_the_key() {
    let app = payments(&memory(), Effects::default(), pay);
    let answers: [Answer; 4] = [
        post("/payments").key("s3cr3t").send(&app).await,
        post("/payments").key("s3cr3t").send(&app).await,
        post("/payments").key("s3cr3t").body("other").send(&app).await,
        post("/payments").key("s3cr3t and more").send(&app).await,
    ];
    for answer in answers {
        assert!(!format!("{:?} {}", answer.headers, answer.text()).contains("s3cr3t"));
    }
}
