//! The protocol. `ARCHITECTURE.md` has it as a table; read the rows against this file and its parts:
//! [`claim`] asks the store, [`execute`] runs the handler, [`settle`] makes its outcome true.

mod answer;
mod claim;
mod entry;
mod execute;
mod held;
mod recorded;
mod settle;
mod tasks;
mod truth;

use std::{
    any::Any,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll},
};

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::{
    answer::Ended,
    execute::{Executed, execute},
    held::Running,
    tasks::{Part, Run},
};
pub(crate) use self::{
    answer::{Answer, Effect, Verdict},
    entry::{Backoff, CONFIRM, pause},
};
use crate::{
    attempt::AttemptSlot,
    fingerprint::Fingerprint,
    flight::{Flight, Flights, Joined, Leading},
    heartbeat::{Heartbeat, far},
    key::StorageKey,
    observe::Observer,
    operation::OperationName,
    outage::Outages,
    refusal::Refusal,
    settings::{Policy, Settings, Spec},
    store::{ErasedStore, MemoryStore, Store},
};

/// Asks the store, lets one of many duplicates run, and answers all of them.
pub(crate) struct Engine {
    pub(crate) settings: Arc<Settings>,
    store: Arc<dyn ErasedStore>,
    /// The store, where it is one that answers at once: asking it needs no future.
    memory: Option<MemoryStore>,
    flights: Arc<Flights>,
    heartbeat: Heartbeat,
    tasks: TaskTracker,
    running: Arc<AtomicUsize>,
    pub(crate) observer: Observer,
    pub(crate) outages: Arc<Outages>,
}

/// One guarded request. Frozen before the handler's body runs.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) operation: OperationName,
    pub(crate) key: StorageKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) policy: Policy,
    /// Where the handler wants to know its attempt.
    pub(crate) attempt: Option<AttemptSlot>,
    /// Whether a scope says whose key it is.
    pub(crate) has_scope: bool,
}

impl Call {
    /// Whether the handler has begun to record in its own transaction.
    fn is_recorded(&self) -> bool {
        self.attempt.as_ref().is_some_and(AttemptSlot::is_recorded)
    }

    /// Whether this attempt has begun a step.
    fn has_steps(&self) -> bool {
        self.attempt.as_ref().is_some_and(AttemptSlot::has_steps)
    }

    fn observe(&self, observer: &Observer, outcome: &'static str) {
        observer.answered(&self.operation, &self.key, self.has_scope, outcome);
    }
}

impl Engine {
    pub(crate) fn new(store: impl Store, settings: Settings) -> Self {
        let memory = (&store as &dyn Any).downcast_ref::<MemoryStore>().cloned();
        let store: Arc<dyn ErasedStore> = Arc::new(store);
        let outages = Arc::new(Outages::new(store.kind()));
        Self {
            memory,
            flights: Flights::new(settings.max_waiters, settings.max_waiters_per_key),
            heartbeat: Heartbeat::new(
                Arc::clone(&store),
                settings.store_timeout,
                settings.max_run,
                Arc::clone(&outages),
            ),
            tasks: TaskTracker::new(),
            running: Arc::default(),
            observer: Observer::new(store.kind()),
            outages,
            store,
            settings: Arc::new(settings),
        }
    }

    /// What holds for the requests of an operation.
    pub(crate) fn policy(&self, spec: &'static Spec) -> Policy {
        Policy { spec, settings: Arc::clone(&self.settings) }
    }

    pub(crate) fn store(&self) -> &dyn ErasedStore {
        &*self.store
    }

    /// Row "look-up" that needs no wait: a record in the memory of this process.
    pub(crate) fn recall<A>(
        &self,
        key: &StorageKey,
        fingerprint: &Fingerprint,
    ) -> Option<Answer<A>> {
        let record = self.store.recall(key)?;
        Some(match record.fingerprint() == fingerprint {
            true => Answer::replay(record),
            false => Refusal::KeyReused.into(),
        })
    }

