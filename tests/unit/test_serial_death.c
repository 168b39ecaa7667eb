/* SPDX-License-Identifier: MIT */
/* Serial units: what a host leaves behind, and what the next one makes of it. */
#include "serial_rig.h"

static void replay(struct rig *r, uint32_t slot, uint16_t op, uint32_t length, uint32_t min)
{
	rig_submit(r, slot,
		   (struct auf_submit){ .op = op,
					.flags = AU_REQ_REPLAY,
					.length = length,
					.arg = { min, 0 },
					.started = r->progress[slot].started,
					.done = r->progress[slot].done });
}

static void test_death_while_sending_skips_and_reports(void **state)
{
	struct rig *r = *state;

	fake->room = 5;
	rig_send(r, 0, "0123456789");
	fake->room = 3;
	fake->die_taken = true;
	fake_tx_start(fake->port); /* bytes 5 to 7 may be on the wire or not */
	rig_die(r);
	assert_int_equal(r->events, 1);
	assert_int_equal(r->event[0].kind, AU_SERIAL_EVENT_TX_UNCERTAIN);
	assert_int_equal(r->event[0].count, 3);
	assert_int_equal(r->event[0].arg[0], 5);
	replay(r, 0, AU_SERIAL_SEND, 10, 0);
	assert_int_equal(fake->sent, 0); /* the gate is closed */
	rig_gate(r);
	assert_done(r, 0, 0, 10);
	assert_int_equal(fake->sent, 2);
	assert_memory_equal(fake->wire, "89", 2);
	rig_control(r, AU_SERIAL_GET_COUNTERS, 0, 0, sizeof(struct au_serial_counters));
	assert_int_equal(((struct au_serial_counters *)(void *)r->data[7])->tx_uncertain, 3);
	assert_int_equal(((struct au_serial_counters *)(void *)r->data[7])->tx_bytes, 10);
}

static void test_death_while_receiving_is_reported(void **state)
{
	struct rig *r = *state;

	rig_arrive(r, "abc");
	au_serial_rx_begin(fake->port, 14); /* taken from the device, and gone with the host */
	rig_die(r);
	assert_int_equal(r->events, 1);
	assert_int_equal(r->event[0].kind, AU_SERIAL_EVENT_RX_UNCERTAIN);
	assert_int_equal(r->event[0].count, 14);
	assert_int_equal(r->event[0].arg[0], 3);
	rig_gate(r);
	rig_recv(r, 0, 10, 0, 0, 0);
	assert_done(r, 0, 0, 3);
	assert_memory_equal(r->data[0], "abc", 3);
}

/* A delivery is cut off at each of its stores: each byte comes exactly once all the same. */
static void test_death_at_each_step_of_a_delivery(void **state)
{
	struct rig *r = *state;

	for (unsigned int step = 0; step < 4; step++) {
		struct serial_state *st = r->state;
		uint64_t tail = st->rx_tail;

		/* Two bytes of four are there; then two more, and the delivery of those is cut off.
		 */
		rig_recv(r, 0, 4, 4, 0, 0);
		rig_arrive(r, "ab");
		assert_int_equal(r->progress[0].done, 2);
		memcpy(r->data[0] + 2, "??", 2);
		memcpy((uint8_t *)r->state + 4096 + (tail + 2) % SERIAL_RING, "cd", 2);
		st->rx_head += 2;
		st->rx_started = st->rx_head;
		st->give.count = 2;
		st->give.base = 2;
		st->give.end = tail + 4;
		st->give.active = 1;
		if (step >= 1) {
			memcpy(r->data[0] + 2, "cd", 2);
			r->progress[0].started = (uint32_t)(tail + 4);
		}
		if (step >= 2)
			r->progress[0].done = 4;
		if (step >= 3)
			st->rx_tail = tail + 4;
		rig_die(r);
		replay(r, 0, AU_SERIAL_RECV, 4, 4);
		rig_gate(r);
		assert_done(r, 0, 0, 4);
		assert_memory_equal(r->data[0], "abcd", 4);
		rig_recv(r, 1, 4, 0, 0, 0);
		assert_done(r, 1, 0, 0); /* and nothing twice */
	}
}

