/* SPDX-License-Identifier: MIT */
/* A serial unit in D3: nothing is lost or sent twice, and settings are as they were. */
#include "serial_rig.h"

#include <errno.h>

static void power(struct rig *r, enum auf_power_verb verb)
{
	assert_int_equal(auf_device_power(r->dev, verb, NULL, NULL), 0);
	rig_poll(r);
}

static struct auf_power_info info(struct rig *r)
{
	struct auf_power_info info;

	auf_device_power_info(r->dev, &info);
	return info;
}

/* Whoever has it open may be sent something at any time. */
static void test_open_is_use(void **state)
{
	struct rig *r = *state;
	const struct auf_handle_config quiet = { .depth = 1,
						 .quiet = true,
						 .complete = rig_complete };
	struct auf_handle *second;

	auf_device_set_idle(r->dev, 50);
	rig_pass(r, 500);
	assert_int_equal(info(r).state, AUF_POWER_IS_D0);
	assert_string_equal(info(r).why, "open, 1 times");
	assert_string_equal(info(r).tags[0].tag, "open");
	assert_int_equal(auf_handle_open(auf_device_unit(r->dev, 0), &quiet, &second), 0);
	auf_handle_close(r->handle, NULL, NULL);
	assert_int_equal(info(r).references, 0);
	rig_pass(r, 500);
	assert_int_equal(info(r).state, AUF_POWER_IS_D3);
	rig_open(r, false);
	rig_poll(r);
	assert_int_equal(info(r).state, AUF_POWER_IS_D0);
	auf_handle_close(second, NULL, NULL);
}

/* Bytes on their way when it goes to sleep: the rest follows when it is back. */
static void test_sending(void **state)
{
	struct rig *r = *state;

	fake->room = 5;
	rig_send(r, 0, "hello, world");
	rig_send(r, 1, "!");
	assert_int_equal(fake->sent, 5);
	power(r, AUF_POWER_SUSPEND);
	assert_int_equal(info(r).state, AUF_POWER_IS_SUSPENDED);
	fake->room = 1000;
	rig_pass(r, 1000);
	assert_int_equal(fake->sent, 5);
	power(r, AUF_POWER_RESUME);
	assert_done(r, 0, 0, 12);
	assert_done(r, 1, 0, 1);
	assert_int_equal(fake->sent, 13);
	assert_memory_equal(fake->wire, "hello, world!", 13);
	rig_control(r, AU_SERIAL_GET_COUNTERS, 0, 0, sizeof(struct au_serial_counters));
	assert_int_equal(((struct au_serial_counters *)(void *)r->data[7])->tx_uncertain, 0);
	assert_int_equal(((struct au_serial_counters *)(void *)r->data[7])->tx_bytes, 13);
}

/* The driver has taken a piece, and says later that the device has it: that is waited for. */
static void test_taken(void **state)
{
	struct rig *r = *state;

	fake->die_taken = true;
	rig_send(r, 0, "0123456789abcdefghij");
	power(r, AUF_POWER_SUSPEND);
	rig_pass(r, 100);
	assert_int_equal(info(r).state, AUF_POWER_IS_GOING_DOWN);
	fake->die_taken = false;
	au_serial_tx_done(fake->port);
	rig_poll(r);
	assert_int_equal(info(r).state, AUF_POWER_IS_SUSPENDED);
	power(r, AUF_POWER_RESUME);
	assert_done(r, 0, 0, 20);
	/* the first 16 were the driver's */
	assert_int_equal(fake->sent, 4);
	assert_memory_equal(fake->wire, "ghij", 4);
}

static void test_receiving(void **state)
{
	struct rig *r = *state;

	rig_recv(r, 0, 10, 10, 0, 0);
	rig_arrive(r, "abc");
	power(r, AUF_POWER_SUSPEND);
	assert_int_equal(info(r).state, AUF_POWER_IS_SUSPENDED);
	/* What the driver still finds in its FIFO when it is told to sleep waits, too. */
	rig_arrive(r, "defghijklm");
	assert_int_equal(r->done[0], 0);
	power(r, AUF_POWER_RESUME);
	assert_done(r, 0, 0, 10);
	assert_memory_equal(r->data[0], "abcdefghij", 10);
	rig_recv(r, 1, 10, 1, 0, 0);
	assert_done(r, 1, 0, 3);
	assert_memory_equal(r->data[1], "klm", 3);
}

