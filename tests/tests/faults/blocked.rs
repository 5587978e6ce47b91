//! A handler that blocks its thread, where threads and time are real.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use idempotent_runtime::KeyState;
use idempotent_tests::{Faulty, Gate};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Handler, NOBODY, PAY, Process, assert_paid, faulty, pay_with, settings};

/// Short, because time is real.
const LEASE: Duration = Duration::from_millis(300);

/// A handler that blocks its thread in its first execution, and one end of what holds it.
struct Blocking {
    handler: Handler,
    has_begun: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
}

impl Blocking {
    /// All executions but the first wait at the gate, without a thread.
    fn new(gate: &Gate) -> Self {
        let ((begin, has_begun), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
        let (gate, goes_on) = (gate.clone(), Arc::new(Mutex::new(goes_on)));
        let handler = Handler::new(move |run| {
            let (gate, begin, goes_on) = (gate.clone(), begin.clone(), Arc::clone(&goes_on));
            async move {
                match run.nth {
                    1 => {
                        begin.send(()).unwrap();
                        goes_on.lock().unwrap().recv().unwrap();
                    }
                    _ => gate.pass().await,
                }
                run.paid()
            }
        });
        Self { handler, has_begun, go_on }
    }
}

fn process(store: &Faulty, handler: &Handler) -> Process {
    Process::with(settings(store).lease(LEASE), handler)
}

fn state(runtime: &Runtime, process: &Process, key: &str) -> KeyState {
    runtime.block_on(async { process.runtime.inspect(&NOBODY, PAY, key).await.unwrap() })
}

/// CASES 74: the first lease after an idle time starts the heartbeat, on the thread that is blocked then.
#[test]
fn a_handler_that_blocks_its_thread_takes_no_lease_from_itself_and_the_others() {
    let workers = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let observer = Builder::new_current_thread().enable_time().build().unwrap();
    let (store, gate) = (faulty(), Gate::new());
    let blocking = Blocking::new(&gate);
    let process = Arc::new(process(&store, &blocking.handler));
    let send = |key: &'static str| {
        let process = Arc::clone(&process);
        workers.spawn(async move { process.send(pay_with(key)).await })
    };
    let blocked = send("blocked");
    blocking.has_begun.recv().unwrap();
    let other = send("other");
    observer.block_on(gate.reached());
    let begun = Instant::now();
    while begun.elapsed() < 3 * LEASE {
        for key in ["blocked", "other"] {
            let state = state(&observer, &process, key);
            assert!(matches!(state, KeyState::Leased { .. }), "{:?}: {state:?}", begun.elapsed());
        }
        thread::sleep(LEASE / 30);
    }
    blocking.go_on.send(()).unwrap();
    gate.open();
    assert_paid(&observer.block_on(blocked).unwrap(), 1, 1);
    assert_paid(&observer.block_on(other).unwrap(), 2, 1);
}

/// CASES 74: a runtime of one thread has nobody else. The lease is lost, and its handler can know.
#[test]
fn a_handler_that_blocks_the_only_thread_loses_its_lease_and_is_told() {
    let observer = Builder::new_current_thread().build().unwrap();
    let (store, told) = (faulty(), Arc::new(Mutex::new(None)));
    let ((begin, has_begun), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel::<()>());
    let (tell, goes_on) = (Arc::clone(&told), Mutex::new(goes_on));
    let handler = Handler::new(move |run| {
        begin.send(()).unwrap();
        goes_on.lock().unwrap().recv().unwrap();
        let tell = Arc::clone(&tell);
        async move {
            let since = Instant::now();
            run.attempt.lease_lost().await;
            *tell.lock().unwrap() = Some(since.elapsed());
            run.paid()
        }
    });
    let process = Arc::new(process(&store, &handler));
    let blocked = {
        let process = Arc::clone(&process);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(process.send(pay_with("blocked")))
        })
    };
    has_begun.recv().unwrap();
    let since = Instant::now();
    while !matches!(state(&observer, &process, "blocked"), KeyState::Abandoned { .. }) {
        assert!(since.elapsed() < 10 * LEASE, "its lease was renewed");
        thread::sleep(LEASE / 30);
    }
    go_on.send(()).unwrap();
    // Nobody took over, so its outcome is recorded all the same.
    assert_paid(&blocked.join().unwrap(), 1, 1);
    assert!(told.lock().unwrap().unwrap() < LEASE / 2, "told of the loss late");
    assert!(matches!(state(&observer, &process, "blocked"), KeyState::Completed { .. }));
}
