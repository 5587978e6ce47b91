//! A process that is killed: this test binary once more, with something to do.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{self, Command, Stdio},
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use idempotent_runtime::{Idempotency, StepError};
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    backend::{Backend, Postgres, Redis, Sqlite},
    ledger::{self, Ledger},
    support::{Handler, Process, Run},
};

/// How far the process gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Into its handler.
    Hangs,
    /// Has saved the result of a step.
    SavedStep,
    /// Has paid and recorded in its transaction, which is open.
    Recorded,
    /// Has committed, and answered nobody.
    Committed,
}

const ROLES: [Role; 4] = [Role::Hangs, Role::SavedStep, Role::Recorded, Role::Committed];
const ROLE: &str = "IDEMPOTENT_TEST_CHILD";
const PLACE: &str = "IDEMPOTENT_TEST_PLACE";
const THERE: &str = "the child is there";

/// A running process that has come to its point.
#[derive(Debug)]
pub(crate) struct Child(process::Child);

impl Child {
    /// What it was asked to do.
    pub(crate) const KEY: &str = "k";
    /// The lease that it has, and renews until it is killed.
    pub(crate) const LEASE: Duration = Duration::from_secs(1);

    /// Starts it, and waits until it is where it should be.
    pub(crate) async fn start<B: Backend>(backend: &B, role: Role) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "child::the_process_that_others_kill", "--nocapture"])
            .env(ROLE, format!("{role:?}"))
            .env(PLACE, backend.place())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let child = Self(child);
        let there =
            spawn_blocking(move || lines.map_while(Result::ok).any(|line| line.contains(THERE)));
        assert!(there.await.unwrap(), "the child ended before it was there");
        child
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// A part of other tests, which start it with a role.
#[tokio::test]
async fn the_process_that_others_kill() {
    let (Ok(role), Ok(place)) = (env::var(ROLE), env::var(PLACE)) else { return };
    let role = ROLES.into_iter().find(|known| format!("{known:?}") == role).unwrap();
    if let Some(redis) = Redis::at(&place) {
        serve(redis, Handler::new(move |run| plain(role, run))).await;
    } else if let Some(postgres) = Postgres::at(&place) {
        in_ledger(postgres, role).await;
    } else {
        in_ledger(Sqlite::at(&place).unwrap(), role).await;
    }
}

async fn in_ledger<L: Ledger>(place: L, role: Role) {
    let pool = place.pool();
    let handler = Handler::new(move |run| {
        let pool = pool.clone();
        async move {
            match role {
                Role::Hangs | Role::SavedStep => plain(role, run).await,
                Role::Recorded | Role::Committed => {
                    let mut tx = L::begin(&pool).await.unwrap();
                    let recorded = ledger::pay_and_record::<L>(&mut tx, &run).await.unwrap();
                    if role == Role::Committed {
                        tx.commit().await.unwrap();
                        there().await;
                    } else {
                        there().await;
                    }
                    recorded.into_response()
                }
            }
        }
    });
    serve(place, handler).await;
}

async fn plain(role: Role, run: Run) -> Response {
    if role == Role::SavedStep {
        let step = run
            .attempt
            .step("charge", async { Ok::<_, StepError>(String::from("charged by the child")) });
        step.await.unwrap();
    }
    there().await;
    run.paid()
}

async fn serve<B: Backend>(backend: B, handler: Handler) {
    let settings = Idempotency::builder(backend.connect().await).lease(Child::LEASE);
    Process::with(settings, &handler).pay(Child::KEY).await;
}

/// Says so, and waits for its end.
async fn there() {
    println!("{THERE}");
    sleep(Duration::from_mins(1)).await;
    process::exit(1);
}
