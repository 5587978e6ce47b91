//! `Attempt` as an extractor.
//!
//! The slot that an [`Attempt`] reads is made when it is extracted, and the guard has to find it. An
//! argument before the last leaves it in the request's extensions; the last one takes the request
//! with it, so what it asked for is noted on the side while it is polled, and only then.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
};

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::attempt::{Attempt, AttemptSlot};

thread_local! {
    /// What the last argument that is being polled has asked for; `None` while none is.
    static ASKED: RefCell<Option<Asked>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Asked(Option<AttemptSlot>);

/// Puts back what stood there, also where the extractor panics: nothing of a request stays behind.
struct Listening(Option<Asked>);

impl Listening {
    fn begin() -> Self {
        Self(ASKED.replace(Some(Asked::default())))
    }

    /// What was asked for meanwhile.
    fn end(mut self) -> Option<AttemptSlot> {
        ASKED.replace(self.0.take()).and_then(|asked| asked.0)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        ASKED.set(self.0.take());
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Attempt {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let slot = parts.extensions.get_or_insert_default::<AttemptSlot>().clone();
        ASKED.with_borrow_mut(|asked| {
            if let Some(asked) = asked {
                asked.0 = Some(slot.clone());
            }
        });
        Ok(Self::new(slot))
    }
}

/// Extracts the last argument, and finds the slot of an [`Attempt`] in it.
pub(super) async fn noting_attempts<F>(mut extract: F) -> (F::Output, Option<AttemptSlot>)
where
    F: Future + Unpin,
{
    let mut slot = None;
    let extracted = poll_fn(|cx| {
        let listening = Listening::begin();
        let poll = Pin::new(&mut extract).poll(cx);
        slot = listening.end().or(slot.take());
        poll
    })
    .await;
    (extracted, slot)
}
