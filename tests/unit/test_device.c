/* SPDX-License-Identifier: MIT */
/* A device's way up and down: the order of callbacks, whatever fails, whenever the device goes. */
#include "fw.h"

static int setup(void **state)
{
	fw_reset();
	return 0;
}

static void test_order(void **state)
{
	assert_int_equal(fw_create(NULL), 0);
	assert_string_equal(auf_device_state_name(fw.dev), "created");
	fw_expect("");
	assert_int_equal(auf_device_start(fw.dev), 0);
	fw_expect("prepare d0_entry <gate> io_start ");
	assert_string_equal(auf_device_state_name(fw.dev), "d0");
	auf_device_stop(fw.dev);
	fw_expect("io_stop d0_exit release ");
	assert_string_equal(auf_device_state_name(fw.dev), "stopped");
	auf_device_stop(fw.dev);
	assert_int_equal(auf_device_start(fw.dev), -EINVAL);
	fw_expect("");
	fw_down();
}

static void test_stop_first(void **state)
{
	assert_int_equal(fw_create(NULL), 0);
	auf_device_stop(fw.dev);
	fw_expect("");
	fw_down();
}

/* Each callback in turn: just what succeeded is undone, and release() comes in any case. */
static void test_failures(void **state)
{
	static const struct {
		const char *fail, *trace;
		bool up;
	} cases[] = {
		{ "prepare", "prepare release ", false },
		{ "d0_entry", "prepare d0_entry release ", false },
		{ "io_start", "prepare d0_entry <gate> io_start d0_exit release ", false },
		{ "d0_exit", "prepare d0_entry <gate> io_start io_stop d0_exit release ", true },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fw_reset();
		fw.fail = cases[i].fail;
		assert_int_equal(fw_create(NULL), 0);
		assert_int_equal(auf_device_start(fw.dev), cases[i].up ? 0 : -AU_EIO);
		auf_device_stop(fw.dev);
		fw_expect(cases[i].trace);
		assert_non_null(strstr(fw.line, "failed (error 5)"));
		assert_string_equal(auf_device_state_name(fw.dev), "stopped");
		fw_down();
	}
}

/* The device goes while a callback of the way up runs: that one is finished, then undone. */
static void test_surprise_on_the_way(void **state)
{
	static const struct {
		const char *during, *trace;
		int err;
	} cases[] = {
		{ "prepare", "prepare surprise_removed <gone> release ", -ENODEV },
		{ "d0_entry", "prepare d0_entry surprise_removed <gone> d0_exit release ",
		  -ENODEV },
		{ "io_start",
		  "prepare d0_entry <gate> io_start surprise_removed <gone> io_stop d0_exit "
		  "release ",
		  -ENODEV },
		{ "io_stop",
		  "prepare d0_entry <gate> io_start io_stop surprise_removed <gone> d0_exit "
		  "release ",
		  0 },
		{ "d0_exit",
		  "prepare d0_entry <gate> io_start io_stop d0_exit surprise_removed <gone> "
		  "release ",
		  0 },
		{ "release",
		  "prepare d0_entry <gate> io_start io_stop d0_exit release surprise_removed "
		  "<gone> ",
		  0 },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fw_reset();
		fw.surprise = cases[i].during;
		assert_int_equal(fw_create(NULL), 0);
		assert_int_equal(auf_device_start(fw.dev), cases[i].err);
		fw_turns(2);
		auf_device_stop(fw.dev);
		fw_turns(2);
		fw_expect(cases[i].trace);
		fw_down();
	}
}

static void test_surprise_running(void **state)
{
	fw.complete_at_once = false;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	auf_device_surprise(fw.dev);
	auf_device_surprise(fw.dev);
	/* surprise_removed() at once, everything else from the lane's loop */
	fw_expect("deliver1 deliver2 surprise_removed <gone> ");
	assert_int_equal(fw.done_count, 0);
	fw_turns(2);
	fw_expect("io_stop d0_exit release ");
	assert_int_equal(fw.done_count, 2);
	fw_expect_done(0, 1, -ENODEV);
	fw_expect_done(1, 2, -ENODEV);
	assert_int_equal(fw.events, 1);
	assert_int_equal(fw.event.kind, AU_EVENT_GONE);
	/* and nothing new */
	fw_send(3);
	fw_expect_done(2, 3, -ENODEV);
	fw_down();
}

/* Stopping with everything in flight: queued, held, cancelable, held without a word. */
static void test_stop_completes(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw.queue_count = 2;
	fw.queue_config[1].kind = AU_QUEUE_PARALLEL;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	fw.cancelable = fw.cancel_completes = true;
	assert_int_equal(fw_send_as(3, (struct auf_submit){ .op = FW_OP + 1 }), 0);
	auf_device_stop(fw.dev);
	fw_expect("deliver1 deliver3 io_stop cancel3 d0_exit release ");
	assert_int_equal(fw.done_count, 3);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(fw.done[i].status, -ENODEV);
	assert_true(fw.rules == 0);
	fw_down();
}

