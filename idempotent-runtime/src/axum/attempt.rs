//! `Attempt` as an extractor.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{Extensions, request::Parts};

use crate::attempt::{Attempt, AttemptSlot};

impl AttemptSlot {
    /// The slot of a request; the first who asks puts it there.
    pub(super) fn of(extensions: &mut Extensions) -> Self {
        extensions.get_or_insert_default::<Self>().clone()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Attempt {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::new(AttemptSlot::of(&mut parts.extensions)))
    }
}
