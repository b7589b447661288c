//! What the models show. Each looks at more than one order, or it would show nothing.

use watertight_model::{
    barrier, bell, claim, condition, event, hand_over, lane, lock, object, parts, ring, semaphore,
};

fn check(model: fn() -> usize) {
    let orders = model();
    println!("{orders} orders");
    assert!(orders > 3, "a model of {orders} orders has no race in it");
}

#[test]
fn a_ring_gives_every_word_once_in_order_and_whole() {
    check(ring::whole_and_in_order);
}

#[test]
fn a_writer_that_dies_leaves_what_it_committed_and_nothing_else() {
    check(ring::death_of_the_writer);
}

#[test]
fn each_task_has_exactly_one_owner() {
    check(claim::one_owner);
}

#[test]
fn the_host_never_counts_more_than_was_claimed() {
    check(claim::a_count_is_honest);
}

#[test]
fn no_wake_up_is_lost() {
    check(bell::no_lost_wake_up);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_its_fences_a_bell_would_lose_a_wake_up() {
    bell::lost_without_fences();
}

#[test]
fn two_can_ring_for_one() {
    check(bell::two_ringers);
}

#[test]
fn one_ringer_alone_answers() {
    check(bell::one_answer);
}

#[test]
fn a_claim_is_the_barrier_between_a_commit_and_the_look_at_the_bell() {
    check(bell::a_claim_is_a_barrier);
}

#[test]
#[should_panic(expected = "deadlock")]
fn if_a_claim_were_no_barrier_a_wake_up_would_be_lost() {
    bell::lost_if_a_claim_were_none();
}

#[test]
fn every_task_that_goes_down_a_lane_has_its_result_come_up() {
    check(lane::task_after_task);
}

#[test]
fn a_worker_that_is_told_to_go_does_what_it_was_given_before() {
    check(lane::retire_behind_a_task);
}

#[test]
fn a_task_runs_once_or_is_taken_back() {
    check(lane::taken_back);
}

#[test]
fn whoever_waits_for_room_gets_it() {
    check(lane::room);
}

#[test]
fn a_result_that_is_longer_than_its_ring_comes_whole() {
    check(lane::in_pieces);
}

#[test]
fn somebody_reads_as_long_as_anybody_waits() {
    check(hand_over::one_waiter);
}

#[test]
fn a_reader_that_leaves_hands_its_role_on() {
    check(hand_over::two_waiters);
}

#[test]
fn a_reader_that_stays_away_loses_its_role() {
    check(hand_over::a_poller_that_stays_away);
}

#[test]
fn a_reader_that_sleeps_hears_of_what_others_send() {
    check(hand_over::sent_while_asleep);
}

#[test]
fn a_driver_that_was_woken_for_nothing_sleeps_again() {
    check(hand_over::sent_while_waking);
}

#[test]
fn a_lock_has_one_holder_at_a_time_and_wakes_the_next() {
    check(lock::one_at_a_time);
}

#[test]
fn whoever_is_woken_for_a_lock_and_comes_too_late_sleeps_again() {
    check(lock::three);
}

#[test]
fn a_wake_up_of_one_whose_time_is_over_is_given_on() {
    check(lock::a_wake_up_is_given_on);
}

#[test]
fn a_lock_passes_on_from_a_holder_that_dies_at_any_step() {
    check(lock::a_holder_dies_anywhere);
}

#[test]
fn a_waiter_that_dies_at_any_step_is_not_noticed() {
    check(lock::a_waiter_dies_anywhere);
}

#[test]
fn a_hold_that_was_handed_over_is_freed_once() {
    check(lock::handed_over);
}

#[test]
fn two_locks_in_opposite_order_are_refused_to_one_at_most_and_block_nobody() {
    check(lock::a_circle_of_two);
}

#[test]
fn parties_pass_a_barrier_together_round_after_round() {
    check(barrier::in_lockstep);
}

#[test]
fn whoever_comes_during_the_action_of_a_barrier_is_in_the_next_round() {
    check(barrier::during_the_action);
}

#[test]
fn a_round_that_was_broken_stays_so_for_those_who_waited_in_it() {
    check(barrier::broken_and_mended);
}

#[test]
fn a_round_that_all_came_to_stays_so_for_those_who_waited_in_it() {
    check(barrier::passed_and_broken);
}

#[test]
fn a_party_that_dies_at_any_step_breaks_its_barrier() {
    check(barrier::a_party_dies_anywhere);
}

#[test]
fn a_death_that_a_stranger_counts_breaks_a_barrier_too() {
    check(barrier::a_stranger_counts);
}

#[test]
fn a_barrier_that_was_reset_knows_nothing_of_earlier_deaths() {
    check(barrier::mended_while_a_stranger_counts);
}

#[test]
fn a_notification_under_the_lock_is_never_missed() {
    check(condition::under_the_lock);
}

#[test]
fn a_notification_of_a_waiter_that_dies_at_any_step_is_given_on() {
    check(condition::a_waiter_dies_anywhere);
}

#[test]
fn a_notification_is_not_given_on_to_one_who_came_later() {
    check(condition::not_to_a_later_one);
}

#[test]
fn a_notifier_that_dies_at_any_step_wakes_somebody_or_nobody() {
    check(condition::a_notifier_dies_anywhere);
}

#[test]
fn there_are_never_more_permits_out_than_there_were() {
    check(semaphore::one_permit);
}

#[test]
fn a_permit_whose_owner_dies_at_any_step_comes_back() {
    check(semaphore::an_owner_dies_anywhere);
}

#[test]
fn a_permit_that_comes_too_late_for_one_is_another_ones() {
    check(semaphore::too_late_for_one);
}

#[test]
fn a_release_at_whose_any_step_its_maker_dies_is_done_or_not() {
    check(semaphore::a_releaser_dies_anywhere);
}

#[test]
fn an_event_that_was_set_for_a_moment_lets_everybody_go_on() {
    check(event::set_and_cleared);
}

#[test]
fn the_whole_of_an_array_and_its_parts_exclude_each_other() {
    check(parts::whole_and_part);
}

#[test]
fn a_part_whose_holder_dies_at_any_step_passes_on() {
    check(parts::a_part_dies_anywhere);
}

#[test]
fn a_whole_whose_holder_dies_at_any_step_passes_on() {
    check(parts::a_whole_dies_anywhere);
}

#[test]
fn a_mark_that_was_taken_away_from_a_part_does_not_come_back() {
    check(parts::a_mark_stays_away);
}

#[test]
fn whoever_is_the_last_to_let_go_of_an_object_ends_it() {
    check(object::the_last_one_ends_it);
}

#[test]
fn an_object_that_is_opened_while_it_ends_is_there_or_gone_for_good() {
    check(object::opened_at_the_last_moment);
}
