//! Steps in the handler's own transaction, and values of functions.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use idempotent_runtime::{Attempt, Idempotency, StepError, StepRefusal, idempotent};
use idempotent_sqlx::{RecordIn as _, StepIn as _, sqlx};
use tower::ServiceExt as _;

use crate::app::{Ledger, OnPostgres, OnSqlite};

#[derive(Clone)]
struct Shop<L: Ledger> {
    ledger: L,
    orders: Arc<AtomicUsize>,
    runs: Arc<AtomicUsize>,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The first execution rolls its step back, the second commits it and fails, the third uses the name
/// twice in a transaction of its own, the fourth ends.
#[idempotent(key = header("Idempotency-Key"), ttl = "1h")]
async fn order<L: Ledger>(State(shop): State<Shop<L>>, attempt: Attempt) -> Response {
    let failed = StatusCode::SERVICE_UNAVAILABLE;
    let mut tx = shop.ledger.begin().await;
    let place = |name: &'static str| {
        let (shop, attempt) = (shop.clone(), attempt.clone());
        async move |tx: &mut sqlx::Transaction<'_, L::Db>| -> Result<usize, Failed> {
            attempt
                .step_in(tx, name, |tx| {
                    Box::pin(async move {
                        shop.ledger.pay(tx).await?;
                        Ok(shop.orders.fetch_add(1, Ordering::SeqCst) + 1)
                    })
                })
                .await
        }
    };
    let order = place("order")(&mut tx).await.unwrap();
    match shop.runs.fetch_add(1, Ordering::SeqCst) + 1 {
        1 => {
            tx.rollback().await.unwrap();
            failed.into_response()
        }
        2 => {
            tx.commit().await.unwrap();
            failed.into_response()
        }
        3 => {
            place("other")(&mut tx).await.unwrap();
            let refused = place("other")(&mut tx).await.unwrap_err();
            let refused = refused.downcast::<StepError>().unwrap();
            assert!(matches!(refused.reason(), StepRefusal::Duplicate), "{refused}");
            let _ = tx.commit().await;
            failed.into_response()
        }
        _ => {
            let answer = (StatusCode::CREATED, format!("order {order}"));
            let recorded = attempt.record_in(&mut tx, answer).await.unwrap();
            tx.commit().await.unwrap();
            recorded.into_response()
        }
    }
}

async fn send<L: Ledger>(shop: &Shop<L>, idempotency: &Idempotency) -> (StatusCode, String) {
    let router = Router::new()
        .route("/orders", post(order::<L>))
        .layer(axum::Extension(idempotency.clone()))
        .with_state(shop.clone());
    let request = Request::post("/orders").header("Idempotency-Key", "k").body(Body::empty());
    let response = router.oneshot(request.unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn steps(ledger: impl Ledger) {
    let idempotency = Idempotency::new(ledger.store().await);
    let shop = Shop { ledger, orders: Arc::default(), runs: Arc::default() };
    // Rolled back: neither the effect nor its result is there.
    assert_eq!(send(&shop, &idempotency).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shop.ledger.payments().await, 0);
    // Committed: both are.
    assert_eq!(send(&shop, &idempotency).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shop.ledger.payments().await, 1);
    // A name that is used twice takes the whole transaction with it.
    assert_eq!(send(&shop, &idempotency).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shop.ledger.payments().await, 1);
    // The step is not run again, and its result is the one that was committed.
    let answer = (StatusCode::CREATED, "order 2".to_owned());
    assert_eq!(send(&shop, &idempotency).await, answer);
    assert_eq!(send(&shop, &idempotency).await, answer);
    assert_eq!((shop.ledger.payments().await, shop.runs.load(Ordering::SeqCst)), (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_committed_with_its_effect_and_not_run_again() {
    if let Some(ledger) = OnPostgres::new().await {
        steps(ledger).await;
    }
    steps(OnSqlite::new().await).await;
}

/// CASES 70, 71: the result would not be given back as it was, so the effect goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_result_would_not_be_given_back_takes_its_effect_with_it() {
    #[idempotent(key = header("Idempotency-Key"), ttl = "1h")]
    async fn charge<L: Ledger>(State(ledger): State<L>, attempt: Attempt) -> Response {
        let mut tx = ledger.begin().await;
        let step = attempt.step_in(&mut tx, "charge", |tx| {
            let ledger = ledger.clone();
            Box::pin(async move {
                ledger.pay(tx).await?;
                Ok::<_, Failed>(Some(()))
            })
        });
        let refused = step.await.unwrap_err().downcast::<StepError>().unwrap();
        assert!(matches!(refused.reason(), StepRefusal::NotSerializable(_)), "{refused}");
        let _ = tx.commit().await;
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }

    async fn check<L: Ledger>(ledger: L) {
        let router = Router::new()
            .route("/orders", post(charge::<L>))
            .layer(axum::Extension(Idempotency::new(ledger.store().await)))
            .with_state(ledger.clone());
        let request = Request::post("/orders").header("Idempotency-Key", "k").body(Body::empty());
        let response = router.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ledger.payments().await, 0);
    }

    if let Some(ledger) = OnPostgres::new().await {
        check(ledger).await;
    }
    check(OnSqlite::new().await).await;
}

/// A handler called directly, as in a unit test of its own.
#[tokio::test]
async fn where_nothing_is_guarded_nothing_is_written_and_everything_runs() {
    let ledger = OnSqlite::new().await;
    let attempt = Attempt::unguarded();
    let mut tx = ledger.begin().await;
    let done = attempt.step_in(&mut tx, "order", |_| Box::pin(async { Ok::<_, Failed>(7) })).await;
    assert_eq!(done.unwrap(), 7);
    ledger.pay(&mut tx).await.unwrap();
    attempt.record_value_in(&mut tx, &7).await.unwrap();
    let answer = attempt.record_in(&mut tx, "paid").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(answer.into_response().status(), StatusCode::OK);
    assert_eq!(ledger.payments().await, 1);
}
