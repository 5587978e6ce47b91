//! Which check catches which flaw. Most flaws are caught by more; these are the ones that must.

use std::collections::BTreeSet;

use idempotent_testkit::{CHECKS, Outcome, check_blocking};

use crate::{
    Flawed,
    flaw::{Call, Flaw},
};

/// Every check catches something: one that cannot fail proves nothing.
#[test]
fn every_check_is_needed() {
    let caught: BTreeSet<_> = CAUGHT.iter().copied().collect();
    let idle: Vec<_> = CHECKS.iter().filter(|check| !caught.contains(check.name)).collect();
    assert!(idle.is_empty(), "no flaw is caught by {idle:?}");
}

fn caught(flaw: Flaw, by: &[&str]) {
    for name in by {
        let check = CHECKS.iter().find(|check| check.name == *name).unwrap();
        let outcome = check_blocking(*check, move || async move { Flawed::new(flaw) });
        assert!(matches!(outcome, Outcome::Failed(_)), "{flaw:?} escapes {name}: {outcome:?}");
    }
}

macro_rules! caught {
    ($($name:ident = $flaw:ident $(($call:expr))?: $($check:ident)+;)*) => {
        const CAUGHT: &[&str] = &[$($(stringify!($check),)+)*];

        $(
            #[test]
            fn $name() {
                caught(Flaw::$flaw $(($call))?, &[$(stringify!($check)),+]);
            }
        )*
    };
}

