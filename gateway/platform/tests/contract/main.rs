//! The promises of the driver trait, told once and kept by both drivers.

#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

mod ending;
mod flow;
mod lending;
mod limits;
mod talk;
mod teardown;
mod world;

/// Every story on every driver that this host can run.
macro_rules! stories {
    ($($module:ident :: $story:ident),* $(,)?) => {
        stories!(@driver uring, platform::Uring, $($module :: $story),*);
        stories!(@driver epoll, platform::Epoll, $($module :: $story),*);
    };
    (@driver $name:ident, $driver:ty, $($module:ident :: $story:ident),*) => {
        mod $name {
            $(#[test]
            fn $story() {
                match <$driver as crate::world::Tested>::refused() {
                    Some(why) => eprintln!("not run: {why}"),
                    None => crate::$module::$story::<$driver>(),
                }
            })*
        }
    };
}

stories! {
    talk::what_is_received_goes_back_without_a_copy,
    talk::pipelined_requests_are_answered_in_one_send,
    talk::a_message_of_many_parts_arrives_in_order,
    talk::a_busy_polling_driver_talks_like_any_other,
    talk::a_connection_to_an_origin_talks_both_ways,
    talk::a_connect_that_nobody_answers_is_refused,
    talk::a_connect_that_hangs_can_be_closed,
    talk::a_bell_from_another_thread_ends_the_wait,
    talk::many_rings_wake_once_and_the_next_wakes_again,
    talk::a_peer_has_the_address_it_came_from,
    talk::work_counts_from_when_it_could_have_been_seen,
    talk::what_came_during_a_stall_counts_from_when_it_came,
    flow::a_slow_reader_gets_all_of_a_large_message_and_one_sent,
    flow::a_pause_holds_the_stream_and_loses_nothing,
    flow::pausing_and_resuming_at_every_step_keeps_the_order,
    flow::a_change_of_room_keeps_the_order,
    flow::an_end_of_sending_waits_for_the_message_before_it,
    flow::a_message_without_bytes_is_sent_at_once,
    lending::memory_is_used_again_while_a_peer_has_not_read_what_it_held,
    lending::pages_and_bytes_that_are_copied_arrive_in_order,
    ending::a_fin_is_the_end_of_one_direction_only,
    ending::a_reset_is_a_failure_and_nothing_follows_it,
    ending::a_send_into_a_reset_connection_fails_once,
    ending::a_closed_connection_is_never_heard_of_again,
    ending::a_reset_close_reaches_the_peer_as_one,
    ending::stale_ids_do_nothing,
    limits::sockets_that_found_no_buffer_go_on_when_some_come_back,
    limits::a_closed_socket_leaves_the_line_for_buffers,
    limits::a_change_of_room_leaves_the_line_for_the_other_buffers,
    limits::a_full_table_leaves_connections_in_the_queue,
    limits::connections_wait_while_accepting_is_off,
    limits::a_full_table_refuses_to_connect,
    teardown::a_close_releases_what_is_sent_when_the_kernel_is_done_with_it,
    teardown::quiescing_in_the_middle_of_everything_leaves_the_pools_whole,
    teardown::a_dropped_driver_gives_back_its_memory_after_the_last_buffer,
    teardown::a_reader_never_sees_what_was_released_under_it,
    teardown::a_driver_goes_on_after_it_was_quiesced,
}
