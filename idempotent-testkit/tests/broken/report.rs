//! The suite in one call, and what it tells.

use idempotent_testkit::{CHECKS, Outcome, verify, verify_blocking};

use crate::{Flawed, flaw::Flaw};

#[tokio::test]
async fn a_store_that_keeps_the_contract_passes_in_one_call() {
    let report = verify(|| async { Flawed::new(Flaw::None) }).await;
    report.assert_passed();
    assert_eq!(report.results().count(), CHECKS.len());
    assert_eq!(report.skipped().count(), 0, "{report}");
}

#[test]
fn the_report_names_every_check_that_failed_and_says_how() {
    let report = verify_blocking(|| async { Flawed::new(Flaw::LosesTheGivenUp) });
    assert_eq!(
        report.failed().collect::<Vec<_>>(),
        ["an_abandoned_lease_is_still_completed_by_its_owner"]
    );
    let passed = CHECKS.len() - 1;
    let text = report.to_string();
    let expected = format!(
        "store contract: {passed} passed, 1 failed, 0 skipped\n  \
         FAILED  takeover::an_abandoned_lease_is_still_completed_by_its_owner\n          \
         the store answered an error: the lease is held by another owner or by nobody [takeover.rs:"
    );
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
#[should_panic(expected = "FAILED  takeover::an_abandoned_lease_is_still_completed_by_its_owner")]
fn a_failed_report_panics_with_itself() {
    verify_blocking(|| async { Flawed::new(Flaw::LosesTheGivenUp) }).assert_passed();
}

#[test]
fn a_store_that_panics_fails_the_check_and_not_the_suite() {
    let report = verify_blocking(|| async { Flawed::new(Flaw::PanicsOfGarbage) });
    let panicked = |outcome: &Outcome| matches!(outcome, Outcome::Failed(what) if what.starts_with("panicked: garbage: "));
    assert_eq!(report.results().filter(|(_, outcome)| panicked(outcome)).count(), 3, "{report}");
    assert_eq!(report.failed().count(), 3, "{report}");
}

#[test]
fn without_a_backend_everything_is_skipped() {
    let report = verify_blocking(|| async { None::<Flawed> });
    assert_eq!(report.skipped().count(), CHECKS.len());
    report.assert_passed();
}
