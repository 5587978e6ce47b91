//! The one list of all checks.

use std::{fmt, future::Future, pin::Pin};

use crate::{
    checks,
    harness::Harness,
    verdict::{Stop, Verdict},
    world::World,
};

/// Calls another macro of this crate with the list.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_check {
    ($callback:ident $($context:tt)*) => {
        $crate::$callback! {
            { $($context)* }
            claim {
                a_new_key_is_granted_as_the_first_attempt
                a_leased_key_is_in_flight_for_others
                in_flight_tells_the_time_that_is_left
                a_repeated_acquire_is_granted_the_same_lease
                a_repeated_acquire_has_the_whole_lease_again
                an_acquire_in_flight_does_not_extend_the_lease
                the_last_released_lease_id_is_refused
                a_completed_key_is_answered_with_its_record
                the_owner_that_asks_again_after_its_completion_is_given_the_record
                keys_that_differ_in_one_bit_are_strangers
                keys_that_differ_only_in_their_split_are_strangers
                keys_are_any_32_bytes
                lease_ids_that_differ_in_one_bit_are_strangers
            }
            fingerprint {
                a_leased_key_refuses_another_request
                a_released_key_refuses_another_request
                an_abandoned_key_refuses_another_request
                a_completed_key_refuses_another_request
                the_fingerprint_is_compared_before_the_released_lease_id
                fingerprints_that_differ_in_one_bit_are_others
                an_expired_record_leaves_the_key_to_another_request
                a_forgotten_key_is_free_for_another_request
            }
            ownership {
                complete_compares_the_lease_id
                complete_compares_the_token
                complete_of_a_stale_owner_is_refused
                renew_compares_the_lease_id
                renew_compares_the_token
                renew_of_a_stale_owner_is_refused
                release_compares_the_lease_id
                release_compares_the_token
                release_of_a_stale_owner_is_refused
                free_compares_the_lease_id
                free_compares_the_token
                free_of_a_stale_owner_is_refused
                abandon_compares_the_lease_id
                abandon_compares_the_token
                abandon_of_a_stale_owner_is_refused
                reserve_step_compares_the_lease_id
                reserve_step_compares_the_token
                reserve_step_of_a_stale_owner_is_refused
                save_step_compares_the_lease_id
                save_step_compares_the_token
                save_step_of_a_stale_owner_is_refused
                a_lease_is_of_its_key_only
                a_lease_of_an_unknown_key_is_lost
                a_released_lease_may_do_nothing
                a_freed_lease_may_do_nothing
                a_completed_lease_may_do_nothing
                a_forgotten_lease_may_do_nothing
            }
            takeover {
                a_lease_holds_until_its_end_and_not_much_longer
                a_lease_that_ran_out_is_taken_over_by_the_next_attempt
                without_takeover_an_abandoned_key_is_told_and_kept
                a_lapsed_lease_is_completed_by_its_owner
                a_lapsed_lease_is_renewed_by_its_owner
                a_lapsed_lease_is_released_by_its_owner
                a_lapsed_lease_is_freed_by_its_owner
                a_lapsed_lease_is_abandoned_by_its_owner
                a_lapsed_lease_reserves_a_step_for_its_owner
                a_lapsed_lease_saves_steps_of_its_owner
                a_lapsed_lease_is_granted_again_to_its_id
                a_renewed_lease_lasts_from_its_renewal
                an_abandoned_lease_ends_at_once
                renew_after_abandon_is_refused
                an_abandoned_lease_is_still_completed_by_its_owner
                attempts_are_counted_across_release_and_takeover
                tokens_grow_across_release
                tokens_grow_across_takeover
                tokens_grow_across_forget
                tokens_grow_across_records
            }
            free {
                a_freed_key_begins_anew_for_the_same_request
                a_freed_key_begins_anew_for_another_request
                a_freed_key_is_shown_nowhere
                the_freed_lease_id_is_refused
                a_freed_key_holds_its_id_for_its_retention
                a_free_is_remembered_longer_than_its_lease_would_be
                a_freed_key_that_is_leased_again_outlives_its_retention
                a_second_attempt_that_is_freed_leaves_nothing_of_the_first
                tokens_grow_across_free
            }
            lives {
                the_first_token_is_that_of_the_first_attempt
                the_first_token_is_kept_across_release
                the_first_token_is_kept_across_takeover
                a_repeated_acquire_has_the_same_first_token
                each_life_has_a_first_token_of_its_own
            }
            operations {
                operation_and_ttl_are_shown_in_every_state
                each_grant_says_operation_and_ttl_anew
                an_acquire_that_is_refused_changes_neither_operation_nor_ttl
                calls_of_the_owner_keep_operation_and_ttl
                operations_of_any_name_are_kept
                ttls_are_kept_to_the_millisecond
            }
            retention {
                a_record_is_replayed_until_its_ttl_and_not_much_longer
                an_expired_record_is_shown_nowhere
                the_time_that_is_left_of_a_record_counts_down
                a_released_key_is_remembered_for_its_retention
                a_key_whose_lease_ran_out_is_remembered_for_its_retention
                a_key_that_was_given_up_is_remembered_for_its_retention
                until_it_is_resolved_an_abandoned_key_is_kept
                a_key_whose_retention_is_over_begins_anew
                an_owner_that_outlasts_the_retention_has_lost_its_lease
                a_record_outlives_the_lease_it_came_from
                a_renewed_lease_outlives_the_retention_it_began_with
                a_takeover_is_remembered_as_it_asks_itself
                a_released_key_that_is_leased_again_outlives_its_retention
                a_release_is_remembered_longer_than_its_lease_would_be
                a_lease_of_a_millisecond_runs_out_and_is_remembered
                a_ttl_of_a_millisecond_ends
                spans_of_a_century_are_kept
                steps_leave_the_lease_as_long_as_it_was
            }
            records {
                an_empty_body_is_a_record
                falsy_bodies_are_records
                bodies_of_any_bytes_are_kept
                a_body_of_a_mebibyte_is_kept
                headers_are_kept_in_their_order_and_repeated
                headers_of_any_bytes_are_kept
                many_and_long_headers_are_kept
                trailers_are_kept_apart_from_headers
                every_status_is_kept
                tombstones_are_kept_with_and_without_a_status
                a_record_is_replayed_any_number_of_times
                a_repeated_completion_is_refused_and_changes_nothing
                a_later_operation_has_a_record_of_its_own
                recall_shows_live_records_only
            }
            steps {
                steps_are_kept_across_release
                steps_are_kept_across_takeover
                a_repeated_acquire_shows_the_steps_saved_since
                equal_bytes_are_saved_again_for_nothing
                other_bytes_are_a_conflict_and_change_nothing
                an_empty_step_is_a_step
                steps_of_any_bytes_are_kept
                steps_of_any_name_are_kept_apart
                many_steps_are_kept
                steps_saved_at_once_are_all_kept
                steps_are_of_their_key_only
                steps_end_with_their_operation
                a_reservation_has_the_whole_lease_again
                a_reservation_saves_nothing
                a_reservation_after_abandon_is_refused
                reserved_steps_are_saved
            }
            states {
                an_unknown_key_is_absent_and_stays_so
                a_leased_key_is_shown_with_the_time_that_is_left
                a_released_key_is_shown
                an_abandoned_key_is_shown
                a_completed_key_is_shown_with_its_record
                looking_extends_nothing
                looking_harms_no_owner
            }
            forget {
                forgetting_an_unknown_key_finds_nothing
                a_released_key_is_forgotten
                an_abandoned_key_is_forgotten_without_force
                a_completed_key_is_forgotten
                a_live_lease_is_not_forgotten_without_force
                a_live_lease_is_forgotten_by_force
                forgetting_one_key_leaves_all_others
                a_purge_leaves_everything_alive
                a_purge_keeps_to_its_limit
                a_purge_counts_what_it_takes
                a_purge_takes_the_freed_after_their_retention
            }
            handles {
                a_lease_is_seen_by_other_handles
                a_record_is_replayed_by_other_handles
                a_takeover_by_another_handle_is_seen
                what_one_handle_frees_the_others_may_have
                what_one_handle_forgets_the_others_do_not_know
                a_handle_that_is_dropped_takes_nothing_with_it
            }
            cancelled {
                a_cancelled_acquire_can_be_repeated
                a_cancelled_acquire_is_released_by_its_id
                a_cancelled_completion_is_whole_or_not_at_all
                a_cancelled_release_can_be_repeated
                a_cancelled_free_can_be_repeated
                cancelled_renewals_and_steps_can_be_repeated
                a_cancelled_forget_can_be_repeated
            }
            garbage {
                garbage_in_a_record_is_told_and_never_run
                garbage_in_a_lease_is_told_and_never_run
                garbage_in_a_released_key_is_told_and_never_run
                garbage_is_forgotten_by_force
                garbage_in_one_key_harms_no_other
            }
            races {
                of_many_at_once_exactly_one_is_granted
                of_many_at_once_exactly_one_takes_over
                of_many_at_once_exactly_one_has_a_released_key
                of_many_at_once_exactly_one_has_a_freed_key
                of_many_at_once_exactly_one_has_a_key_that_is_being_freed
                the_same_lease_id_is_granted_to_all_who_repeat_it_at_once
                of_many_completions_at_once_exactly_one_is_recorded
                of_two_requests_at_once_one_has_the_key
                of_many_values_at_once_a_step_keeps_one
                a_completion_that_races_a_takeover_has_one_winner
                a_free_that_races_a_takeover_has_one_winner
                a_forced_forget_that_races_a_completion_leaves_nothing
                a_purge_that_races_claims_takes_nothing_alive
                a_contended_key_has_one_owner_at_a_time
            }
        }
    };
}

