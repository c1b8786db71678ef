//! The suite that every backend passes.
//!
//! A backend's tests name where its state lies and get one test per property,
//! each run on a store that commits inline and on one that commits in groups:
//!
//! ```text
//! store::conformance_suite!(store::conformance::MemoryMedium::default());
//! ```
//!
//! It is a plain module and not behind a feature, so that the store is compiled
//! once for all who depend on it; what no one calls is not linked.

mod apart;
mod failing;
mod fixture;
mod groups;
mod model;
mod news;
mod reading;
mod refusal;

pub use apart::*;
pub use failing::*;
pub use fixture::{Faults, Faulty, Harness, Lamp, Medium, MemoryMedium, Mode, block_on};
pub use groups::*;
pub use model::{Op, check_model};
pub use news::*;
pub use reading::*;
pub use refusal::*;

/// Makes a test of every property in [`conformance`](crate::conformance), on a
/// [`Medium`] that the given expression makes anew for each.
#[macro_export]
macro_rules! conformance_suite {
    ($medium:expr) => {
        $crate::conformance_suite! { $medium =>
            writes_are_all_or_nothing
            a_transaction_reads_its_own_writes
            a_record_written_and_deleted_at_once_was_never_there
            indexes_follow_updates_and_deletes
            lists_are_in_order
            scopes_do_not_see_one_another
            iterators_do_not_hinder_writing
            views_do_not_change
            at_most_128_writes
            unregistered_types_are_refused
            reopening_gives_the_same_state
            strange_ids_survive
            what_was_queued_is_committed_before_the_store_closes
            commits_name_what_was_read
            backends_refuse_revisions_out_of_turn
            backends_check_guards
            an_overtaken_transaction_runs_again
            endless_contention_is_reported
            a_failed_commit_changes_nothing
            a_failed_group_takes_with_it_what_was_built_on_it
            an_unknown_outcome_is_found_out
            a_panicking_transaction_harms_no_other
            a_panicking_backend_leaves_no_one_waiting
            commits_are_grouped
            readers_see_only_what_is_durable
            answers_wait_for_what_they_rest_on
            a_dropped_future_still_commits
            the_queue_is_bounded
            changes_coalesce_and_the_last_is_never_lost
            who_waits_for_something_hears_of_that_alone
            racing_changes_are_never_lost
            feeds_report_every_transaction_in_order
            a_feed_that_lags_is_told_so
            a_catch_up_interrupts_feeds
            unreadable_state_is_refused_and_kept
        }
    };
    ($medium:expr => $($property:ident)*) => {$(
        #[test]
        fn $property() {
            for mode in $crate::conformance::Mode::ALL {
                $crate::conformance::$property(&$crate::conformance::Harness::new(mode, $medium));
            }
        }
    )*};
}
