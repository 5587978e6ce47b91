//! What the tests of this package share: requests to a router, and a store that fails on command.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)] // tests only

mod client;
mod faulty;
mod logs;

pub use self::{
    client::{Answer, Request, get, post},
    faulty::{Fault, Faulty, Gate, Step},
    logs::Logs,
};