/// Writes a `#[test]` for each check of the store contract.
///
/// The expression makes a [`Harness`](crate::Harness), or an `Option` of one: with `None` the tests say
/// that they are skipped. It may `.await`, and is evaluated once for each test, in a runtime of its own.
/// Attributes in front of it are put on each test.
///
/// ```no_run
/// # use idempotent_runtime::MemoryStore;
/// # struct Memory(MemoryStore);
/// # impl idempotent_testkit::Harness for Memory {
/// #     type Store = MemoryStore;
/// #     async fn store(&self) -> MemoryStore { self.0.clone() }
/// # }
/// idempotent_testkit::conformance!(Memory(MemoryStore::new()));
/// ```
#[macro_export]
macro_rules! conformance {
    ($(#[$attribute:meta])* $harness:expr) => {
        $crate::__for_each_check! { __tests [$(#[$attribute])*] $harness }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ({ $attributes:tt $harness:expr } $($group:ident { $($name:ident)* })*) => {
        // One for all tests: a closure in each would be a type of its own, and what runs a check would
        // be compiled once for each.
        async fn __harness() -> impl $crate::Available {
            $harness
        }
        $($($crate::__one_test! { $attributes $name })*)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __one_test {
    ([$($attribute:tt)*] $name:ident) => {
        #[test]
        $($attribute)*
        fn $name() {
            $crate::__test(::core::stringify!($name), __harness);
        }
    };
}

/// One demand of the store contract.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Check {
    /// What of the contract it is about.
    pub group: &'static str,
    /// What it demands.
    pub name: &'static str,
}

impl Check {
    pub(crate) fn named(name: &str) -> Option<Self> {
        CHECKS.iter().find(|check| check.name == name).copied()
    }

    /// Races run on several threads; everything else in one, where time can be paused.
    pub(crate) fn needs_threads(self) -> bool {
        self.group == "races"
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.group, self.name)
    }
}

macro_rules! table {
    ({} $($group:ident { $($name:ident)* })*) => {
        /// Every check.
        pub const CHECKS: &[Check] = &[
            $($(Check { group: stringify!($group), name: stringify!($name) },)*)*
        ];

        pub(crate) fn call<H: Harness>(check: Check, world: &World<H>) -> Checking<'_> {
            match check.name {
                $($(stringify!($name) => Box::pin(checks::$group::$name(world)),)*)*
                _ => Box::pin(async { Err(Stop::Skipped("there is no such check")) }),
            }
        }
    };
}

type Checking<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

// The list calls macros of this crate by their exported names.
#[doc(hidden)]
#[macro_export]
macro_rules! __table {
    ($($list:tt)*) => { table! { $($list)* } };
}

__for_each_check! { __table }
