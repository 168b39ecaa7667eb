/* SPDX-License-Identifier: MIT */
/* Cancellation and deadlines: whoever comes first wins, and each request completes once. */
#include "fw.h"

#include "base/recorder.h"

#include <unistd.h>

static int setup(void **state)
{
	fw_reset();
	return 0;
}

static void test_never_delivered(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	fw_send(3);
	assert_int_equal(auf_cancel(fw.handle, 2, 2), 0);
	fw_expect_done(0, 2, -ECANCELED);
	fw_complete_oldest();
	fw_expect("deliver1 deliver3 ");
	fw_down();
}

static void test_manual(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_MANUAL;
	fw_up(NULL);
	fw_send(1);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	fw_expect_done(0, 1, -ECANCELED);
	assert_null(au_queue_next(fw.queue[0]));
	fw_down();
}

static void test_stale(void **state)
{
	fw_up(NULL);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), -ESRCH);
	assert_int_equal(auf_cancel(fw.handle, FW_DEPTH, 1), -EINVAL);
	fw_send(1);
	assert_int_equal(auf_cancel(fw.handle, 1, 2), -ESRCH);
	fw_complete_oldest();
	assert_int_equal(auf_cancel(fw.handle, 1, 1), -ESRCH);
	fw_expect_done(0, 1, 0);
	fw_down();
}

/* Cancelled before the driver makes it cancelable: it is told so, and not called. */
static void test_before_mark(void **state)
{
	fw_up(NULL);
	fw_send(1);
	assert_false(au_request_is_canceled(fw.held[0]));
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	assert_true(au_request_is_canceled(fw.held[0]));
	assert_int_equal(fw.done_count, 0);
	assert_int_equal(au_request_set_cancelable(fw.held[0], fw_canceled), -AU_ECANCELED);
	au_request_complete(fw.held[0], -AU_ECANCELED, 0);
	fw_expect_done(0, 1, -ECANCELED);
	fw_expect("deliver1 ");
	fw_down();
}

/* After: the callback completes it. */
static void test_after_mark(void **state)
{
	fw.cancelable = fw.cancel_completes = true;
	fw_up(NULL);
	fw_send(1);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	fw_expect("deliver1 cancel1 ");
	fw_expect_done(0, 1, -ECANCELED);
	assert_int_equal(fw.done_count, 1);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), -ESRCH);
	fw_down();
}

/* Between mark and clear: the callback has it, even though it completes it later. */
static void test_between(void **state)
{
	fw.cancelable = true;
	fw_up(NULL);
	fw_send(1);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	fw_expect("deliver1 cancel1 ");
	assert_int_equal(fw.done_count, 0);
	assert_int_equal(au_request_clear_cancelable(fw.held[0]), -AU_ECANCELED);
	au_request_complete(fw.held[0], -AU_ECANCELED, 0);
	fw_expect_done(0, 1, -ECANCELED);
	/* the loser of the race may still ask: it learns that it has lost */
	assert_int_equal(au_request_clear_cancelable(fw.held[0]), -AU_ECANCELED);
	assert_int_equal(fw.rules, 0);
	fw_down();
}

/* The driver was first: its status counts, and nobody is called. */
static void test_completion_wins(void **state)
{
	fw.cancelable = fw.cancel_completes = true;
	fw_up(NULL);
	fw_send(1);
	fw_complete_oldest();
	fw_expect_done(0, 1, 0);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), -ESRCH);
	fw_expect("deliver1 ");
	/* cancelled, but the driver had a result */
	fw.cancelable = false;
	fw_send(2);
	auf_cancel(fw.handle, 2, 2);
	fw_complete_oldest();
	fw_expect_done(1, 2, 0);
	fw_down();
}

/* Marked, cleared, marked again. */
static void test_mark_again(void **state)
{
	fw_up(NULL);
	fw_send(1);
	assert_int_equal(au_request_set_cancelable(fw.held[0], fw_canceled), 0);
	assert_int_equal(au_request_clear_cancelable(fw.held[0]), 0);
	assert_int_equal(au_request_set_cancelable(fw.held[0], fw_canceled), 0);
	fw.cancel_completes = true;
	auf_cancel(fw.handle, 1, 1);
	fw_expect("deliver1 cancel1 ");
	assert_int_equal(fw.done_count, 1);
	fw_down();
}

