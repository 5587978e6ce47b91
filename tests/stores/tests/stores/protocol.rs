//! The protocol in short, over each store.

use std::{
    collections::HashSet,
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::StatusCode;
use idempotent_runtime::{
    Idempotency, KeyState, OnAbandoned, Resolution, ResolvedAnswer, StepError,
};
use idempotent_tests::Gate;

use crate::{
    backend::Backend,
    support::{
        Handler, NOBODY, PAY, Process, assert_paid, assert_replays, failed, pay_with, processes,
    },
};

over!(Redis, Postgres, Sqlite: a_retry_in_another_process_gets_the_same_bytes,
    a_key_is_refused_to_another_request_in_every_process,
    duplicates_over_three_processes_have_one_effect_and_get_one_answer,
    a_transient_failure_is_run_again_elsewhere_with_its_steps,
    under_halt_an_unknown_outcome_waits_for_a_person,
    what_cannot_be_replayed_is_not_run_again,
    a_forgotten_key_runs_again_everywhere,
    a_drained_process_answers_what_it_knows_and_begins_nothing);

/// All 256 bytes, and headers that stand twice or are no text.
async fn a_retry_in_another_process_gets_the_same_bytes<B: Backend>(backend: B) {
    let body: Bytes = (0..=255).collect();
    let handler = Handler::new({
        let body = body.clone();
        move |_| {
            let body = body.clone();
            async move {
                let mut answer = (StatusCode::ACCEPTED, body).into_response();
                for link in ["</a>; rel=a", "</b>; rel=b"] {
                    answer.headers_mut().append("link", link.parse().unwrap());
                }
                let bytes = http::HeaderValue::from_bytes(b"caf\xe9").unwrap();
                answer.headers_mut().append("x-note", bytes);
                answer
            }
        }
    });
    let processes = processes(2, &backend, &handler).await;
    let first = processes[0].pay("k").await;
    for process in &processes {
        let again = process.pay("k").await;
        assert_replays(&again, &first);
        assert_eq!(again.body, body);
        for name in ["link", "x-note", "content-type"] {
            let values = |answer: &idempotent_tests::Answer| {
                answer.headers.get_all(name).iter().cloned().collect::<Vec<_>>()
            };
            assert_eq!(values(&again), values(&first), "{name}");
        }
        assert_eq!(again.headers.get_all("link").iter().count(), 2);
    }
    assert_eq!(handler.runs(), 1);
}

async fn a_key_is_refused_to_another_request_in_every_process<B: Backend>(backend: B) {
    let gate = Gate::new();
    let handler = Handler::gated(&gate);
    let processes = processes(2, &backend, &handler).await;
    let first = processes[0].begin("k");
    gate.reached().await;
    let other = || pay_with("k").body("another");
    for process in &processes {
        process.send(other()).await.assert_problem(422, "key_reused");
    }
    gate.open();
    assert_paid(&first.answer().await, 1, 1);
    for process in &processes {
        process.send(other()).await.assert_problem(422, "key_reused");
    }
    assert_eq!(handler.runs(), 1);
}

async fn duplicates_over_three_processes_have_one_effect_and_get_one_answer<B: Backend>(
    backend: B,
) {
    let handler = Handler::new(|run| async move {
        tokio::task::yield_now().await;
        run.paid()
    });
    let processes = processes(3, &backend, &handler).await;
    for round in 1..=3 {
        let key = format!("k{round}");
        let sent: Vec<_> = (0..64).map(|n| processes[n % 3].begin(&key)).collect();
        let mut answers = HashSet::new();
        for sent in sent {
            let answer = sent.answer().await;
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
            answers.insert(answer.body);
        }
        assert_eq!((answers.len(), handler.runs()), (1, round));
    }
}

async fn a_transient_failure_is_run_again_elsewhere_with_its_steps<B: Backend>(backend: B) {
    let handler = Handler::new(|run| async move {
        let nth = run.nth;
        let step =
            run.attempt.step("charge", async { Ok::<_, StepError>(format!("charge {nth}")) });
        let charge = step.await.unwrap();
        match nth {
            1 => failed(),
            _ => (StatusCode::CREATED, format!("{charge}, {}", run.receipt())).into_response(),
        }
    });
    let processes = processes(2, &backend, &handler).await;
    assert_eq!(processes[0].pay("k").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(processes[1].state("k").await, KeyState::Released { attempt: 1, .. }));
    let second = processes[1].pay("k").await;
    assert_eq!(second.text(), "charge 1, payment 2, attempt 2");
    assert_replays(&processes[0].pay("k").await, &second);
}

async fn under_halt_an_unknown_outcome_waits_for_a_person<B: Backend>(backend: B) {
    let handler = Handler::new(|run| async move {
        match &*run.key {
            "repeat" if run.nth > 2 => run.paid(),
            _ => failed(),
        }
    });
    let mut processes = Vec::new();
    for _ in 0..2 {
        let settings = Idempotency::builder(backend.connect().await);
        processes.push(Process::with(settings.on_abandoned(OnAbandoned::Halt), &handler));
    }
    for key in ["repeat", "record"] {
        assert_eq!(processes[0].pay(key).await.status, StatusCode::SERVICE_UNAVAILABLE);
        for process in &processes {
            process.pay(key).await.assert_problem(409, "outcome_unknown");
            assert!(matches!(process.state(key).await, KeyState::Abandoned { attempt: 1, .. }));
        }
    }
    assert_eq!(handler.runs(), 2);
    let runtime = &processes[1].runtime;
    runtime.resolve(&NOBODY, PAY, "repeat", Resolution::Rerun).await.unwrap();
    // Who resolves holds the lease for a moment, which counts as an attempt.
    assert_paid(&processes[0].pay("repeat").await, 3, 3);
    let answer = ResolvedAnswer::new(StatusCode::CREATED).body("it was paid");
    runtime.resolve(&NOBODY, PAY, "record", Resolution::Record(answer)).await.unwrap();
    let recorded = processes[0].pay("record").await;
    assert_eq!((recorded.text(), recorded.is_replayed()), ("it was paid", true));
    assert_eq!(handler.runs(), 3);
}

async fn what_cannot_be_replayed_is_not_run_again<B: Backend>(backend: B) {
    let handler = Handler::new(|_| async move {
        ([("content-type", "text/event-stream")], "data: 1\n\n").into_response()
    });
    let processes = processes(2, &backend, &handler).await;
    assert_eq!(processes[0].pay("k").await.text(), "data: 1\n\n");
    for process in &processes {
        process.pay("k").await.assert_problem(409, "not_replayable");
        let KeyState::Completed { record, .. } = process.state("k").await else { panic!() };
        assert!(record.is_tombstone());
    }
    assert_eq!(handler.runs(), 1);
}

async fn a_forgotten_key_runs_again_everywhere<B: Backend>(backend: B) {
    let gate = Gate::new();
    let handler = Handler::gated(&gate);
    let processes = processes(2, &backend, &handler).await;
    let first = processes[0].begin("k");
    gate.reached().await;
    let forget = |process: usize| processes[process].runtime.forget(&NOBODY, PAY, "k", false);
    assert!(forget(1).await.is_err(), "it runs");
    gate.open();
    assert_paid(&first.answer().await, 1, 1);
    let KeyState::Completed { .. } = processes[1].state("k").await else { panic!() };
    assert!(forget(1).await.unwrap());
    assert!(!forget(0).await.unwrap());
    assert!(matches!(processes[0].state("k").await, KeyState::Absent));
    gate.open();
    assert_paid(&processes[0].pay("k").await, 2, 1);
}

async fn a_drained_process_answers_what_it_knows_and_begins_nothing<B: Backend>(backend: B) {
    let gate = Gate::new();
    let handler = Handler::gated(&gate);
    let processes = processes(2, &backend, &handler).await;
    let first = processes[0].begin("k");
    gate.reached().await;
    let mut drained = pin!(processes[0].runtime.drain(Duration::from_secs(20)));
    assert!(poll_fn(|cx| Poll::Ready(drained.as_mut().poll(cx))).await.is_pending());
    processes[0].pay("new").await.assert_problem(503, "draining");
    gate.open();
    assert_eq!(drained.await, 0);
    let first = first.answer().await;
    for process in &processes {
        assert_replays(&process.pay("k").await, &first);
    }
    processes[0].pay("new").await.assert_problem(503, "draining");
    gate.open();
    assert_paid(&processes[1].pay("new").await, 2, 1);
}
