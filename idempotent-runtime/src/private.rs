//! What generated code names. Not part of the public interface.

pub use core::{
    concat, module_path,
    option::Option::{None, Some},
    result::Result::{Err, Ok},
};

#[cfg(feature = "axum")]
pub use axum::response::Response;

#[cfg(feature = "axum")]
pub use crate::axum::{
    Call, DoesMore, Guarded, Outcome, Probe, Reads, ReadsBody, Reply, Via, begin, first, late,
    reply, run, run_inline, take,
};
pub use crate::{
    function::{
        Function, Recordable, Refusable, Returned, Site, ValueAttempt, Values, run_function, values,
    },
    settings::{OnAbandoned, OnRecordFailure, OnStoreError, RecordRule, Spec},
};
