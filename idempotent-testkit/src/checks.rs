//! The checks, by what of the contract they are about. Each is named after what it demands.

pub(crate) mod cancelled;
pub(crate) mod claim;
pub(crate) mod fingerprint;
pub(crate) mod forget;
pub(crate) mod free;
pub(crate) mod garbage;
pub(crate) mod handles;
pub(crate) mod lives;
pub(crate) mod operations;
pub(crate) mod ownership;
pub(crate) mod races;
pub(crate) mod records;
pub(crate) mod retention;
pub(crate) mod states;
pub(crate) mod steps;
pub(crate) mod takeover;
