/* SPDX-License-Identifier: MIT */
/* Before an orderly end: what the driver has is waited for, and it gets nothing more. */
#include "fw.h"

static unsigned int drained;

static void is_drained(void *context)
{
	drained++;
}

static int setup(void **state)
{
	fw_reset();
	drained = 0;
	return 0;
}

static void test_nothing_to_wait_for(void **state)
{
	fw_up(NULL);
	auf_device_drain(fw.dev, is_drained, NULL);
	assert_int_equal(drained, 1);
	fw_send(1);
	fw_expect("");
	assert_int_equal(fw.done_count, 0);
	auf_device_drain(fw.dev, is_drained, NULL); /* nor again */
	assert_int_equal(drained, 1);
	fw_down();
}

static void test_what_the_driver_has_is_waited_for(void **state)
{
	fw.queue_config[0].depth = 2;
	fw_up(NULL);
	for (uint32_t i = 1; i <= 4; i++)
		fw_send(i);
	fw_expect("deliver1 deliver2 ");
	auf_device_drain(fw.dev, is_drained, NULL);
	fw_pass(10);
	assert_int_equal(drained, 0);
	fw_complete_oldest();
	fw_pass(2);
	assert_int_equal(drained, 0);
	fw_expect(""); /* the third is not delivered */
	fw_complete_oldest();
	fw_pass(2);
	assert_int_equal(drained, 1);
	fw_expect("");
	assert_int_equal(fw.done_count, 2);
	fw_expect_done(0, 1, 0);
	fw_expect_done(1, 2, 0);
	/* No driver has had them: that is what a client sees in their progress. */
	assert_int_equal(fw.progress[3].flags, 0);
	assert_int_equal(fw.progress[4].flags, 0);
	auf_device_stop(fw.dev);
	fw_expect_done(2, 3, -ENODEV);
	fw_down();
}

/* What can be cancelled waits for something that may never come. */
static void test_what_waits_for_long_is_not_waited_for(void **state)
{
	fw.cancelable = true;
	fw.cancel_completes = true;
	fw_up(NULL);
	fw_send(1);
	auf_device_drain(fw.dev, is_drained, NULL);
	assert_int_equal(drained, 1);
	auf_device_stop(fw.dev);
	fw_expect_done(0, 1, -ENODEV);
	fw_down();
}

static void test_going_down_ends_it(void **state)
{
	fw_up(NULL);
	fw_send(1);
	auf_device_drain(fw.dev, is_drained, NULL);
	fw_pass(5);
	assert_int_equal(drained, 0);
	auf_device_stop(fw.dev);
	fw_pass(2);
	assert_int_equal(drained, 1);
	fw_down();
}

static void test_destroyed_while_it_waits(void **state)
{
	fw_up(NULL);
	fw_send(1);
	auf_device_drain(fw.dev, is_drained, NULL);
	fw_down();
	assert_int_equal(drained, 0);
}

static void hold_gate(struct auf_device_config *config)
{
	config->hold_gate = true;
}

/* The end of a replay does not open what is being drained. */
static void test_the_gate_stays_closed(void **state)
{
	fw_up(hold_gate);
	fw_send(1);
	auf_device_drain(fw.dev, is_drained, NULL);
	auf_device_open_gate(fw.dev);
	fw_pass(2);
	fw_expect("");
	assert_int_equal(drained, 1);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing_to_wait_for, setup),
		cmocka_unit_test_setup(test_what_the_driver_has_is_waited_for, setup),
		cmocka_unit_test_setup(test_what_waits_for_long_is_not_waited_for, setup),
		cmocka_unit_test_setup(test_going_down_ends_it, setup),
		cmocka_unit_test_setup(test_destroyed_while_it_waits, setup),
		cmocka_unit_test_setup(test_the_gate_stays_closed, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
