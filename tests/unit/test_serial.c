/* SPDX-License-Identifier: MIT */
/* Serial units: sending, receiving, settings, flow control. */
#include "serial_rig.h"

static void test_send_in_order(void **state)
{
	struct rig *r = *state;

	fake->room = 3;
	rig_send(r, 0, "hello ");
	rig_send(r, 1, "world");
	assert_int_equal(r->done[0], 0);
	assert_memory_equal(fake->wire, "hel", 3);
	fake->room = 100;
	fake_tx_start(fake->port);
	assert_memory_equal(fake->wire, "hello world", 11);
	assert_done(r, 0, 0, 6);
	assert_done(r, 1, 0, 5);
	assert_int_equal(r->order[0], 0);
	rig_send(r, 2, "");
	assert_done(r, 2, 0, 0);
}

static void test_receive_counts_and_times(void **state)
{
	struct rig *r = *state;

	rig_recv(r, 0, 10, 4, 0, 0);
	rig_arrive(r, "abc");
	assert_int_equal(r->done[0], 0);
	rig_arrive(r, "defg");
	assert_done(r, 0, 0, 7);
	assert_memory_equal(r->data[0], "abcdefg", 7);

	rig_arrive(r, "xy");
	rig_recv(r, 1, 10, 0, 0, 0); /* what is there */
	assert_done(r, 1, 0, 2);
	rig_recv(r, 1, 10, 0, 0, 0);
	assert_done(r, 1, 0, 0);

	rig_recv(r, 2, 10, 10, 20, 0); /* until silence */
	rig_arrive(r, "q");
	rig_pass(r, 15);
	rig_arrive(r, "r");
	rig_pass(r, 15);
	assert_int_equal(r->done[2], 0);
	rig_pass(r, 10);
	assert_done(r, 2, 0, 2);

	rig_recv(r, 3, 10, 10, 0, 50); /* a time-out with bytes is no error */
	rig_arrive(r, "s");
	rig_pass(r, 60);
	assert_done(r, 3, 0, 1);
	rig_recv(r, 3, 10, 10, 0, 50);
	rig_pass(r, 60);
	assert_done(r, 3, -AU_ETIMEDOUT, 0);
}

static void test_receives_are_served_in_order(void **state)
{
	struct rig *r = *state;

	rig_recv(r, 0, 2, 2, 0, 0);
	rig_recv(r, 1, 2, 2, 0, 0);
	rig_recv(r, 2, 2, 2, 0, 0);
	rig_arrive(r, "aabbc");
	assert_done(r, 0, 0, 2);
	assert_done(r, 1, 0, 2);
	assert_memory_equal(r->data[1], "bb", 2);
	assert_int_equal(r->done[2], 0);
	assert_int_equal(auf_cancel(r->handle, 2, 102), 0);
	rig_poll(r);
	assert_done(r, 2, 0, 1); /* it had a byte: that is not thrown away */
}

static void test_cancel(void **state)
{
	struct rig *r = *state;

	fake->room = 2;
	rig_send(r, 0, "abcd");
	rig_send(r, 1, "efgh");
	assert_int_equal(auf_cancel(r->handle, 1, 101), 0);
	rig_poll(r);
	assert_done(r, 1, -AU_ECANCELED, 0);
	assert_int_equal(auf_cancel(r->handle, 0, 100), 0);
	rig_poll(r);
	assert_done(r, 0, -AU_ECANCELED, 2);
	assert_int_equal(auf_cancel(r->handle, 0, 100), -AU_ESRCH);
	rig_recv(r, 2, 4, 1, 0, 0);
	assert_int_equal(auf_cancel(r->handle, 2, 102), 0);
	rig_poll(r);
	assert_done(r, 2, -AU_ECANCELED, 0);
}

static void test_cancel_while_the_device_is_given_a_piece(void **state)
{
	struct rig *r = *state;

	fake->die_taken = true;
	rig_send(r, 0, "abcd");
	assert_int_equal(auf_cancel(r->handle, 0, 100), 0);
	rig_poll(r);
	assert_int_equal(r->done[0], 0);
	au_serial_tx_done(fake->port);
	rig_poll(r);
	assert_done(r, 0, -AU_ECANCELED, 4);
	fake->die_taken = false;
}

static void is_drained(void *context)
{
	++*(unsigned int *)context;
}