    /// Answers one request; the work, if it runs, gets a task of its own as soon as it has to wait.
    ///
    /// Given what makes the work instead of the work, all of it comes to be in one box, and what the
    /// caller polls is small. Poll it at once, with this engine: the flight begins here, and duplicates
    /// wait for it.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    pub(crate) fn answer<A, B>(self: &Arc<Self>, call: Call, begin: B) -> Answering<A>
    where
        A: Send + 'static,
        B: Begin<A>,
    {
        match self.join(&call) {
            Joined::Leader(leading) => Answering::Leads(self.lead(call, leading, None, begin)),
            joined => {
                let engine = Arc::clone(self);
                Answering::Waits(Box::pin(async move {
                    match engine.wait_or_lead(&call, joined).await {
                        Ok((leading, deadline)) => {
                            let mut led = engine.lead(call, leading, Some(deadline), begin);
                            poll_fn(|cx| led.poll(&engine, cx)).await
                        }
                        Err(answer) => answer,
                    }
                }))
            }
        }
    }

    /// All of an operation that this request leads: claim, execute, settle. `deadline` is how long to
    /// be patient, where the request has waited already.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    fn lead<A, B>(
        self: &Arc<Self>,
        call: Call,
        leading: Leading,
        deadline: Option<Instant>,
        begin: B,
    ) -> Led<A>
    where
        A: Send + 'static,
        B: Begin<A>,
    {
        let requester = Requester(Arc::clone(leading.flight()));
        let engine = Arc::clone(self);
        let part: Part<_> = Box::pin(async move {
            // What may have to wait is boxed, so that this part stays small.
            let ended = 'ended: {
                let mut running = match engine.claim_at_once(&call, leading) {
                    Ok(running) => running,
                    Err(leading) => match Box::pin(engine.claim(&call, leading, deadline)).await {
                        Ok(running) => running,
                        Err(landing) => break 'ended Ended::landed(landing),
                    },
                };
                running.begin(&call);
                let executed = execute(&call, pin!(begin.begin(&call))).await;
                match engine.settles_at_once(&call, &mut running, &executed) {
                    true => running.settled(executed),
                    false => Box::pin(engine.settle(&call, running, executed)).await,
                }
            };
            call.observe(&engine.observer, ended.outcome());
            ended
        });
        Led { run: Run::new(part), _requester: requester }
    }

    /// Like [`answer`](Self::answer), with `work` in the caller's own task: only its claim and its
    /// outcome outlive the caller, in tasks of their own as soon as they have to wait. Dropped before
    /// `work` began, the lease is released; dropped while it runs, the lease is abandoned.
    ///
    /// What `work` answers stays with the caller, so it may borrow and need not be `Send`.
    pub(crate) async fn answer_inline<A, W>(self: &Arc<Self>, call: Call, work: W) -> Answer<A>
    where
        W: Future<Output = Verdict<A>> + Unpin,
    {
        // What may have to wait is boxed, so that the future of a call that does not stays small.
        let mut joined = self.join(&call);
        // The token goes last: `drain` waits for what a call that is dropped gives back.
        let (_token, _requester, mut running) = loop {
            let (leading, deadline) = match joined {
                Joined::Leader(leading) => (leading, None),
                joined => match Box::pin(self.wait_or_lead(&call, joined)).await {
                    Ok((leading, deadline)) => (leading, Some(deadline)),
                    Err(answer) => return answer,
                },
            };
            let token = self.tasks.token();
            let requester = Requester(Arc::clone(leading.flight()));
            match self.claim_at_once(&call, leading) {
                Ok(running) => break (token, requester, running),
                Err(leading) => {
                    match Box::pin(self.claim_beside(call.clone(), leading, deadline)).await {
                        // The claim ended long before this caller was polled again.
                        Ok(running) if running.is_lost() => drop(running),
                        Ok(running) => break (token, requester, running),
                        Err(answer) => return answer.with(None),
                    }
                }
            }
            joined = self.join(&call);
        };
        running.begin(&call);
        let (executed, own) = match execute(&call, work).await {
            Ok(verdict) => {
                let (verdict, own) = verdict.split();
                (Ok(verdict), Some(own))
            }
            Err(panic) => (Err(panic), None),
        };
        let ended = match self.settles_at_once(&call, &mut running, &executed) {
            true => {
                let ended = running.settled(executed);
                call.observe(&self.observer, ended.outcome());
                Ok(ended)
            }
            false => Box::pin(self.settle_beside(call.clone(), running, executed)).await,
        };
        ended.map_or_else(Answer::from, |ended| ended.answer().with(own))
    }

    /// Claims in a task of its own as soon as that has to wait.
    async fn claim_beside(
        self: &Arc<Self>,
        call: Call,
        leading: Leading,
        deadline: Option<Instant>,
    ) -> Result<Running, Answer<()>> {
        let (engine, token) = (Arc::clone(self), self.tasks.token());
        // The token goes after what was claimed: `drain` waits for what a caller that left gives back.
        let claim = Box::pin(async move {
            let claimed = engine.claim(&call, leading, deadline).await;
            (call, claimed, token)
        });
        match self.outlive(claim).await {
            Ok((_, Ok(running), _token)) => Ok(running),
            Ok((call, Err(landing), _token)) => {
                let ended = Ended::landed(landing);
                call.observe(&self.observer, ended.outcome());
                Err(ended.answer())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Settles in a task of its own as soon as that has to wait.
    async fn settle_beside(
        self: &Arc<Self>,
        call: Call,
        running: Running,
        executed: Executed<()>,
    ) -> Result<Ended<()>, Refusal> {
        let engine = Arc::clone(self);
        let settle = Box::pin(async move {
            let ended = engine.settle(&call, running, executed).await;
            call.observe(&engine.observer, ended.outcome());
            ended
        });
        self.outlive(settle).await
    }

    /// Row "look-up" that needs no claim: a flight to share, or one to lead.
    fn join(&self, call: &Call) -> Joined {
        self.flights.join(&call.key, &call.fingerprint)
    }

    /// Waits for the flight that a call `joined`. If there is none any more, the flight to lead, and
    /// how long to be patient.
    async fn wait_or_lead<A>(
        &self,
        call: &Call,
        mut joined: Joined,
    ) -> Result<(Leading, Instant), Answer<A>> {
        let deadline = far(Instant::now(), call.policy.wait());
        let answer = loop {
            let waiter = match joined {
                Joined::Leader(leading) => return Ok((leading, deadline)),
                Joined::NoRoom => break Refusal::InProgress.into(),
                Joined::Waiter(waiter) => waiter,
            };
            match waiter.outcome(deadline).await.map(Answer::landed) {
                None => break Answer::Refused(waiter.in_progress()),
                Some(Some(answer)) => break answer,
                // The flight vanished: the store has to be asked.
                Some(None) => {
                    // First the place among those who wait, which it may need again.
                    drop(waiter);
                    joined = self.join(call);
                }
            }
        };
        call.observe(&self.observer, answer.outcome());
        Err(answer)
    }
}

/// Makes the work of an operation.
pub(crate) trait Begin<A>: Send + 'static {
    /// The work that `call` is executed for.
    fn begin(self, call: &Call) -> impl Future<Output = Verdict<A>> + Send;
}

/// How a request is being answered. Polled with the engine that it was begun by, which its caller has.
#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
pub(crate) enum Answering<A> {
    Leads(Led<A>),
    /// Behind another request, at first.
    Waits(Pin<Box<dyn Future<Output = Answer<A>> + Send>>),
}

/// A request that leads its flight.
#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
pub(crate) struct Led<A> {
    run: Run<Ended<A>>,
    _requester: Requester,
}

#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
impl<A: Send + 'static> Led<A> {
    fn poll(&mut self, engine: &Engine, cx: &mut Context<'_>) -> Poll<Answer<A>> {
        let ended = self.run.poll(engine, cx);
        ended.map(|ended| ended.map_or_else(Answer::from, Ended::answer))
    }
}

#[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
impl<A: Send + 'static> Answering<A> {
    pub(crate) fn poll(&mut self, engine: &Engine, cx: &mut Context<'_>) -> Poll<Answer<A>> {
        match self {
            Self::Leads(led) => led.poll(engine, cx),
            Self::Waits(waits) => waits.as_mut().poll(cx),
        }
    }
}

/// The request that began a flight. It may go away before the flight lands.
struct Requester(Arc<Flight>);

impl Drop for Requester {
    fn drop(&mut self) {
        self.0.desert();
    }
}
