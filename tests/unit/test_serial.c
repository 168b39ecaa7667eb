/* SPDX-License-Identifier: MIT */
/*
 * The serial class on the fake clock, over a driver whose "device" is two arrays. A death is
 * simulated by abandoning a device in the middle and starting another one on the same class state.
 */
#include "auriga/auriga.h"
#include "auriga/driver.h"
#include "auriga/serial.h"
#include "base/note.h"
#include "base/os.h"
#include "class/serial.h"
#include "framework/framework.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 8u

/* ------------------------------------------------------------- the driver */

struct fake {
	struct au_serial *port;
	uint8_t wire[1 << 17]; /* what the device has been given */
	uint32_t sent;
	uint32_t room;	/* bytes that the device takes now */
	bool die_taken; /* return between take and done, as a death would */
	uint32_t outputs, modem_writes, break_writes, rx_starts;
	struct au_serial_line line;
	bool brk, busy;
	uint32_t inputs;
};

static struct fake *fake; /* one at a time */

static void fake_tx_start(struct au_serial *port)
{
	uint8_t buf[16];
	uint32_t n;

	while (fake->room &&
	       (n = au_serial_tx_take(port, buf, fake->room < 16 ? fake->room : 16)) > 0) {
		if (fake->die_taken)
			return;
		memcpy(fake->wire + fake->sent, buf, n);
		fake->sent += n;
		fake->room -= n;
		au_serial_tx_done(port);
	}
}

static int fake_set_line(struct au_serial *port, const struct au_serial_line *line)
{
	if (line->baud > 1000000)
		return -AU_EINVAL;
	fake->line = *line;
	return 0;
}

static void fake_set_modem(struct au_serial *port, uint32_t outputs)
{
	fake->outputs = outputs;
	fake->modem_writes++;
}

static uint32_t fake_get_modem(struct au_serial *port)
{
	return fake->inputs;
}

static void fake_set_break(struct au_serial *port, bool on)
{
	fake->brk = on;
	fake->break_writes++;
}

static bool fake_tx_idle(struct au_serial *port)
{
	return !fake->busy;
}

static void fake_rx_start(struct au_serial *port)
{
	fake->rx_starts++;
}

static const struct au_serial_ops fake_ops = {
	AU_HEAD(struct au_serial_ops), .set_line = fake_set_line,   .set_modem = fake_set_modem,
	.get_modem = fake_get_modem,   .set_break = fake_set_break, .tx_start = fake_tx_start,
	.tx_idle = fake_tx_idle,       .rx_start = fake_rx_start,
};

static int fake_prepare(struct au_device *dev)
{
	const struct au_serial_config config = {
		AU_HEAD(struct au_serial_config),
		.ops = &fake_ops,
		.fifo = 16,
	};

	return au_serial_add(dev, &config, &fake->port);
}

static const struct au_driver fake_driver = {
	AU_HEAD(struct au_driver),
	.prepare = fake_prepare,
};

/* ---------------------------------------------------------------- the rig */

struct rig {
	struct au_lane *lane;
	struct au_device *dev;
	struct auf_handle *handle;
	void *state;
	struct auf_progress progress[SLOTS];
	uint8_t data[SLOTS][4096];
	int status[SLOTS];
	uint32_t result[SLOTS];
	unsigned int done[SLOTS];
	unsigned int order[64], completed;
	struct au_event event[64];
	unsigned int events;
};

static void rig_complete(struct auf_handle *handle, uint32_t slot, uint64_t tag, int status,
			 uint32_t result, uint16_t device_status)
{
	struct rig *r = auf_handle_context(handle);

	r->status[slot] = status;
	r->result[slot] = result;
	r->done[slot]++;
	r->order[r->completed++ % 64] = slot;
}

static void rig_event(struct auf_handle *handle, const struct au_event *event)
{
	struct rig *r = auf_handle_context(handle);

	r->event[r->events++ % 64] = *event;
}

static void rig_poll(struct rig *r)
{
	for (unsigned int i = 0; i < 8; i++)
		auf_lane_poll(r->lane);
}

static void rig_pass(struct rig *r, unsigned int ms)
{
	while (ms--) {
		au_fake_advance_ms(1);
		rig_poll(r);
	}
}

static void rig_open(struct rig *r, bool replaying)
{
	const struct auf_handle_config config = {
		.depth = SLOTS,
		.replaying = replaying,
		.complete = rig_complete,
		.event = rig_event,
		.context = r,
	};

	assert_int_equal(auf_handle_open(auf_device_unit(r->dev, 0), &config, &r->handle), 0);
}

static void rig_start(struct rig *r, bool fresh)
{
	struct au_note note;
	char error[256];
	struct auf_device_config config = {
		.name = "serial0",
		.driver = &fake_driver,
		.lane = r->lane,
		.state = r->state,
		.state_size = AUF_STATE_SIZE,
		.state_fresh = fresh,
		.generation = fresh ? 1 : 2,
		.from = fresh ? AU_POWER_OFF : AU_POWER_FAILED,
		.hold_gate = !fresh,
		.verify = true,
	};
	static const char text[] = "abi 1\nname fake\nversion 1.0\nclass serial\nsummary a fake\n"
				   "match virtual\n";

	fake = calloc(1, sizeof(*fake));
	fake->room = 1 << 16;
	fake->inputs = AU_MODEM_INPUTS;
	assert_int_equal(au_note_parse(text, sizeof(text), "fake", &note, error, sizeof(error)), 0);
	config.note = &note;
	if (auf_device_create(&config, &r->dev, error, sizeof(error)) != 0)
		fail_msg("%s", error);
	assert_int_equal(auf_device_start(r->dev), 0);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	r->state = calloc(1, AUF_STATE_SIZE);
	assert_int_equal(auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &r->lane), 0);
	rig_start(r, true);
	rig_open(r, false);
	*state = r;
	return 0;
}

