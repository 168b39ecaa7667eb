/* SPDX-License-Identifier: MIT */
/* What a device says that it is doing: states, queues and why they wait, and the oldest request. */
#include "fw.h"

static struct auf_description d;

static const struct auf_description *look(void)
{
	auf_device_describe(fw.dev, &d);
	return &d;
}

static int setup(void **state)
{
	fw_reset();
	return 0;
}

/* The queue with something in it. */
static const struct auf_queue_description *busy(void)
{
	look();
	assert_true(d.queue_count >= 1);
	return &d.queues[0];
}

static void test_quiet(void **state)
{
	fw_up(NULL);
	look();
	assert_string_equal(d.state, "d0");
	assert_int_equal(d.outstanding, 0);
	assert_int_equal(d.request_count, 0);
	assert_int_equal(d.handles, 1);
	assert_int_equal(d.queue_count, 1);
	assert_string_equal(d.queues[0].state, "ready");
	assert_string_equal(d.queues[0].why, "");
	assert_true(d.gate_open);
	assert_false(d.running || d.gone || d.stopping);
	assert_null(d.irq);
	fw_pass(1500);
	assert_in_range(look()->state_ms, 1500, 1600);
	fw_down();
}

/* How old a request is, is known from the first look at it; a slot's next one is young again. */
static void test_the_oldest(void **state)
{
	fw.cancelable = true;
	fw_up(NULL);
	fw_send_as(3, (struct auf_submit){ .tag = 300 });
	look();
	fw_pass(2000);
	fw_send_as(1, (struct auf_submit){ .tag = 100 });
	look();
	assert_int_equal(d.outstanding, 2);
	assert_int_equal(d.owned, 2);
	assert_int_equal(d.request_count, 2);
	assert_int_equal(d.requests[0].slot, 3);
	assert_in_range(d.requests[0].age_ms, 2000, 2100);
	assert_int_equal(d.requests[0].op, FW_OP);
	assert_string_equal(d.requests[0].cls, "raw");
	assert_string_equal(d.requests[0].owner, "driver");
	assert_true(d.requests[0].cancelable);
	assert_false(d.requests[0].cancel_asked);
	assert_int_equal(d.requests[1].slot, 1);
	assert_in_range(d.requests[1].age_ms, 0, 100);
	fw_complete_oldest();
	fw_send_as(3, (struct auf_submit){ .tag = 301 });
	fw_pass(500);
	look();
	assert_int_equal(d.requests[0].slot, 1);
	fw_pass(500);
	look();
	assert_int_equal(d.requests[1].slot, 3);
	assert_in_range(d.requests[1].age_ms, 500, 600);
	/* Cancelled, and not let go. */
	auf_cancel(fw.handle, 1, 100);
	fw_pass(1500);
	look();
	assert_true(d.requests[0].cancel_asked);
	assert_in_range(d.requests[0].overdue_ms, 1400, 1600);
	while (fw.held_count) {
		struct au_request *req = fw.held[0];

		fw_drop(req);
		if (au_request_clear_cancelable(req) == 0 || au_request_is_canceled(req))
			au_request_complete(req, 0, 0);
	}
	fw_down();
}

/* More than there is room for: the oldest are shown. */
static void test_many(void **state)
{
	fw_up(NULL);
	for (unsigned int i = 0; i < 40; i++) {
		fw_send_as(i, (struct auf_submit){ .tag = i + 1 });
		look();
		fw_pass(10);
	}
	look();
	assert_int_equal(d.outstanding, 40);
	assert_int_equal(d.request_count, AUF_DESCRIBED_REQUESTS);
	for (unsigned int i = 0; i < AUF_DESCRIBED_REQUESTS; i++)
		assert_int_equal(d.requests[i].slot, i);
	while (fw.held_count)
		fw_complete_oldest();
	fw_down();
}

static void test_why_a_queue_waits(void **state)
{
	fw.queue_count = 2;
	fw.queue_config[0] = (struct au_queue_config){ .kind = AU_QUEUE_PARALLEL, .depth = 1 };
	fw.queue_config[1] = (struct au_queue_config){ .kind = AU_QUEUE_MANUAL };
	fw_up(NULL);
	fw_send_as(0, (struct auf_submit){ .tag = 1 });
	fw_send_as(1, (struct auf_submit){ .tag = 2 });
	assert_int_equal(busy()->waiting, 1);
	assert_int_equal(d.queues[0].owned, 1);
	assert_string_equal(d.queues[0].why, "its driver has as many as it takes at once");
	assert_string_equal(d.requests[1].owner, "queue");
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_STOPPED), 0);
	assert_string_equal(busy()->why, "its driver has stopped it");
	assert_string_equal(d.queues[0].state, "stopped");
	fw_complete_oldest();
	fw_turns(2);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_READY), 0);
	fw_turns(2);
	fw_complete_oldest();
	/* Another queue of the unit: it comes first now. */
	fw_send_as(2, (struct auf_submit){ .op = FW_OP + 1, .tag = 3 });
	assert_int_equal(busy()->number, 1);
	assert_string_equal(d.queues[0].why, "its driver does not take it");
	au_request_complete(au_queue_next(fw.queue[1]), 0, 0);
	look();
	assert_int_equal(d.outstanding, 0);
	fw_down();
}

static void hold(struct auf_device_config *config)
{
	config->hold_gate = true;
}

static void test_gate_and_sleep(void **state)
{
	fw.complete_at_once = true;
	fw_up(hold);
	fw_send_as(0, (struct auf_submit){ .tag = 1 });
	assert_string_equal(busy()->why, "clients have yet to send again what the host before had");
	assert_false(d.gate_open);
	auf_device_open_gate(fw.dev);
	fw_turns(2);
	assert_int_equal(look()->outstanding, 0);
	assert_int_equal(auf_device_power(fw.dev, AUF_POWER_SUSPEND, NULL, NULL), 0);
	fw_turns(4);
	fw_send_as(0, (struct auf_submit){ .tag = 2 });
	fw_turns(4);
	assert_string_equal(busy()->why, "the device is not in D0");
	assert_string_equal(d.state, "d3");
	assert_int_equal(auf_device_power(fw.dev, AUF_POWER_RESUME, NULL, NULL), 0);
	fw_turns(6);
	assert_int_equal(look()->outstanding, 0);
	fw_down();
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_quiet),	   TEST(test_the_oldest),
		TEST(test_many),	   TEST(test_why_a_queue_waits),
		TEST(test_gate_and_sleep),
	};

	return cmocka_run_group_tests_name("describe", tests, NULL, NULL);
}