static void test_settings_come_back(void **state)
{
	struct rig *r = *state;

	set_line(r, 4800, 7, AU_FLOW_RTSCTS);
	rig_control(r, AU_SERIAL_SET_MODEM, AU_MODEM_OUTPUTS, AU_MODEM_DTR, 0);
	rig_control(r, AU_SERIAL_SET_BREAK, 1, 0, 0);
	rig_die(r);
	rig_gate(r);
	assert_int_equal(fake->line.baud, 4800);
	assert_int_equal(fake->line.data_bits, 7);
	assert_int_equal(fake->outputs, AU_MODEM_DTR);
	assert_int_equal(fake->modem_writes, 1); /* one write, and it was the right one */
	assert_true(fake->brk);
}

/* The driver that reads the inputs takes the interrupt away that would have told of them. */
static void test_inputs_that_somebody_asks_for_count(void **state)
{
	struct rig *r = *state;

	set_line(r, 9600, 8, AU_FLOW_RTSCTS);
	fake->inputs = AU_MODEM_DSR;
	au_serial_modem_changed(fake->port, fake->inputs);
	rig_send(r, 0, "held");
	assert_int_equal(r->done[0], 0);
	r->events = 0;
	fake->inputs |= AU_MODEM_CTS; /* and no interrupt comes */
	rig_control(r, AU_SERIAL_GET_MODEM, 0, 0, 0);
	assert_true(r->result[7] & AU_MODEM_CTS);
	assert_done(r, 0, 0, 4);
	assert_int_equal(r->events, 1);
	assert_int_equal(r->event[0].kind, AU_SERIAL_EVENT_MODEM);
	assert_int_equal(r->event[0].arg[1], AU_MODEM_CTS);
	fake->inputs |= AU_MODEM_DCD;
	set_line(r, 4800, 8, 0);
	assert_int_equal(r->events, 2);
	assert_int_equal(r->event[1].arg[1], AU_MODEM_DCD);
}

/* Two were complete, and nobody had been shown it: what comes later goes to neither of them. */
static void test_death_before_completions_are_shown(void **state)
{
	struct rig *r = *state;

	rig_recv(r, 0, 10, 1, 0, 0);
	rig_arrive(r, "ab");
	rig_recv(r, 1, 10, 1, 0, 0);
	rig_arrive(r, "cde");
	rig_die(r);
	rig_arrive(r, "fg");
	replay(r, 0, AU_SERIAL_RECV, 10, 1);
	replay(r, 1, AU_SERIAL_RECV, 3, 1);
	rig_gate(r);
	assert_done(r, 0, 0, 2);
	assert_memory_equal(r->data[0], "ab", 2);
	assert_done(r, 1, 0, 3);
	rig_recv(r, 2, 10, 0, 0, 0);
	assert_done(r, 2, 0, 2);
	assert_memory_equal(r->data[2], "fg", 2);
}

static void test_silence_counts_across_a_death(void **state)
{
	struct rig *r = *state;

	rig_recv(r, 0, 10, 10, 50, 0);
	rig_arrive(r, "abc");
	rig_die(r);
	rig_submit(r, 0,
		   (struct auf_submit){ .op = AU_SERIAL_RECV,
					.flags = AU_REQ_REPLAY,
					.length = 10,
					.arg = { 10, 50 },
					.started = r->progress[0].started,
					.done = r->progress[0].done });
	rig_gate(r);
	rig_pass(r, 40);
	assert_int_equal(r->done[0], 0);
	rig_pass(r, 20);
	assert_done(r, 0, 0, 3);
}

/* A dead host can leave settings that look right and that no driver can do. */
static void test_settings_that_the_driver_refuses(void **state)
{
	struct rig *r = *state;
	struct serial_state *st = r->state;

	set_line(r, 4800, 7, 0);
	st->line.baud = 2000000;
	rig_die(r);
	rig_gate(r);
	assert_int_equal(fake->line.baud, 115200);
	assert_int_equal(fake->line.data_bits, 8);
	rig_send(r, 0, "abc");
	assert_done(r, 0, 0, 3);
}