caught! {
    a_duplicate_extends_the_lease = ADuplicateExtendsTheLease:
        an_acquire_in_flight_does_not_extend_the_lease
        a_lease_holds_until_its_end_and_not_much_longer
        a_renewed_lease_lasts_from_its_renewal;
    a_free_keeps_the_attempt = AFreeKeepsTheAttempt:
        a_second_attempt_that_is_freed_leaves_nothing_of_the_first
        a_freed_key_begins_anew_for_the_same_request
        of_many_at_once_exactly_one_has_a_key_that_is_being_freed;
    a_free_keeps_the_fingerprint = AFreeKeepsTheFingerprint:
        a_freed_key_begins_anew_for_another_request
        a_lapsed_lease_is_freed_by_its_owner
        a_cancelled_free_can_be_repeated;
    a_free_keeps_the_first_token = AFreeKeepsTheFirstToken:
        each_life_has_a_first_token_of_its_own
        of_many_at_once_exactly_one_has_a_freed_key;
    a_free_keeps_the_steps = AFreeKeepsTheSteps:
        a_freed_key_begins_anew_for_the_same_request
        steps_end_with_their_operation
        a_second_attempt_that_is_freed_leaves_nothing_of_the_first;
    a_free_resets_the_token = AFreeResetsTheToken:
        tokens_grow_across_free
        a_freed_key_is_shown_nowhere;
    a_mismatch_ends_the_lease = AMismatchEndsTheLease:
        a_leased_key_refuses_another_request
        of_two_requests_at_once_one_has_the_key;
    a_release_begins_a_life = AReleaseBeginsALife:
        the_first_token_is_kept_across_release
        each_life_has_a_first_token_of_its_own;
    a_release_resets_the_attempt = AReleaseResetsTheAttempt:
        the_last_released_lease_id_is_refused;
    a_release_resets_the_token = AReleaseResetsTheToken:
        tokens_grow_across_release
        a_contended_key_has_one_owner_at_a_time;
    a_repetition_begins_a_life = ARepetitionBeginsALife:
        a_repeated_acquire_has_the_same_first_token;
    a_repetition_draws_a_token = ARepetitionDrawsAToken:
        a_repeated_acquire_is_granted_the_same_lease;
    a_repetition_keeps_the_old_deadline = ARepetitionKeepsTheOldDeadline:
        a_repeated_acquire_has_the_whole_lease_again
        a_lapsed_lease_is_granted_again_to_its_id;
    a_repetition_keeps_the_old_operation = ARepetitionKeepsTheOldOperation:
        each_grant_says_operation_and_ttl_anew;
    a_repetition_shows_no_steps = ARepetitionShowsNoSteps:
        a_repeated_acquire_shows_the_steps_saved_since;
    a_takeover_begins_a_life = ATakeoverBeginsALife:
        the_first_token_is_kept_across_takeover;
    a_takeover_is_the_same_attempt = ATakeoverIsTheSameAttempt:
        a_lease_that_ran_out_is_taken_over_by_the_next_attempt
        an_abandoned_lease_ends_at_once
        attempts_are_counted_across_release_and_takeover
        a_lease_of_a_millisecond_runs_out_and_is_remembered;
    a_takeover_keeps_the_token = ATakeoverKeepsTheToken:
        tokens_grow_across_takeover
        a_takeover_by_another_handle_is_seen;
    abandons_nothing = AbandonsNothing:
        renew_after_abandon_is_refused;
    all_keys_are_one = AllKeysAreOne:
        keys_that_differ_only_in_their_split_are_strangers;
    always_forgets = AlwaysForgets:
        an_unknown_key_is_absent_and_stays_so
        forgetting_an_unknown_key_finds_nothing
        a_released_key_is_forgotten
        what_one_handle_forgets_the_others_do_not_know;
    always_takes_over = AlwaysTakesOver:
        a_lapsed_lease_is_abandoned_by_its_owner;
    an_equal_step_is_a_conflict = AnEqualStepIsAConflict:
        equal_bytes_are_saved_again_for_nothing;
    bodies_are_text = BodiesAreText:
        bodies_of_any_bytes_are_kept;
    caches_for_ever = CachesForEver:
        a_record_is_replayed_until_its_ttl_and_not_much_longer
        recall_shows_live_records_only;
    checks_then_completes = ChecksThenCompletes:
        of_many_completions_at_once_exactly_one_is_recorded
        a_forced_forget_that_races_a_completion_leaves_nothing;
    checks_then_frees = ChecksThenFrees:
        of_many_at_once_exactly_one_has_a_key_that_is_being_freed
        a_free_that_races_a_takeover_has_one_winner;
    checks_then_inserts = ChecksThenInserts:
        of_many_at_once_exactly_one_is_granted
        the_same_lease_id_is_granted_to_all_who_repeat_it_at_once;
    checks_then_saves_a_step = ChecksThenSavesAStep:
        steps_saved_at_once_are_all_kept
        of_many_values_at_once_a_step_keeps_one;
    checks_then_takes_over = ChecksThenTakesOver:
        of_many_at_once_exactly_one_takes_over
        a_completion_that_races_a_takeover_has_one_winner;
    checks_then_takes_the_freed = ChecksThenTakesTheFreed:
        of_many_at_once_exactly_one_has_a_freed_key;
    checks_then_takes_the_released = ChecksThenTakesTheReleased:
        of_many_at_once_exactly_one_has_a_released_key;
    compares_half_the_fingerprint = ComparesHalfTheFingerprint:
        fingerprints_that_differ_in_one_bit_are_others;
    compares_half_the_lease_id = ComparesHalfTheLeaseId:
        lease_ids_that_differ_in_one_bit_are_strangers;
    compares_the_fingerprint_after_the_lease = ComparesTheFingerprintAfterTheLease:
        a_leased_key_refuses_another_request;
    compares_the_released_id_first = ComparesTheReleasedIdFirst:
        a_released_key_refuses_another_request
        the_fingerprint_is_compared_before_the_released_lease_id;
    completes_in_two_writes = CompletesInTwoWrites:
        a_cancelled_completion_is_whole_or_not_at_all;
    completes_twice = CompletesTwice:
        a_completed_lease_may_do_nothing
        a_repeated_completion_is_refused_and_changes_nothing;
    completions_keep_their_own_expiry = CompletionsKeepTheirOwnExpiry:
        a_record_outlives_the_lease_it_came_from;
    counts_attempts_from_zero = CountsAttemptsFromZero:
        a_new_key_is_granted_as_the_first_attempt
        keys_that_differ_only_in_their_split_are_strangers;
    counts_before_it_grants = CountsBeforeItGrants:
        a_cancelled_acquire_can_be_repeated
        a_cancelled_acquire_is_released_by_its_id;
    counts_in_32_bits = CountsIn32Bits:
        spans_of_a_century_are_kept;
    counts_no_purge = CountsNoPurge:
        a_purge_counts_what_it_takes;
    cuts_bodies = CutsBodies:
        a_body_of_a_mebibyte_is_kept;
    cuts_headers = CutsHeaders:
        many_and_long_headers_are_kept;
    cuts_operations = CutsOperations:
        operations_of_any_name_are_kept;
    dropped_handles_take_their_keys = DroppedHandlesTakeTheirKeys:
        a_handle_that_is_dropped_takes_nothing_with_it;
    drops_empty_records = DropsEmptyRecords:
        an_empty_body_is_a_record;
    drops_empty_steps = DropsEmptySteps:
        an_empty_step_is_a_step;
    drops_falsy_records = DropsFalsyRecords:
        falsy_bodies_are_records;
    first_tokens_outlive_their_life = FirstTokensOutliveTheirLife:
        each_life_has_a_first_token_of_its_own;
    folds_step_names = FoldsStepNames:
        steps_of_any_name_are_kept_apart;
    forgets_at_the_end_of_the_lease = ForgetsAtTheEndOfTheLease:
        a_lapsed_lease_is_completed_by_its_owner;
    forgets_everything = ForgetsEverything:
        forgetting_one_key_leaves_all_others
        garbage_is_forgotten_by_force;
    forgets_in_two_writes = ForgetsInTwoWrites:
        a_cancelled_forget_can_be_repeated;
    forgets_the_expired = ForgetsTheExpired:
        an_expired_record_is_shown_nowhere;
    forgets_the_fingerprint_of_the_abandoned = ForgetsTheFingerprintOfTheAbandoned:
        an_abandoned_key_refuses_another_request
        a_key_whose_lease_ran_out_is_remembered_for_its_retention;
    forgets_the_fingerprint_on_release = ForgetsTheFingerprintOnRelease:
        the_fingerprint_is_compared_before_the_released_lease_id;
    forgets_the_freed = ForgetsTheFreed:
        a_freed_key_is_shown_nowhere;
    forgets_the_freed_at_once = ForgetsTheFreedAtOnce:
        the_freed_lease_id_is_refused
        a_freed_key_holds_its_id_for_its_retention;
    forgets_the_living = ForgetsTheLiving:
        a_live_lease_is_not_forgotten_without_force;
    forgets_the_released_at_once = ForgetsTheReleasedAtOnce:
        steps_are_kept_across_release;
    forgets_the_state_but_not_the_key = ForgetsTheStateButNotTheKey:
        a_completed_key_is_forgotten;
    forgets_the_unresolved = ForgetsTheUnresolved:
        until_it_is_resolved_an_abandoned_key_is_kept;
    freed_keys_keep_their_own_expiry = FreedKeysKeepTheirOwnExpiry:
        a_freed_key_that_is_leased_again_outlives_its_retention;
    freed_leases_go_on = FreedLeasesGoOn:
        a_freed_lease_may_do_nothing;
    frees_are_releases = FreesAreReleases:
        a_freed_key_is_shown_nowhere
        what_one_handle_frees_the_others_may_have
        a_lapsed_lease_is_freed_by_its_owner;
    frees_in_two_writes = FreesInTwoWrites:
        a_cancelled_free_can_be_repeated;
    frees_keep_their_own_expiry = FreesKeepTheirOwnExpiry:
        a_free_is_remembered_longer_than_its_lease_would_be;
    frees_nothing = FreesNothing:
        a_freed_lease_may_do_nothing
        what_one_handle_frees_the_others_may_have;
    grants_its_owner_again_after_completion = GrantsItsOwnerAgainAfterCompletion:
        the_owner_that_asks_again_after_its_completion_is_given_the_record;
    grants_the_freed_id_again = GrantsTheFreedIdAgain:
        the_freed_lease_id_is_refused
        what_one_handle_frees_the_others_may_have;
    grants_the_released_id_again = GrantsTheReleasedIdAgain:
        the_last_released_lease_id_is_refused;
    grants_what_is_leased = GrantsWhatIsLeased:
        a_leased_key_is_in_flight_for_others;
    handles_share_nothing = HandlesShareNothing:
        a_record_is_replayed_by_other_handles;
    headers_are_text = HeadersAreText:
        headers_of_any_bytes_are_kept;
    keeps_garbage = KeepsGarbage:
        garbage_is_forgotten_by_force;
    keeps_sixty_four_steps = KeepsSixtyFourSteps:
        many_steps_are_kept;
    keeps_the_first_operation = KeepsTheFirstOperation:
        each_grant_says_operation_and_ttl_anew;
    keys_are_text = KeysAreText:
        keys_that_differ_in_one_bit_are_strangers
        keys_are_any_32_bytes;
    looking_creates = LookingCreates:
        an_unknown_key_is_absent_and_stays_so;
    looking_extends = LookingExtends:
        a_leased_key_is_in_flight_for_others;
    looking_gives_up = LookingGivesUp:
        looking_harms_no_owner;
    looks_then_purges = LooksThenPurges:
        a_purge_that_races_claims_takes_nothing_alive;
    loses_steps_on_release = LosesStepsOnRelease:
        steps_are_kept_across_release
        a_lease_is_seen_by_other_handles;
    loses_steps_on_takeover = LosesStepsOnTakeover:
        a_lapsed_lease_saves_steps_of_its_owner
        steps_are_kept_across_takeover;
    loses_the_first_token = LosesTheFirstToken:
        the_first_token_is_that_of_the_first_attempt;
    loses_the_given_up = LosesTheGivenUp:
        an_abandoned_lease_is_still_completed_by_its_owner;
    loses_the_lapsed = LosesTheLapsed:
        a_lapsed_lease_is_completed_by_its_owner;
    loses_the_operation_on_release = LosesTheOperationOnRelease:
        operation_and_ttl_are_shown_in_every_state;
    loses_the_status_of_tombstones = LosesTheStatusOfTombstones:
        tombstones_are_kept_with_and_without_a_status;
    merges_trailers = MergesTrailers:
        trailers_are_kept_apart_from_headers;
    mismatches_set_the_operation = MismatchesSetTheOperation:
        an_acquire_that_is_refused_changes_neither_operation_nor_ttl
        a_leased_key_refuses_another_request;
    never_forgets_a_lease = NeverForgetsALease:
        a_forgotten_lease_may_do_nothing
        an_abandoned_key_is_forgotten_without_force;
    never_forgets_the_abandoned = NeverForgetsTheAbandoned:
        a_key_that_was_given_up_is_remembered_for_its_retention
        a_key_whose_retention_is_over_begins_anew;
    never_forgets_the_freed = NeverForgetsTheFreed:
        a_freed_key_holds_its_id_for_its_retention;
    never_forgets_the_released = NeverForgetsTheReleased:
        a_released_key_is_remembered_for_its_retention
        a_ttl_of_a_millisecond_ends;
    nothing_expires = NothingExpires:
        tokens_grow_across_records;
    operations_are_ascii = OperationsAreAscii:
        operations_of_any_name_are_kept;
    operations_are_trimmed = OperationsAreTrimmed:
        operations_of_any_name_are_kept;
    overwrites_steps = OverwritesSteps:
        other_bytes_are_a_conflict_and_change_nothing;
    owners_outlast_the_retention = OwnersOutlastTheRetention:
        an_owner_that_outlasts_the_retention_has_lost_its_lease;
    panics_of_garbage = PanicsOfGarbage:
        garbage_in_a_lease_is_told_and_never_run
        garbage_in_a_released_key_is_told_and_never_run;
    purges_all_when_it_meets_garbage = PurgesAllWhenItMeetsGarbage:
        garbage_in_one_key_harms_no_other;
    purges_leases = PurgesLeases:
        a_released_key_that_is_leased_again_outlives_its_retention;
    purges_leave_the_freed = PurgesLeaveTheFreed:
        a_purge_takes_the_freed_after_their_retention;
    purges_the_freed = PurgesTheFreed:
        a_free_is_remembered_longer_than_its_lease_would_be
        a_purge_leaves_everything_alive;
    purges_the_lapsed = PurgesTheLapsed:
        a_purge_leaves_everything_alive;
    purges_the_released = PurgesTheReleased:
        a_release_is_remembered_longer_than_its_lease_would_be;
    purges_without_limit = PurgesWithoutLimit:
        a_purge_keeps_to_its_limit;
    recalls_the_dead = RecallsTheDead:
        an_expired_record_is_shown_nowhere;
    refusals_set_the_operation = RefusalsSetTheOperation:
        an_acquire_that_is_refused_changes_neither_operation_nor_ttl;
    released_keys_keep_their_own_expiry = ReleasedKeysKeepTheirOwnExpiry:
        a_released_key_that_is_leased_again_outlives_its_retention;
    released_leases_go_on = ReleasedLeasesGoOn:
        a_released_lease_may_do_nothing;
    releases_in_two_writes = ReleasesInTwoWrites:
        a_cancelled_release_can_be_repeated;
    releases_keep_their_own_expiry = ReleasesKeepTheirOwnExpiry:
        a_release_is_remembered_longer_than_its_lease_would_be;
    renewals_draw_a_token_in_two_writes = RenewalsDrawATokenInTwoWrites:
        cancelled_renewals_and_steps_can_be_repeated;
    renewals_keep_their_own_expiry = RenewalsKeepTheirOwnExpiry:
        a_renewed_lease_outlives_the_retention_it_began_with;
    renewals_lose_the_operation = RenewalsLoseTheOperation:
        calls_of_the_owner_keep_operation_and_ttl;
    renews_nothing = RenewsNothing:
        a_leased_key_is_shown_with_the_time_that_is_left;
    renews_the_given_up = RenewsTheGivenUp:
        renew_after_abandon_is_refused;
    replays_garbage = ReplaysGarbage:
        garbage_in_a_record_is_told_and_never_run;
    replays_once = ReplaysOnce:
        a_record_is_replayed_any_number_of_times;
    replays_the_expired = ReplaysTheExpired:
        tokens_grow_across_records;
    replays_to_another_request = ReplaysToAnotherRequest:
        a_completed_key_refuses_another_request
        a_later_operation_has_a_record_of_its_own
        a_record_is_replayed_by_other_handles;
    reservations_are_steps = ReservationsAreSteps:
        a_reservation_saves_nothing;
    reservations_take_a_saved_step = ReservationsTakeASavedStep:
        reserved_steps_are_saved;
    reserves_nothing = ReservesNothing:
        a_reservation_has_the_whole_lease_again;
    reserves_the_given_up = ReservesTheGivenUp:
        a_reservation_after_abandon_is_refused;
    retention_is_the_lease = RetentionIsTheLease:
        complete_of_a_stale_owner_is_refused;
    rounds_down_to_seconds = RoundsDownToSeconds:
        a_record_outlives_the_lease_it_came_from;
    rounds_up_to_seconds = RoundsUpToSeconds:
        tokens_grow_across_records;
    seconds_for_milliseconds = SecondsForMilliseconds:
        a_completed_key_is_shown_with_its_record;
    shares_steps = SharesSteps:
        an_expired_record_leaves_the_key_to_another_request
        a_forgotten_key_is_free_for_another_request
        steps_are_of_their_key_only;
    shows_no_time_left = ShowsNoTimeLeft:
        a_completed_key_is_answered_with_its_record
        a_completed_key_is_shown_with_its_record;
    shows_nothing_released = ShowsNothingReleased:
        a_released_key_is_shown;
    shows_released_as_abandoned = ShowsReleasedAsAbandoned:
        a_released_key_is_shown;
    shows_the_freed = ShowsTheFreed:
        a_freed_key_is_shown_nowhere;
    shows_the_lapsed_as_leased = ShowsTheLapsedAsLeased:
        looking_extends_nothing;
    shows_the_next_attempt = ShowsTheNextAttempt:
        an_abandoned_key_is_shown;
    shows_the_ttl_that_is_left = ShowsTheTtlThatIsLeft:
        operation_and_ttl_are_shown_in_every_state;
    shows_the_whole_time = ShowsTheWholeTime:
        in_flight_tells_the_time_that_is_left
        the_time_that_is_left_of_a_record_counts_down;
    sorts_headers = SortsHeaders:
        headers_are_kept_in_their_order_and_repeated;
    statuses_are_ok = StatusesAreOk:
        every_status_is_kept;
    steps_are_fields = StepsAreFields:
        steps_of_any_name_are_kept_apart;
    steps_are_text = StepsAreText:
        steps_of_any_bytes_are_kept;
    steps_extend_the_lease = StepsExtendTheLease:
        steps_leave_the_lease_as_long_as_it_was;
    steps_outlive_their_operation = StepsOutliveTheirOperation:
        steps_end_with_their_operation;
    takeovers_keep_their_own_expiry = TakeoversKeepTheirOwnExpiry:
        a_takeover_is_remembered_as_it_asks_itself;
    takes_garbage_for_nothing = TakesGarbageForNothing:
        garbage_in_a_lease_is_told_and_never_run;
    tokens_restart = TokensRestart:
        tokens_grow_across_forget
        tokens_grow_across_records
        a_live_lease_is_forgotten_by_force;
    ttls_are_a_day_at_most = TtlsAreADayAtMost:
        ttls_are_kept_to_the_millisecond
        operation_and_ttl_are_shown_in_every_state;
    ttls_are_seconds = TtlsAreSeconds:
        ttls_are_kept_to_the_millisecond;
    ttls_count_in_32_bits = TtlsCountIn32Bits:
        ttls_are_kept_to_the_millisecond;
    loses_the_lapsed_on_abandon = LosesTheLapsedOn(Call::Abandon):
        a_lapsed_lease_is_abandoned_by_its_owner;
    loses_the_lapsed_on_complete = LosesTheLapsedOn(Call::Complete):
        without_takeover_an_abandoned_key_is_told_and_kept
        a_lapsed_lease_is_completed_by_its_owner;
    loses_the_lapsed_on_on_free = LosesTheLapsedOn(Call::Free):
        a_lapsed_lease_is_freed_by_its_owner;
    loses_the_lapsed_on_on_reserve_step = LosesTheLapsedOn(Call::ReserveStep):
        a_lapsed_lease_reserves_a_step_for_its_owner;
    loses_the_lapsed_on_release = LosesTheLapsedOn(Call::Release):
        a_lapsed_lease_is_released_by_its_owner;
    loses_the_lapsed_on_renew = LosesTheLapsedOn(Call::Renew):
        a_lapsed_lease_is_renewed_by_its_owner;
    loses_the_lapsed_on_save_step = LosesTheLapsedOn(Call::SaveStep):
        a_lapsed_lease_saves_steps_of_its_owner;
    no_lease_id_on_abandon = NoLeaseId(Call::Abandon):
        abandon_compares_the_lease_id;
    no_lease_id_on_complete = NoLeaseId(Call::Complete):
        complete_compares_the_lease_id;
    no_lease_id_on_free = NoLeaseId(Call::Free):
        free_compares_the_lease_id;
    no_lease_id_on_release = NoLeaseId(Call::Release):
        release_compares_the_lease_id;
    no_lease_id_on_renew = NoLeaseId(Call::Renew):
        renew_compares_the_lease_id;
    no_lease_id_on_reserve_step = NoLeaseId(Call::ReserveStep):
        reserve_step_compares_the_lease_id;
    no_lease_id_on_save_step = NoLeaseId(Call::SaveStep):
        save_step_compares_the_lease_id;
    no_owner_on_abandon = NoOwner(Call::Abandon):
        abandon_of_a_stale_owner_is_refused
        a_lease_is_of_its_key_only
        a_lease_of_an_unknown_key_is_lost;
    no_owner_on_complete = NoOwner(Call::Complete):
        complete_of_a_stale_owner_is_refused;
    no_owner_on_free = NoOwner(Call::Free):
        free_of_a_stale_owner_is_refused;
    no_owner_on_release = NoOwner(Call::Release):
        release_of_a_stale_owner_is_refused;
    no_owner_on_renew = NoOwner(Call::Renew):
        renew_of_a_stale_owner_is_refused;
    no_owner_on_reserve_step = NoOwner(Call::ReserveStep):
        reserve_step_of_a_stale_owner_is_refused;
    no_owner_on_save_step = NoOwner(Call::SaveStep):
        save_step_of_a_stale_owner_is_refused;
    no_token_on_abandon = NoToken(Call::Abandon):
        abandon_compares_the_token;
    no_token_on_complete = NoToken(Call::Complete):
        complete_compares_the_token;
    no_token_on_free = NoToken(Call::Free):
        free_compares_the_token;
    no_token_on_release = NoToken(Call::Release):
        release_compares_the_token;
    no_token_on_renew = NoToken(Call::Renew):
        renew_compares_the_token;
    no_token_on_reserve_step = NoToken(Call::ReserveStep):
        reserve_step_compares_the_token;
    no_token_on_save_step = NoToken(Call::SaveStep):
        save_step_compares_the_token;
}
