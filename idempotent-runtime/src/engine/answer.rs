//! What a handler's answer is worth, and what its request and those who waited are answered with.

use std::{any::Any, panic::resume_unwind};

use crate::{
    flight::Landing,
    record::Record,
    refusal::{Refusal, Refused},
};

/// What the handler's answer is worth.
pub(crate) enum Verdict<A> {
    /// Record it, then answer. A tombstone is recorded before its answer passes.
    Final { record: Record, answer: A },
    /// Give the key back, then answer. Those who waited are told `shared`.
    Transient { shared: Landing, answer: A, effect: Effect },
}

/// What a transient answer says of the operation's effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// There may have been one.
    Possible,
    /// The status says that the request was not applied, and asks for another one.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))] // handlers only
    NotApplied,
    /// The handler says that there was none.
    None,
}

/// What a request is answered with.
pub(crate) enum Answer<A> {
    /// The answer of its own execution.
    Own(A),
    /// A record, never a tombstone.
    Replay(Record),
    /// The answer of another request's execution, which is not recorded.
    Shared(Record),
    /// What this execution committed, where its handler returned something else.
    Committed(Record),
    Refused(Refused),
}

/// How a flight ended for the request that leads it.
pub(super) enum Ended<A> {
    Answer(Answer<A>),
    Panicked(Box<dyn Any + Send>),
}

impl<A> Verdict<A> {
    /// The verdict without its answer, and the answer.
    pub(super) fn split(self) -> (Verdict<()>, A) {
        match self {
            Self::Final { record, answer } => (Verdict::Final { record, answer: () }, answer),
            Self::Transient { shared, answer, effect } => {
                (Verdict::Transient { shared, answer: (), effect }, answer)
            }
        }
    }
}

impl Answer<()> {
    /// The answer with what its own execution answered, which there is unless it panicked.
    pub(super) fn with<A>(self, own: Option<A>) -> Answer<A> {
        match self {
            Self::Own(()) => own.map_or_else(|| Refusal::HandlerPanicked.into(), Answer::Own),
            Self::Replay(record) => Answer::Replay(record),
            Self::Shared(record) => Answer::Shared(record),
            Self::Committed(record) => Answer::Committed(record),
            Self::Refused(refused) => Answer::Refused(refused),
        }
    }
}

impl<A> From<Refusal> for Answer<A> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl<A> Answer<A> {
    /// What logs and metrics call it.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Own(_) | Self::Committed(_) => "executed",
            Self::Replay(_) => "replayed",
            Self::Shared(_) => "shared",
            Self::Refused(refused) => refused.refusal.code(),
        }
    }

    pub(super) fn replay(record: Record) -> Self {
        match record.is_tombstone() {
            true => Refusal::NotReplayable.into(),
            false => Self::Replay(record),
        }
    }

    /// The answer to a request that waited; `None` when it has to ask the store itself.
    pub(super) fn landed(landing: Landing) -> Option<Self> {
        Some(match landing {
            Landing::Record(record) => Self::replay(record),
            Landing::Transient(Some(record)) => Self::Shared(record),
            Landing::Transient(None) => Refusal::InProgress.into(),
            Landing::Refused(refused) => Self::Refused(refused),
            Landing::Vanished => return None,
        })
    }
}

impl<A> Ended<A> {
    pub(super) fn landed(landing: Landing) -> Self {
        // A claim ends without an answer only when its own request is gone or out of patience.
        Self::Answer(Answer::landed(landing).unwrap_or_else(|| Refusal::InProgress.into()))
    }

    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Answer(answer) => answer.outcome(),
            Self::Panicked(_) => "panicked",
        }
    }

    /// The panic of a handler goes on to its caller, as without us.
    pub(super) fn answer(self) -> Answer<A> {
        match self {
            Self::Answer(answer) => answer,
            Self::Panicked(panic) => resume_unwind(panic),
        }
    }
}
