//! A guarded handler whose payment and record are one transaction, over HTTP: every way in which the
//! transaction can end, with one effect and one answer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod app;
mod outcomes;
mod steps;

// What the tests of the stores use.
#[path = "../sqlite/kit.rs"]
#[allow(dead_code)]
mod file;
#[path = "../postgres/kit.rs"]
#[allow(dead_code)]
mod kit;
