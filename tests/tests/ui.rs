//! What the compiler says to handlers that cannot be guarded: where it points, and what to write
//! instead.
//!
//! `tests/ui/fail/FAULT/*.rs` have the compiler's whole answer next to them; `TRYBUILD=overwrite
//! cargo test -p idempotent-tests --test ui` writes it anew. The handlers that it must have nothing
//! to say to are in `ui_pass.rs`: one `pass` here would make trybuild build each case on its own.

#[test]
fn ui() {
    trybuild::TestCases::new().compile_fail("ui/fail/*/*.rs");
}
