//! Recovery points: what one attempt saved, the next one is given.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use idempotent_runtime::{Attempt, NoEffect, StepError, StepRefusal};
use idempotent_tests::{Fault, Gate, Step};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::support::{Handler, LEASE, Process, Run, failed, faulty, other, settings};

/// How often the step `charge` had its effect.
#[derive(Clone, Default)]
struct Charges(Arc<AtomicUsize>);

impl Charges {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    async fn charge(&self, attempt: &Attempt) -> Result<usize, StepError> {
        let charge = async { Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1) };
        attempt.step("charge", charge).await
    }
}

/// Charges in a step, then does what `then` says.
fn charging(charges: &Charges, then: fn(&Run) -> Option<Response>) -> Handler {
    let charges = charges.clone();
    Handler::new(move |run| {
        let charges = charges.clone();
        async move {
            match charges.charge(&run.attempt).await {
                Ok(charge) => {
                    then(&run).unwrap_or_else(|| format!("charge {charge}").into_response())
                }
                Err(error) => error.into_response(),
            }
        }
    })
}

/// CASES 63: an answer that would free its key keeps it where a step was saved, which would be done
/// again by whoever has the key next.
#[tokio::test]
async fn a_key_with_a_saved_step_is_released_and_never_freed() {
    let rejections: [fn(&Run) -> Option<Response>; 2] = [
        |run| (run.nth < 3).then(|| StatusCode::PRECONDITION_FAILED.into_response()),
        |run| (run.nth < 3).then(|| (StatusCode::BAD_REQUEST, NoEffect).into_response()),
    ];
    for then in rejections {
        let charges = Charges::default();
        let (store, handler) = (faulty(), charging(&charges, then));
        let process = Process::new(&store, &handler);
        for _ in 0..2 {
            assert!(process.pay("k").await.status.is_client_error());
        }
        assert_eq!(process.pay("k").await.text(), "charge 1");
        assert_eq!((handler.runs(), charges.count(), store.calls(Step::Free)), (3, 1, 0));
    }
}

/// CASES 77: a step of which nobody could keep the result has no effect.
#[tokio::test]
async fn a_step_without_room_is_refused_before_its_effect() {
    let charges = Charges::default();
    let (store, handler) = (faulty(), charging(&charges, |_| None));
    let process = Process::new(&store, &handler);
    store.next(Step::Renew, Fault::Full);
    process.pay("k").await.assert_problem(503, "store_full");
    assert_eq!(charges.count(), 0);
    assert_eq!(process.pay("k").await.text(), "charge 1");
}

