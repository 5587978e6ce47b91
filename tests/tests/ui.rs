//! What the compiler says to handlers that cannot be guarded: where it points, and what to write
//! instead.
//!
//! `tests/ui/fail/FAULT/*.rs` have the compiler's whole answer next to them; `TRYBUILD=overwrite
//! cargo test -p idempotent-tests --test ui` writes it anew. The handlers that it must have nothing
//! to say to are in `ui_pass.rs`: one `pass` here would make trybuild build each case on its own.
#![allow(clippy::unwrap_used)] // a test

use std::{env, process::Command};

/// Which flags cargo gives to the compiler; it prefers this to what trybuild configures.
const NAME: &str = "CARGO_ENCODED_RUSTFLAGS";
/// What trybuild gives to the cases. To their dependencies it gives all but the last: it would have
/// them checked twice.
const FLAGS: &str = "--cfg\x1ftrybuild\x1f--verbose\x1f-A\x1fdead_code\x1f--diagnostic-width=140";

/// In a process of its own, because nobody may change the environment of one that has threads.
#[test]
fn ui() {
    if env::var(NAME).is_ok_and(|flags| flags == FLAGS) {
        trybuild::TestCases::new().compile_fail("ui/fail/*/*.rs");
        return;
    }
    let mut again = Command::new(env::current_exe().unwrap());
    let status = again.args(env::args_os().skip(1)).env(NAME, FLAGS).status().unwrap();
    assert!(status.success(), "{status}");
}