/* Silence after bytes ends a receive after D3 as well, and so does cancellation in D3. */
static void test_receive_ends(void **state)
{
	struct rig *r = *state;

	rig_recv(r, 0, 10, 10, 20, 0);
	rig_recv(r, 1, 10, 10, 20, 0);
	rig_arrive(r, "abc");
	power(r, AUF_POWER_SUSPEND);
	rig_pass(r, 100);
	assert_int_equal(r->done[0], 0);
	power(r, AUF_POWER_RESUME);
	rig_pass(r, 30);
	assert_done(r, 0, 0, 3);
	power(r, AUF_POWER_SUSPEND);
	assert_int_equal(auf_cancel(r->handle, 1, 101), 0);
	assert_int_equal(r->done[1], 1);
	assert_int_equal(r->status[1], -ECANCELED);
	power(r, AUF_POWER_RESUME);
	rig_recv(r, 2, 10, 1, 0, 0);
	rig_arrive(r, "x");
	assert_done(r, 2, 0, 1);
}

/* The device is still sending: that takes a moment, and no more than that. */
static void test_flush(void **state)
{
	struct rig *r = *state;
	uint64_t before = auf_lane_now_ms(r->lane);

	power(r, AUF_POWER_SUSPEND);
	assert_true(auf_lane_now_ms(r->lane) - before < 10);
	power(r, AUF_POWER_RESUME);
	fake->busy = true;
	before = auf_lane_now_ms(r->lane);
	power(r, AUF_POWER_SUSPEND);
	assert_true(auf_lane_now_ms(r->lane) - before >= 500);
	assert_true(auf_lane_now_ms(r->lane) - before < 600);
	assert_int_equal(info(r).state, AUF_POWER_IS_SUSPENDED);
}

static void test_drain(void **state)
{
	struct rig *r = *state;

	fake->busy = true;
	rig_submit(r, 0, (struct auf_submit){ .op = AU_SERIAL_DRAIN });
	power(r, AUF_POWER_SUSPEND);
	fake->busy = false;
	rig_pass(r, 10);
	assert_int_equal(r->done[0], 0);
	power(r, AUF_POWER_RESUME);
	assert_done(r, 0, 0, 0);
}

/* Lines and settings are as before; the peer is held meanwhile, and what it changed is told. */
static void test_settings(void **state)
{
	struct rig *r = *state;

	set_line(r, 9600, 7, AU_FLOW_RTSCTS);
	rig_control(r, AU_SERIAL_SET_BREAK, 1, 0, 0);
	assert_int_equal(fake->outputs, AU_MODEM_OUTPUTS);
	power(r, AUF_POWER_SUSPEND);
	assert_int_equal(fake->outputs, AU_MODEM_DTR);
	memset(&fake->line, 0, sizeof(fake->line));
	fake->brk = false;
	fake->outputs = 0;
	fake->inputs = AU_MODEM_INPUTS & ~(uint32_t)AU_MODEM_DCD;
	r->events = 0;
	power(r, AUF_POWER_RESUME);
	assert_int_equal(fake->line.baud, 9600);
	assert_int_equal(fake->line.data_bits, 7);
	assert_true(fake->brk);
	assert_int_equal(fake->outputs, AU_MODEM_OUTPUTS);
	assert_int_equal(r->events, 1);
	assert_int_equal(r->event[0].kind, AU_SERIAL_EVENT_MODEM);
	assert_int_equal(r->event[0].arg[1], AU_MODEM_DCD);
}

/* The last one closes it in D3: it hangs up when that can be seen. */
static void test_closed_asleep(void **state)
{
	struct rig *r = *state;

	rig_control(r, AU_SERIAL_SET_BREAK, 1, 0, 0);
	power(r, AUF_POWER_SUSPEND);
	auf_handle_close(r->handle, NULL, NULL);
	r->handle = NULL;
	rig_pass(r, 10);
	assert_int_equal(info(r).state, AUF_POWER_IS_SUSPENDED);
	power(r, AUF_POWER_RESUME);
	assert_int_equal(info(r).state, AUF_POWER_IS_D0);
	assert_int_equal(fake->outputs, 0);
	rig_open(r, false);
	assert_int_equal(fake->outputs, AU_MODEM_OUTPUTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_is_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sending, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receiving, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flush, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_settings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_asleep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