#[tokio::test]
async fn a_step_is_not_run_again_after_a_transient_answer() {
    let charges = Charges::default();
    let handler = charging(&charges, |run| (run.nth < 3).then(failed));
    let process = Process::new(&faulty(), &handler);
    for _ in 0..2 {
        assert_eq!(process.pay("k").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(process.pay("k").await.text(), "charge 1");
    assert_eq!((handler.runs(), charges.count()), (3, 1));
}

#[tokio::test]
async fn a_step_is_not_run_again_after_a_panic() {
    let charges = Charges::default();
    let handler = charging(&charges, |run| (run.nth == 1).then(|| panic!("on purpose")));
    let process = Process::new(&faulty(), &handler);
    process.begin_pay("k").await.panic().await;
    assert_eq!(process.pay("k").await.text(), "charge 1");
    assert_eq!(charges.count(), 1);
}

#[tokio::test]
async fn a_step_is_saved_where_calls_of_the_store_may_take_for_ever() {
    let charges = Charges::default();
    let handler = charging(&charges, |_| None);
    let process = Process::with(settings(&faulty()).store_timeout(Duration::MAX), &handler);
    assert_eq!(process.pay("k").await.text(), "charge 1");
    assert_eq!(charges.count(), 1);
}

/// The first process is gone with its lease; the second takes over what the first had saved.
#[tokio::test(start_paused = true)]
async fn a_process_that_takes_over_is_given_the_steps_of_the_lost_one() {
    let (charges, gate) = (Charges::default(), Gate::new());
    let handler = {
        let (charges, gate) = (charges.clone(), gate.clone());
        Handler::new(move |run| {
            let (charges, gate) = (charges.clone(), gate.clone());
            async move {
                let charge = charges.charge(&run.attempt).await.unwrap();
                if run.nth == 1 {
                    gate.pass().await;
                }
                format!("charge {charge}, attempt {}", run.attempt.number()).into_response()
            }
        })
    };
    let store = faulty();
    let gone = other(&store);
    let lost = Process::new(&gone, &handler);
    let hanging = lost.begin_pay("k").await;
    gate.reached().await;
    gone.always_all(&Fault::Unreachable);
    let second = Process::new(&store, &handler);
    tokio::time::sleep(2 * LEASE).await;
    assert_eq!(second.pay("k").await.text(), "charge 1, attempt 2");
    assert_eq!(charges.count(), 1);
    hanging.hang_up().await;
}

async fn refused(script: impl AsyncFn(&Attempt) -> StepError) -> StepError {
    // The attempt of a real execution, handed out of it.
    let (send, receive) = tokio::sync::oneshot::channel();
    let send = Arc::new(std::sync::Mutex::new(Some(send)));
    let handler = Handler::new(move |run| {
        let send = Arc::clone(&send);
        async move {
            let _ = send.lock().unwrap().take().unwrap().send(run.attempt);
            std::future::pending().await
        }
    });
    let process = Process::new(&faulty(), &handler);
    let running = process.begin_pay("k").await;
    let error = script(&receive.await.unwrap()).await;
    running.hang_up().await;
    error
}

#[tokio::test]
async fn a_name_that_is_used_twice_in_one_attempt_is_refused() {
    let error = refused(async |attempt: &Attempt| {
        let step = |n: u32| attempt.step("one", async move { Ok::<_, StepError>(n) });
        assert_eq!(step(1).await.unwrap(), 1);
        step(2).await.unwrap_err()
    })
    .await;
    assert!(matches!(error.reason(), StepRefusal::Duplicate), "{error}");
}

#[tokio::test]
async fn a_step_that_failed_or_was_dropped_may_begin_again() {
    let error = refused(async |attempt: &Attempt| {
        let fails = async { Err::<u32, _>(StepError::new("x", StepRefusal::WrongStore)) };
        attempt.step("one", fails).await.unwrap_err();
        let hangs = attempt.step("one", std::future::pending::<Result<u32, StepError>>());
        tokio::select! { biased; _ = hangs => unreachable!(), () = tokio::task::yield_now() => {} }
        assert_eq!(attempt.step("one", async { Ok::<_, StepError>(7) }).await.unwrap(), 7);
        StepError::new("done", StepRefusal::Duplicate)
    })
    .await;
    assert_eq!(error.name(), "done");
}

/// A changed type is an error of the step, never a second effect.
#[tokio::test]
async fn a_saved_value_of_another_type_is_an_error_and_nothing_runs() {
    let handler = Handler::new(|run| async move {
        if run.nth == 1 {
            run.attempt
                .step("charge", async { Ok::<_, StepError>("ch_1".to_owned()) })
                .await
                .unwrap();
            return failed();
        }
        let ran = AtomicUsize::new(0);
        let step = run.attempt.step("charge", async {
            ran.fetch_add(1, Ordering::SeqCst);
            Ok::<u64, StepError>(1)
        });
        let error = step.await.unwrap_err();
        assert!(matches!(error.reason(), StepRefusal::Unreadable(_)), "{error}");
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        error.into_response()
    });
    let process = Process::new(&faulty(), &handler);
    process.pay("k").await;
    process.pay("k").await.assert_problem(500, "step_refused");
}

/// Results are byte-exact: nothing that looks empty is taken for "not saved".
#[tokio::test]
async fn empty_values_are_results() {
    async fn kept<T>(value: T)
    where
        T: Serialize
            + DeserializeOwned
            + Clone
            + PartialEq
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let handler = Handler::new(move |run| {
            let value = value.clone();
            async move {
                let first = run.nth == 1;
                let work = async { if first { Ok(value.clone()) } else { panic!("run again") } };
                let saved = run.attempt.step::<T, StepError, _>("one", work).await.unwrap();
                assert_eq!(saved, value);
                if first { failed() } else { StatusCode::OK.into_response() }
            }
        });
        let process = Process::new(&faulty(), &handler);
        process.pay("k").await;
        assert_eq!(process.pay("k").await.status, StatusCode::OK);
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Charged {
        No,
        Yes { id: String, amount: i64 },
    }
    kept(()).await;
    kept(0_u8).await;
    kept(false).await;
    kept(String::new()).await;
    kept(Vec::<u8>::new()).await;
    kept(None::<u32>).await;
    kept(Charged::No).await;
    kept(Charged::Yes { id: "ch_1".to_owned(), amount: -3 }).await;
}

/// CASES 70, 71: what a later attempt would not be given as it was is told in the first, and a recovery
/// never takes it for something else.
#[tokio::test]
async fn a_result_that_would_not_be_given_back_is_told_in_the_first_attempt() {
    async fn told<T>(value: T, reason: &'static str)
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let handler = Handler::new(move |run| {
            let value = value.clone();
            async move {
                if run.nth > 1 {
                    // Nothing stands in the way of another attempt.
                    let step = run.attempt.step("one", async { Ok::<_, StepError>(7) });
                    return step.await.unwrap().to_string().into_response();
                }
                let step = run.attempt.step::<T, StepError, _>("one", async { Ok(value) });
                let Err(error) = step.await else { panic!("{reason} is kept") };
                let StepRefusal::NotSerializable(source) = error.reason() else {
                    panic!("{error}")
                };
                assert!(source.to_string().contains(reason), "{source}");
                error.into_response()
            }
        });
        let process = Process::new(&faulty(), &handler);
        process.pay("k").await.assert_problem(500, "step_refused");
        assert_eq!(process.pay("k").await.text(), "7");
    }
    #[derive(Clone, Serialize)]
    struct OneWay(u8);
    impl<'de> Deserialize<'de> for OneWay {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("no way back"))
        }
    }
    told(Some(()), "`Some(())`").await;
    told(vec![Some(None::<u8>)], "`Some(None)`").await;
    told(f64::NAN, "`NaN`").await;
    told(Some(f32::NEG_INFINITY), "`-inf`").await;
    told(OneWay(1), "no way back").await;
}