static struct au_request *marked;

static void mark_in_callback(struct au_request *req)
{
	/* another one is cancelled, and completes, from within the callback */
	fw_note("cancel");
	au_request_complete(req, -AU_ECANCELED, 0);
	auf_cancel(fw.handle, 2, 2);
}

static void test_nested(void **state)
{
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	marked = fw.held[0];
	assert_int_equal(au_request_set_cancelable(fw.held[0], mark_in_callback), 0);
	assert_int_equal(au_request_set_cancelable(fw.held[1], fw_canceled), 0);
	fw.cancel_completes = true;
	auf_cancel(fw.handle, 1, 1);
	fw_expect("deliver1 deliver2 cancel cancel2 ");
	assert_int_equal(fw.done_count, 2);
	fw.held_count = 0;
	fw_down();
}

/* During a purge. */
static void purge_again(struct au_request *req)
{
	fw_drop(req);
	au_request_complete(req, -AU_ECANCELED, 0);
	/* the last one settles it */
	if (fw.done_count < 3)
		assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_READY), -AU_EBUSY);
	auf_cancel(fw.handle, 3, 3);
}

static void test_during_purge(void **state)
{
	fw_up(NULL);
	for (uint32_t i = 1; i <= 3; i++)
		fw_send(i);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(au_request_set_cancelable(fw.held[i], purge_again), 0);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_PURGED), 0);
	assert_int_equal(fw.done_count, 3);
	fw_expect("deliver1 deliver2 deliver3 settled3 ");
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(fw.done[i].status, -ECANCELED);
	fw_down();
}

/* ----------------------------------------------------------------- deadlines */

static void test_deadline_queued(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw_up(NULL);
	fw_send(1);
	assert_int_equal(fw_send_as(2, (struct auf_submit){ .timeout_ms = 10 }), 0);
	fw_pass(9);
	assert_int_equal(fw.done_count, 0);
	fw_pass(2);
	fw_expect_done(0, 2, -ETIMEDOUT);
	fw_down();
}

static void test_deadline_held(void **state)
{
	fw.cancelable = fw.cancel_completes = true;
	fw_up(NULL);
	assert_int_equal(fw_send_as(1, (struct auf_submit){ .timeout_ms = 1000 }), 0);
	fw_pass(999);
	fw_expect("deliver1 ");
	fw_pass(2);
	fw_expect("cancel1 ");
	/* the driver says cancelled; that it was for time is known here */
	fw_expect_done(0, 1, -ETIMEDOUT);
	fw_down();
}

/* Deadlines far beyond one turn of the wheel, and many at once, each in its millisecond. */
static void test_deadlines(void **state)
{
	uint64_t start;

	fw.queue_config[0].kind = AU_QUEUE_MANUAL;
	fw_up(NULL);
	fw_pass(1);
	start = auf_lane_now_ms(fw.lane);
	for (uint32_t i = 0; i < FW_DEPTH; i++)
		assert_int_equal(fw_send_as(i, (struct auf_submit){ .timeout_ms = 5 + 37 * i,
								    .tag = i + 1 }),
				 0);
	while (fw.done_count < FW_DEPTH) {
		uint64_t now;

		fw_pass(1);
		now = auf_lane_now_ms(fw.lane) - start;
		assert_int_equal(fw.done_count, now < 5 ? 0 : (now - 5) / 37 + 1);
	}
	for (unsigned int i = 0; i < FW_DEPTH; i++)
		fw_expect_done(i, i + 1, -ETIMEDOUT);
	fw_down();
}

static void test_deadline_done(void **state)
{
	fw_up(NULL);
	assert_int_equal(fw_send_as(1, (struct auf_submit){ .timeout_ms = 5 }), 0);
	fw_complete_oldest();
	fw_send(1);
	fw_pass(100);
	assert_int_equal(fw.done_count, 1);
	assert_int_equal(fw.held_count, 1);
	assert_false(au_request_is_canceled(fw.held[0]));
	fw_down();
}