/* Host and clients die together: nobody else hangs up. */
static void test_nobody_comes_back(void **state)
{
	struct rig *r = *state;

	rig_control(r, AU_SERIAL_SET_MODEM, AU_MODEM_OUTPUTS, AU_MODEM_DTR, 0);
	rig_control(r, AU_SERIAL_SET_BREAK, 1, 0, 0);
	rig_die(r);
	auf_handle_close(r->handle, NULL, NULL);
	r->handle = NULL;
	/* what a host that nobody comes back to finds */
	((struct serial_state *)r->state)->outputs = AU_MODEM_DTR;
	rig_gate(r);
	assert_int_equal(fake->outputs, 0);
	assert_false(fake->brk);
	/* One that was only late gets its lines back, and is the next to hang up. */
	rig_open(r, true);
	assert_int_equal(fake->outputs, AU_MODEM_DTR);
	auf_handle_close(r->handle, NULL, NULL);
	assert_int_equal(fake->outputs, 0);
	rig_open(r, false);
	assert_int_equal(fake->outputs, AU_MODEM_OUTPUTS);
}

/* A FIFO that ran over while there was no host: found before any client is back. */
static void test_conditions_of_the_time_between(void **state)
{
	struct rig *r = *state;

	rig_die(r);
	auf_handle_close(r->handle, NULL, NULL);
	au_serial_rx_conditions(fake->port, AU_RX_OVERRUN | AU_RX_FRAMING);
	au_serial_rx_conditions(fake->port, AU_RX_OVERRUN);
	rig_open(r, true);
	assert_int_equal(r->events, 0);
	rig_gate(r);
	assert_int_equal(r->events, 2);
	assert_int_equal(r->event[0].kind, AU_SERIAL_EVENT_OVERRUN);
	assert_int_equal(r->event[1].kind, AU_SERIAL_EVENT_FRAMING);
	au_serial_rx_conditions(fake->port, AU_RX_BREAK);
	assert_int_equal(r->events, 3);
	rig_control(r, AU_SERIAL_GET_COUNTERS, 0, 0, sizeof(struct au_serial_counters));
	assert_int_equal(((struct au_serial_counters *)(void *)r->data[7])->overrun, 2);
}

static void test_break_of_a_dead_host_ends(void **state)
{
	struct rig *r = *state;

	rig_die(r);
	assert_int_equal(fake->break_writes, 1); /* whatever the device does: it is told */
	assert_false(fake->brk);
}

static void test_reported_once(void **state)
{
	struct rig *r = *state;

	au_serial_rx_begin(fake->port, 4);
	rig_die(r);
	assert_int_equal(r->events, 1);
	rig_die(r); /* before the gate opened: told again */
	assert_int_equal(r->events, 1);
	rig_gate(r);
	rig_die(r);
	assert_int_equal(r->events, 0);
}

static void test_hostile_state(void **state)
{
	struct rig *r = *state;

	for (unsigned int seed = 1; seed < 200; seed++) {
		uint32_t *words = r->state;
		struct serial_state *st = r->state;

		srand(seed);
		rig_end(r);
		for (size_t i = 2; i < 4096 / sizeof(*words); i++)
			words[i] = (uint32_t)rand() * (rand() % 3 == 0 ? 0xffffu : 1u);
		st->magic = 0x53455231u;
		st->version = 1;
		rig_start(r, false);
		rig_open(r, true);
		rig_gate(r);
		rig_send(r, 0, "abc");
		if (!r->done[0]) { /* a break or a flow control that was on may be on */
			set_line(r, 9600, 8, 0);
			rig_control(r, AU_SERIAL_SET_BREAK, 0, 0, 0);
		}
		assert_done(r, 0, 0, 3);
		rig_control(r, AU_SERIAL_PURGE, 1, 0, 0);
		rig_arrive(r, "xyz");
		rig_recv(r, 1, 3, 3, 0, 0);
		assert_done(r, 1, 0, 3);
		assert_memory_equal(r->data[1], "xyz", 3);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_death_while_sending_skips_and_reports),
		TEST(test_death_while_receiving_is_reported),
		TEST(test_death_at_each_step_of_a_delivery),
		TEST(test_settings_come_back),
		TEST(test_inputs_that_somebody_asks_for_count),
		TEST(test_death_before_completions_are_shown),
		TEST(test_silence_counts_across_a_death),
		TEST(test_settings_that_the_driver_refuses),
		TEST(test_nobody_comes_back),
		TEST(test_conditions_of_the_time_between),
		TEST(test_break_of_a_dead_host_ends),
		TEST(test_reported_once),
		TEST(test_hostile_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