/// Equal bytes are no conflict, so a save whose answer was lost is repeated.
#[tokio::test(start_paused = true)]
async fn a_save_whose_answer_is_lost_is_repeated() {
    let (charges, store) = (Charges::default(), faulty());
    let handler = charging(&charges, |_| None);
    store.next(Step::SaveStep, Fault::LoseAnswer);
    store.next(Step::SaveStep, Fault::Hang);
    assert_eq!(Process::new(&store, &handler).pay("k").await.text(), "charge 1");
    assert_eq!((charges.count(), store.calls(Step::SaveStep)), (1, 3));
}

/// The lease is renewed before the step begins: without it nothing runs.
#[tokio::test(start_paused = true)]
async fn a_step_does_not_begin_under_a_lease_that_cannot_be_renewed() {
    for (fault, status, code) in
        [(Fault::Unreachable, 503, "store_unavailable"), (Fault::LeaseLost, 500, "step_refused")]
    {
        let (charges, store) = (Charges::default(), faulty());
        store.always(Step::Renew, fault);
        let process = Process::new(&store, &charging(&charges, |_| None));
        process.pay("k").await.assert_problem(status, code);
        assert_eq!(charges.count(), 0);
        store.heal();
        assert_eq!(process.pay("k").await.text(), "charge 1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_not_saved_is_an_error_of_the_step() {
    let (charges, store) = (Charges::default(), faulty());
    store.always(Step::SaveStep, Fault::Unreachable);
    let process = Process::new(&store, &charging(&charges, |_| None));
    process.pay("k").await.assert_problem(503, "store_unavailable");
    store.heal();
    // Its effect happens at least once: that is why it has a downstream key.
    assert_eq!(process.pay("k").await.text(), "charge 2");
}

#[tokio::test]
async fn a_result_that_is_too_large_is_refused() {
    let error = refused(async |attempt: &Attempt| {
        let large = async { Ok::<_, StepError>("x".repeat(2 * 1024 * 1024)) };
        attempt.step("large", large).await.unwrap_err()
    })
    .await;
    assert!(matches!(error.reason(), StepRefusal::TooLarge { max: 1_048_576, .. }));
}

#[tokio::test]
async fn where_nothing_is_guarded_a_step_just_runs() {
    let attempt = Attempt::unguarded();
    for n in 0..2 {
        let step = attempt.step("one", async move { Ok::<_, StepError>(n) });
        assert_eq!(step.await.unwrap(), n);
    }
    assert!(attempt.recording().is_none());
}