/* Before the host goes down in order: no piece is left half done, and the rest is for the next. */
static void test_a_send_goes_on_in_the_next_host(void **state)
{
	struct rig *r = *state;
	unsigned int drained = 0;

	fake->die_taken = true;
	rig_send(r, 0, "abcdefghijklmnopqrstuvwxyz");
	auf_device_drain(r->dev, is_drained, &drained);
	rig_pass(r, 5);
	assert_int_equal(drained, 0);
	fake->die_taken = false;
	au_serial_tx_done(fake->port); /* and the driver asks for more */
	fake_tx_start(fake->port);
	rig_pass(r, 5);
	assert_int_equal(drained, 1);
	assert_int_equal(fake->sent, 0);
	assert_int_equal(r->done[0], 0);
	assert_int_equal(r->progress[0].started, 16);
	assert_int_equal(r->progress[0].done, 16);
}

static void test_purge(void **state)
{
	struct rig *r = *state;

	rig_arrive(r, "old");
	fake->room = 1;
	rig_send(r, 0, "abc");
	rig_send(r, 1, "def");
	rig_control(r, AU_SERIAL_PURGE, 3, 0, 0);
	assert_int_equal(r->status[7], 0);
	assert_done(r, 0, -AU_ECANCELED, 1);
	assert_done(r, 1, -AU_ECANCELED, 0);
	rig_recv(r, 2, 10, 0, 0, 0);
	assert_done(r, 2, 0, 0);
	rig_control(r, AU_SERIAL_PURGE, 4, 0, 0);
	assert_int_equal(r->status[7], -AU_EINVAL);
}

static void test_drain_waits_for_the_wire(void **state)
{
	struct rig *r = *state;

	fake->busy = true;
	rig_send(r, 0, "abc");
	rig_submit(r, 1, (struct auf_submit){ .op = AU_SERIAL_DRAIN });
	rig_pass(r, 5);
	assert_int_equal(r->done[1], 0);
	fake->busy = false;
	rig_pass(r, 2);
	assert_done(r, 1, 0, 0);
}

static void test_line_settings(void **state)
{
	struct rig *r = *state;
	struct au_serial_line line;

	set_line(r, 9600, 7, 0);
	assert_int_equal(r->status[7], 0);
	assert_int_equal(fake->line.baud, 9600);
	set_line(r, 9600, 9, 0);
	assert_int_equal(r->status[7], -AU_EINVAL);
	set_line(r, 2000000, 8, 0); /* the device refuses */
	assert_int_equal(r->status[7], -AU_EINVAL);
	set_line(r, 9600, 8, 0x80);
	assert_int_equal(r->status[7], -AU_EINVAL);
	rig_control(r, AU_SERIAL_GET_LINE, 0, 0, sizeof(line));
	memcpy(&line, r->data[7], sizeof(line));
	assert_int_equal(line.baud, 9600);
	assert_int_equal(line.data_bits, 7);
	rig_control(r, AU_SERIAL_SET_LINE, 0, 0, 4);
	assert_int_equal(r->status[7], -AU_EINVAL);
	rig_control(r, 99, 0, 0, 0);
	assert_int_equal(r->status[7], -AU_ENOTSUP);
}

static void test_modem_lines(void **state)
{
	struct rig *r = *state;

	assert_int_equal(fake->outputs, AU_MODEM_OUTPUTS); /* raised by the first open */
	rig_control(r, AU_SERIAL_SET_MODEM, AU_MODEM_DTR, 0, 0);
	assert_int_equal(fake->outputs, AU_MODEM_RTS);
	rig_control(r, AU_SERIAL_SET_MODEM, AU_MODEM_CTS, AU_MODEM_CTS, 0);
	assert_int_equal(r->status[7], -AU_EINVAL);
	r->events = 0;
	fake->inputs = AU_MODEM_DSR;
	rig_control(r, AU_SERIAL_GET_MODEM, 0, 0, 0);
	assert_int_equal(r->result[7], AU_MODEM_RTS | AU_MODEM_DSR);
	au_serial_modem_changed(fake->port, AU_MODEM_DSR); /* told already */
	assert_int_equal(r->events, 1);
	assert_int_equal(r->event[0].kind, AU_SERIAL_EVENT_MODEM);
	assert_int_equal(r->event[0].arg[0], AU_MODEM_DSR);
	assert_int_equal(r->event[0].arg[1], AU_MODEM_CTS | AU_MODEM_RI | AU_MODEM_DCD);
	auf_handle_close(r->handle, NULL, NULL);
	r->handle = NULL;
	assert_int_equal(fake->outputs, 0); /* the last one hangs up */
}

