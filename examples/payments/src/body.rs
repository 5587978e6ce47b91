//! Bodies of requests.

use axum::{Json, extract::FromRequest};

use crate::problem::Problem;

/// A JSON body that is what it has to be. An argument, so that any other is rejected before the guard
/// claims its key: the corrected request may have the same one.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Problem))]
pub(crate) struct Body<T>(pub(crate) T);
