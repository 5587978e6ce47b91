//! What generated code names. Not part of the public interface.

pub use std::time::Duration;

#[cfg(feature = "axum")]
pub use axum::response::Response;
pub use http::HeaderName;

#[cfg(feature = "axum")]
pub use crate::axum::{
    Call, DoesMore, First, Guarded, Instead, Late, Outcome, Probe, Reads, ReadsBody, Reply, Taking,
    Unlisted, Via, answered, reply, run, run_inline,
};
pub use crate::{
    function::{
        Function, Recordable, Refusable, Returned, Site, ValueAttempt, Values, run_function, values,
    },
    settings::{OnAbandoned, OnRecordFailure, OnStoreError, RecordRule, Spec},
};
