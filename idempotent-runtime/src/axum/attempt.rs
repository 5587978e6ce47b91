//! `Attempt` as an extractor.
//!
//! The slot that an [`Attempt`] reads is made when it is extracted, and the guard has to find it. An
//! argument before the last leaves it in the request's extensions; the last one takes the request
//! with it, so what it asked for is noted on the side while it is polled.

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
    static ASKED: RefCell<Option<AttemptSlot>> = const { RefCell::new(None) };
}

impl<S: Send + Sync> FromRequestParts<S> for Attempt {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let slot = parts.extensions.get_or_insert_default::<AttemptSlot>().clone();
        ASKED.replace(Some(slot.clone()));
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
        // Whatever was noted before belongs to another request.
        ASKED.take();
        let poll = Pin::new(&mut extract).poll(cx);
        slot = ASKED.take().or(slot.take());
        poll
    })
    .await;
    (extracted, slot)
}