static void finished(void *context)
{
	++*(unsigned int *)context;
}

/* Before it is taken away: what was submitted goes on, what comes is refused. */
static void test_finish(void **state)
{
	unsigned int done = 0;

	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	auf_device_finish(fw.dev, finished, &done);
	auf_device_finish(fw.dev, finished, &done);
	assert_int_equal(fw_send_as(3, (struct auf_submit){ 0 }), -ENODEV);
	fw_pass(50);
	assert_int_equal(done, 0);
	fw_complete_oldest();
	fw_pass(50);
	assert_int_equal(done, 0);
	fw_complete_oldest();
	fw_pass(50);
	fw_pass(50);
	assert_int_equal(done, 1);
	fw_expect("deliver1 deliver2 ");
	fw_expect_done(0, 1, 0);
	fw_expect_done(1, 2, 0);
	assert_int_equal(fw.done_count, 2);
	fw_down();

	/* One that ends before that is so tells nobody. */
	fw_reset();
	fw_up(NULL);
	fw_send(1);
	done = 0;
	auf_device_finish(fw.dev, finished, &done);
	fw_down();
	assert_int_equal(done, 0);
}

static void hold_gate(struct auf_device_config *config)
{
	config->hold_gate = true;
}

static void test_gate(void **state)
{
	fw.complete_at_once = true;
	assert_int_equal(fw_create(hold_gate), 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	fw_open();
	fw_send(1);
	fw_send(2);
	fw_turns(4);
	fw_expect("prepare d0_entry io_start opened ");
	auf_device_open_gate(fw.dev);
	fw_expect("deliver1 deliver2 <gate> ");
	assert_int_equal(fw.done_count, 2);
	auf_device_open_gate(fw.dev);
	fw_send(3);
	fw_expect("deliver3 ");
	fw_down();
}

static void test_gate_stopped(void **state)
{
	assert_int_equal(fw_create(hold_gate), 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	fw_open();
	fw_send(1);
	auf_device_stop(fw.dev);
	fw_expect_done(0, 1, -ENODEV);
	auf_device_open_gate(fw.dev);
	fw_expect("prepare d0_entry io_start opened io_stop d0_exit release ");
	fw_down();
}

static void test_history(void **state)
{
	char text[4096];

	fw.fail = "d0_entry";
	assert_int_equal(fw_create(NULL), 0);
	auf_device_start(fw.dev);
	auf_device_history(fw.dev, text, sizeof(text));
	assert_non_null(strstr(text, "created, start -> prepare\n"));
	assert_non_null(strstr(text, "prepare, done -> d0-entry\n"));
	assert_non_null(strstr(text, "d0-entry, failed (error 5) -> flush\n"));
	assert_non_null(strstr(text, "release, done -> stopped\n"));
	/* any size will do */
	for (size_t size = 1; size < sizeof(text); size += 13)
		assert_true(auf_device_history(fw.dev, text, size) < size);
	fw_down();
}

static const char *const *test_params_list;

static void with_params(struct auf_device_config *config)
{
	config->params = test_params_list;
}

static void test_params(void **state)
{
	static const char *const good[] = { "count=7", "word=hello", NULL };
	static const char *const bad[] = { "count=11", NULL };
	static const char *const unknown[] = { "colour=blue", NULL };

	test_params_list = good;
	assert_int_equal(fw_create(with_params), 0);
	assert_int_equal(au_param_uint(fw.dev, "count"), 7);
	assert_int_equal(au_param_uint(fw.dev, "flag"), 1);
	assert_string_equal(au_param_string(fw.dev, "word"), "hello");
	/* the driver asks for what it did not declare, or not so */
	fw.lines = 0;
	assert_int_equal(au_param_uint(fw.dev, "nothing"), 0);
	assert_int_equal(au_param_uint(fw.dev, "word"), 0);
	assert_string_equal(au_param_string(fw.dev, "count"), "");
	assert_int_equal(fw.lines, 3);
	fw_down();

	test_params_list = bad;
	fw_reset();
	assert_int_equal(fw_create(with_params), -EINVAL);
	assert_non_null(strstr(fw.line, "1 to 10"));
	auf_lane_destroy(fw.lane);
	test_params_list = unknown;
	assert_int_equal(fw_create(with_params), -EINVAL);
	assert_non_null(strstr(fw.line, "no parameter 'colour'"));
	auf_lane_destroy(fw.lane);
	assert_int_equal(au_fake_allocated(), 0);
}

/* Every allocation of create, start and open fails once: an error, no leak, no crash. */
static void test_memory(void **state)
{
	unsigned int nth, refused = 0;

	for (nth = 1; nth < 100; nth++) {
		const struct auf_handle_config config = { .depth = 8, .complete = fw_complete };
		bool all = false;

		fw_reset();
		fw.queue_count = 2;
		au_fake_alloc_fail(nth);
		if (auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &fw.lane) != 0) {
			refused++;
			continue;
		}
		auf_lane_destroy(fw.lane);
		au_fake_alloc_fail(0);
		fw_reset();
		fw.queue_count = 2;
		au_fake_alloc_fail(nth + 1); /* the lane's own has passed */
		if (fw_create(NULL) == 0) {
			if (auf_device_start(fw.dev) == 0 &&
			    auf_handle_open(fw.unit, &config, &fw.handle) == 0) {
				auf_handle_close(fw.handle, NULL, NULL);
				all = true;
			} else {
				refused++;
			}
			auf_device_destroy(fw.dev);
		} else {
			refused++;
		}
		au_fake_alloc_fail(0);
		auf_lane_destroy(fw.lane);
		assert_int_equal(au_fake_allocated(), 0);
		if (all)
			break;
	}
	assert_true(nth < 100);
	assert_true(refused >= 6);
}

static void unit_goes(uint64_t tag)
{
	fw_note("done%llu", (unsigned long long)tag);
}

/* A unit that goes at run time takes its requests with it; its handles stay, and answer -ENODEV. */
static void test_unit_removed(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw.cancelable = fw.cancel_completes = true;
	fw.on_done = unit_goes;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	au_unit_remove(fw.unit);
	fw_expect("deliver1 cancel1 done1 done2 <unit-> ");
	fw_expect_done(0, 1, -ENODEV);
	fw_expect_done(1, 2, -ENODEV);
	assert_int_equal(fw.event.kind, AU_EVENT_GONE);
	assert_int_equal(fw_send_as(3, (struct auf_submit){ 0 }), -ENODEV);
	assert_null(auf_device_unit(fw.dev, 0));
	fw_down();
}

static void test_open_close(void **state)
{
	const struct auf_handle_config config = { .depth = 1, .complete = fw_complete };
	const struct auf_handle_config bad[] = { { .depth = 0, .complete = fw_complete },
						 { .depth = 1u << 30, .complete = fw_complete },
						 { .depth = 1 } };
	struct auf_handle *second;

	fw_up(NULL);
	assert_int_equal(auf_handle_open(fw.unit, &config, &second), 0);
	fw_expect("");
	auf_handle_close(second, NULL, NULL);
	fw_expect("");
	auf_handle_close(fw.handle, NULL, NULL);
	fw_expect("closed ");
	fw_open();
	fw_expect("opened ");
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(auf_handle_open(fw.unit, &bad[i], &second), -EINVAL);
	fw_down();
}

static void closed(void *context)
{
	++*(int *)context;
}

/* A handle is closed when the driver has let go, and its completions are not heard any more. */
static void test_close_waits(void **state)
{
	int count = 0;

	fw_up(NULL);
	fw_send(1);
	fw.cancelable = fw.cancel_completes = true;
	fw_send(2);
	auf_handle_close(fw.handle, closed, &count);
	fw.handle = NULL;
	assert_int_equal(count, 0);
	fw_expect("deliver1 deliver2 cancel2 ");
	fw.cancelable = false;
	fw_complete_oldest();
	assert_int_equal(count, 1);
	assert_int_equal(fw.done_count, 0);
	fw_expect("closed ");
	fw_down();
}

static void test_retained(void **state)
{
	bool fresh = true;

	fw_up(NULL);
	assert_null(au_retained(fw.dev, &fresh));
	assert_non_null(au_context(fw.dev));
	assert_string_equal(au_device_name(fw.dev), "test0");
	assert_ptr_equal(au_device_lane(fw.dev, 0), fw.lane);
	assert_null(au_device_lane(fw.dev, 1));
	fw_down();
}

/* A driver that talks too much is cut short, and that is said. */
static void test_log_bounded(void **state)
{
	fw_up(NULL);
	fw.lines = 0;
	for (int i = 0; i < 1000; i++)
		au_log(fw.dev, AU_LOG_WARN, "message %d", i);
	assert_true(fw.lines >= 10 && fw.lines < 50);
	fw_pass(2000);
	au_log(fw.dev, AU_LOG_WARN, "one\nline %0300d", 0);
	assert_non_null(strstr(fw.line, "test0: one line 000"));
	assert_true(strlen(fw.line) < 220);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_order, setup),
		cmocka_unit_test_setup(test_stop_first, setup),
		cmocka_unit_test_setup(test_failures, setup),
		cmocka_unit_test_setup(test_surprise_on_the_way, setup),
		cmocka_unit_test_setup(test_surprise_running, setup),
		cmocka_unit_test_setup(test_stop_completes, setup),
		cmocka_unit_test_setup(test_gate, setup),
		cmocka_unit_test_setup(test_gate_stopped, setup),
		cmocka_unit_test_setup(test_history, setup),
		cmocka_unit_test_setup(test_params, setup),
		cmocka_unit_test_setup(test_memory, setup),
		cmocka_unit_test_setup(test_unit_removed, setup),
		cmocka_unit_test_setup(test_finish, setup),
		cmocka_unit_test_setup(test_open_close, setup),
		cmocka_unit_test_setup(test_close_waits, setup),
		cmocka_unit_test_setup(test_retained, setup),
		cmocka_unit_test_setup(test_log_bounded, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