static void test_rts_cts(void **state)
{
	struct rig *r = *state;

	set_line(r, 9600, 8, AU_FLOW_RTSCTS);
	fake->inputs = 0;
	au_serial_modem_changed(fake->port, 0);
	rig_send(r, 0, "held");
	assert_int_equal(fake->sent, 0);
	au_serial_modem_changed(fake->port, AU_MODEM_CTS);
	rig_poll(r);
	assert_done(r, 0, 0, 4);

	for (unsigned int i = 0; i < 3 * SERIAL_RING / 4 / 16; i++)
		rig_arrive(r, "0123456789abcdef");
	assert_int_equal(fake->outputs, AU_MODEM_DTR); /* RTS holds the peer */
	for (unsigned int i = 0; i < SERIAL_RING / 4096 / 2 + 2; i++)
		rig_recv(r, 1, 4096, 4096, 0, 0);
	assert_int_equal(fake->outputs, AU_MODEM_OUTPUTS);
}

static void test_xon_xoff(void **state)
{
	struct rig *r = *state;

	set_line(r, 9600, 8, AU_FLOW_XONXOFF);
	rig_arrive(r, "a\x13"
		      "b");
	rig_send(r, 0, "held");
	assert_int_equal(fake->sent, 0);
	rig_arrive(r, "\x11");
	assert_done(r, 0, 0, 4);
	rig_recv(r, 1, 10, 0, 0, 0);
	assert_done(r, 1, 0, 2); /* the control bytes are no data */
	assert_memory_equal(r->data[1], "ab", 2);
	fake->sent = 0;
	for (unsigned int i = 0; i < 3 * SERIAL_RING / 4 / 16; i++)
		rig_arrive(r, "0123456789abcdef");
	assert_int_equal(fake->sent, 1);
	assert_int_equal(fake->wire[0], SERIAL_XOFF);
	for (unsigned int i = 0; i < SERIAL_RING / 4096 / 2 + 2; i++)
		rig_recv(r, 1, 4096, 4096, 0, 0);
	assert_int_equal(fake->sent, 2);
	assert_int_equal(fake->wire[1], SERIAL_XON);
}

static void test_full_ring_leaves_bytes_in_the_device(void **state)
{
	struct rig *r = *state;

	while (au_serial_rx_room(fake->port) >= 16)
		rig_arrive(r, "0123456789abcdef");
	assert_int_equal(au_serial_rx_room(fake->port), 0);
	rig_arrive(r, "lost"); /* a driver that does not ask */
	rig_control(r, AU_SERIAL_GET_COUNTERS, 0, 0, sizeof(struct au_serial_counters));
	assert_int_equal(((struct au_serial_counters *)(void *)r->data[7])->rx_lost, 4);
	assert_int_equal(au_serial_rx_room(fake->port), 0);
	rig_recv(r, 0, 4096, 4096, 0, 0);
	assert_int_equal(fake->rx_starts, 1);
	assert_memory_equal(r->data[0], "0123456789abcdef", 16);
}

static void test_break_holds_sending(void **state)
{
	struct rig *r = *state;

	rig_control(r, AU_SERIAL_SET_BREAK, 1, 0, 0);
	assert_true(fake->brk);
	rig_send(r, 0, "abc");
	assert_int_equal(fake->sent, 0);
	rig_control(r, AU_SERIAL_SET_BREAK, 0, 0, 0);
	assert_false(fake->brk);
	assert_done(r, 0, 0, 3);
}

static void test_conditions_are_counted_and_told(void **state)
{
	struct rig *r = *state;
	struct au_serial_counters *c = (void *)r->data[7];

	r->events = 0;
	au_serial_rx_conditions(fake->port, AU_RX_OVERRUN | AU_RX_PARITY | AU_RX_BREAK | 0x81);
	assert_int_equal(r->events, 3);
	rig_control(r, AU_SERIAL_GET_COUNTERS, 0, 0, sizeof(*c));
	assert_int_equal(c->overrun, 1);
	assert_int_equal(c->parity, 1);
	assert_int_equal(c->framing, 0);
	assert_int_equal(c->breaks, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_send_in_order),
		TEST(test_receive_counts_and_times),
		TEST(test_receives_are_served_in_order),
		TEST(test_cancel),
		TEST(test_cancel_while_the_device_is_given_a_piece),
		TEST(test_a_send_goes_on_in_the_next_host),
		TEST(test_purge),
		TEST(test_drain_waits_for_the_wire),
		TEST(test_line_settings),
		TEST(test_modem_lines),
		TEST(test_rts_cts),
		TEST(test_xon_xoff),
		TEST(test_full_ring_leaves_bytes_in_the_device),
		TEST(test_break_holds_sending),
		TEST(test_conditions_are_counted_and_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
