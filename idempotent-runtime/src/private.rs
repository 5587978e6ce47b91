//! What generated code names. Not part of the public interface.

pub use std::time::Duration;

pub use axum::response::Response;
pub use http::HeaderName;

pub use crate::{
    axum::{Call, Guarded, Outcome, Reply, Via, reply, run, run_inline},
    settings::{OnAbandoned, OnRecordFailure, OnStoreError, RecordRule, Spec},
};
