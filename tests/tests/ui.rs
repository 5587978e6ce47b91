//! What the compiler says: to correct handlers nothing, to wrong ones what to write instead.

/// Every case is a program of its own; `tests/ui/fail/FAULT/*.rs` have the compiler's whole answer
/// next to them. `TRYBUILD=overwrite cargo test -p idempotent-tests --test ui` writes these anew.
#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("expansion/*.rs");
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*/*.rs");
}