/* A class or driver that has a result when the time is up gives the result. */
static void has_result(struct au_request *req)
{
	au_request_complete(req, 0, 42);
}

static void test_deadline_result(void **state)
{
	fw_up(NULL);
	assert_int_equal(fw_send_as(1, (struct auf_submit){ .timeout_ms = 5 }), 0);
	assert_int_equal(au_request_set_cancelable(fw.held[0], has_result), 0);
	fw_pass(10);
	fw_expect_done(0, 1, 0);
	assert_int_equal(fw.done[0].result, 42);
	fw_down();
}

/* ------------------------------------------------------------------- overdue */

static struct au_recorder recorder;

/* A driver that keeps what it should give up shows in the status page, until it does. */
static void test_overdue(void **state)
{
	int fd = au_memfd_sealed("status", au_recorder_size());
	struct au_lane *plain;

	assert_true(fd >= 0);
	assert_int_equal(au_recorder_map(fd, true, &recorder), 0);
	fw_up(NULL);
	auf_handle_close(fw.handle, NULL, NULL);
	auf_device_destroy(fw.dev);
	plain = fw.lane;
	/* once more, on a lane with a status page */
	{
		struct auf_device_config config = {
			.name = "test0", .driver = &fw_driver, .generation = 1, .from = AU_POWER_OFF
		};
		struct au_note note;
		char error[256];

		au_note_parse(fw_note_text, sizeof(fw_note_text), "test", &note, error,
			      sizeof(error));
		assert_int_equal(auf_lane_create(AUF_RUNNER_APP, 0, 0, &recorder, &fw.lane), 0);
		config.note = &note;
		config.lane = fw.lane;
		assert_int_equal(auf_device_create(&config, &fw.dev, error, sizeof(error)), 0);
		assert_int_equal(auf_device_start(fw.dev), 0);
		fw_open();
	}
	fw_send(1);
	fw_send(2);
	fw_pass(5000);
	assert_int_equal(recorder.status->lane[0].overdue_ms, 0);
	auf_cancel(fw.handle, 1, 1);
	fw_pass(900);
	assert_int_equal(recorder.status->lane[0].overdue_ms, 0);
	fw_pass(150);
	assert_in_range(recorder.status->lane[0].overdue_ms, 1000, 1100);
	for (int i = 0; i < 10; i++)
		fw_pass(100);
	assert_in_range(recorder.status->lane[0].overdue_ms, 1900, 2200);
	fw_complete_oldest();
	assert_int_equal(recorder.status->lane[0].overdue_ms, 0);
	fw_pass(500);
	assert_int_equal(recorder.status->lane[0].overdue_ms, 0);
	assert_int_equal(recorder.status->lane[0].completed, 1);
	fw_complete_oldest();
	fw_turns(1);
	assert_int_equal(recorder.status->lane[0].completed, 2);
	auf_lane_beat(fw.lane, 7);
	fw_turns(1);
	assert_int_equal(recorder.status->lane[0].beat, 7);
	auf_lane_destroy(plain);
	fw_down();
	au_recorder_unmap(&recorder);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_never_delivered, setup),
		cmocka_unit_test_setup(test_manual, setup),
		cmocka_unit_test_setup(test_stale, setup),
		cmocka_unit_test_setup(test_before_mark, setup),
		cmocka_unit_test_setup(test_after_mark, setup),
		cmocka_unit_test_setup(test_between, setup),
		cmocka_unit_test_setup(test_completion_wins, setup),
		cmocka_unit_test_setup(test_mark_again, setup),
		cmocka_unit_test_setup(test_nested, setup),
		cmocka_unit_test_setup(test_during_purge, setup),
		cmocka_unit_test_setup(test_deadline_queued, setup),
		cmocka_unit_test_setup(test_deadline_held, setup),
		cmocka_unit_test_setup(test_deadlines, setup),
		cmocka_unit_test_setup(test_deadline_done, setup),
		cmocka_unit_test_setup(test_deadline_result, setup),
		cmocka_unit_test_setup(test_overdue, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