static void rig_end(struct rig *r)
{
	if (r->handle)
		auf_handle_close(r->handle, NULL, NULL);
	r->handle = NULL;
	auf_device_stop(r->dev);
	auf_device_destroy(r->dev);
	free(fake);
	fake = NULL;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	rig_end(r);
	auf_lane_destroy(r->lane);
	free(r->state);
	free(r);
	return 0;
}

static void rig_submit(struct rig *r, uint32_t slot, struct auf_submit submit)
{
	submit.tag = slot + 100;
	submit.progress = &r->progress[slot];
	if (!(submit.flags & AU_REQ_REPLAY))
		r->progress[slot] = (struct auf_progress){ 0 };
	if (submit.length)
		submit.data = r->data[slot];
	r->done[slot] = 0;
	r->status[slot] = 1;
	assert_int_equal(auf_submit(r->handle, slot, &submit), 0);
	rig_poll(r);
}

static void rig_send(struct rig *r, uint32_t slot, const char *text)
{
	memcpy(r->data[slot], text, strlen(text));
	rig_submit(r, slot,
		   (struct auf_submit){ .op = AU_SERIAL_SEND, .length = (uint32_t)strlen(text) });
}

static void rig_recv(struct rig *r, uint32_t slot, uint32_t length, uint32_t min, uint32_t silence,
		     uint32_t timeout)
{
	rig_submit(r, slot,
		   (struct auf_submit){ .op = AU_SERIAL_RECV,
					.length = length,
					.arg = { min, silence },
					.timeout_ms = timeout });
}

static void rig_control(struct rig *r, uint16_t op, uint64_t arg0, uint64_t arg1, uint32_t length)
{
	rig_submit(r, 7, (struct auf_submit){ .op = op, .length = length, .arg = { arg0, arg1 } });
	assert_int_equal(r->done[7], 1);
}

/* Bytes arrive at the device. */
static void rig_arrive(struct rig *r, const char *text)
{
	au_serial_rx_begin(fake->port, (uint32_t)strlen(text));
	au_serial_rx(fake->port, (const uint8_t *)text, (uint32_t)strlen(text));
	rig_poll(r);
}

/* The host dies: nobody is asked, the class state stays as it is, a new host starts. */
static void rig_die(struct rig *r)
{
	void *copy = malloc(AUF_STATE_SIZE);

	memcpy(copy, r->state, AUF_STATE_SIZE);
	rig_end(r); /* scribbles on the state; what counts is the copy */
	memcpy(r->state, copy, AUF_STATE_SIZE);
	free(copy);
	memset(r->done, 0, sizeof(r->done));
	r->events = r->completed = 0;
	rig_start(r, false);
	rig_open(r, true);
}

static void rig_gate(struct rig *r)
{
	auf_device_open_gate(r->dev);
	rig_poll(r);
}

#define assert_done(r, slot, want_status, want_result)            \
	do {                                                      \
		assert_int_equal((r)->done[slot], 1);             \
		assert_int_equal((r)->status[slot], want_status); \
		assert_int_equal((r)->result[slot], want_result); \
	} while (0)

/* ------------------------------------------------------------------ tests */

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

static void set_line(struct rig *r, uint32_t baud, uint8_t bits, uint8_t flow)
{
	struct au_serial_line line = { .size = sizeof(line), .abi = 1, .baud = baud };

	line.data_bits = bits;
	line.stop_bits = 1;
	line.flow = flow;
	memcpy(r->data[7], &line, sizeof(line));
	rig_control(r, AU_SERIAL_SET_LINE, 0, 0, sizeof(line));
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

/* -------------------------------------------------------------- and death */

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
		TEST(test_send_in_order),
		TEST(test_receive_counts_and_times),
		TEST(test_receives_are_served_in_order),
		TEST(test_cancel),
		TEST(test_cancel_while_the_device_is_given_a_piece),
		TEST(test_purge),
		TEST(test_drain_waits_for_the_wire),
		TEST(test_line_settings),
		TEST(test_modem_lines),
		TEST(test_rts_cts),
		TEST(test_xon_xoff),
		TEST(test_full_ring_leaves_bytes_in_the_device),
		TEST(test_break_holds_sending),
		TEST(test_conditions_are_counted_and_told),
		TEST(test_death_while_sending_skips_and_reports),
		TEST(test_death_while_receiving_is_reported),
		TEST(test_death_at_each_step_of_a_delivery),
		TEST(test_settings_come_back),
		TEST(test_inputs_that_somebody_asks_for_count),
		TEST(test_silence_counts_across_a_death),
		TEST(test_settings_that_the_driver_refuses),
		TEST(test_nobody_comes_back),
		TEST(test_break_of_a_dead_host_ends),
		TEST(test_reported_once),
		TEST(test_hostile_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
