/* SPDX-License-Identifier: MIT */
/*
 * The serial class on the fake clock, over a driver whose "device" is two arrays. A death is
 * simulated by abandoning a device in the middle and starting another one on the same class state.
 */
#ifndef TESTS_UNIT_SERIAL_RIG_H
#define TESTS_UNIT_SERIAL_RIG_H

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

static inline void fake_tx_start(struct au_serial *port)
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

static inline int fake_set_line(struct au_serial *port, const struct au_serial_line *line)
{
	if (line->baud > 1000000)
		return -AU_EINVAL;
	fake->line = *line;
	return 0;
}

static inline void fake_set_modem(struct au_serial *port, uint32_t outputs)
{
	fake->outputs = outputs;
	fake->modem_writes++;
}

static inline uint32_t fake_get_modem(struct au_serial *port)
{
	return fake->inputs;
}

static inline void fake_set_break(struct au_serial *port, bool on)
{
	fake->brk = on;
	fake->break_writes++;
}

static inline bool fake_tx_idle(struct au_serial *port)
{
	return !fake->busy;
}

static inline void fake_rx_start(struct au_serial *port)
{
	fake->rx_starts++;
}

static const struct au_serial_ops fake_ops = {
	AU_HEAD(struct au_serial_ops), .set_line = fake_set_line,   .set_modem = fake_set_modem,
	.get_modem = fake_get_modem,   .set_break = fake_set_break, .tx_start = fake_tx_start,
	.tx_idle = fake_tx_idle,       .rx_start = fake_rx_start,
};

static inline int fake_prepare(struct au_device *dev)
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

static inline void rig_complete(struct auf_handle *handle, int status, uint32_t result,
				uint16_t device_status, uint32_t slot, uint64_t tag)
{
	struct rig *r = auf_handle_context(handle);

	r->status[slot] = status;
	r->result[slot] = result;
	r->done[slot]++;
	r->order[r->completed++ % 64] = slot;
}

static inline void rig_event(struct auf_handle *handle, const struct au_event *event)
{
	struct rig *r = auf_handle_context(handle);

	r->event[r->events++ % 64] = *event;
}

static inline void rig_poll(struct rig *r)
{
	for (unsigned int i = 0; i < 8; i++)
		auf_lane_poll(r->lane);
}

static inline void rig_pass(struct rig *r, unsigned int ms)
{
	while (ms--) {
		au_fake_advance_ms(1);
		rig_poll(r);
	}
}

static inline void rig_open(struct rig *r, bool replaying)
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

static inline void rig_start(struct rig *r, bool fresh)
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

static inline int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	r->state = calloc(1, AUF_STATE_SIZE);
	assert_int_equal(auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &r->lane), 0);
	rig_start(r, true);
	rig_open(r, false);
	*state = r;
	return 0;
}

static inline void rig_end(struct rig *r)
{
	if (r->handle)
		auf_handle_close(r->handle, NULL, NULL);
	r->handle = NULL;
	auf_device_stop(r->dev);
	auf_device_destroy(r->dev);
	free(fake);
	fake = NULL;
}

static inline int teardown(void **state)
{
	struct rig *r = *state;

	rig_end(r);
	auf_lane_destroy(r->lane);
	free(r->state);
	free(r);
	return 0;
}

static inline void rig_submit(struct rig *r, uint32_t slot, struct auf_submit submit)
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

static inline void rig_send(struct rig *r, uint32_t slot, const char *text)
{
	memcpy(r->data[slot], text, strlen(text));
	rig_submit(r, slot,
		   (struct auf_submit){ .op = AU_SERIAL_SEND, .length = (uint32_t)strlen(text) });
}

static inline void rig_recv(struct rig *r, uint32_t slot, uint32_t length, uint32_t min,
			    uint32_t silence, uint32_t timeout)
{
	rig_submit(r, slot,
		   (struct auf_submit){ .op = AU_SERIAL_RECV,
					.length = length,
					.arg = { min, silence },
					.timeout_ms = timeout });
}

static inline void rig_control(struct rig *r, uint16_t op, uint64_t arg0, uint64_t arg1,
			       uint32_t length)
{
	rig_submit(r, 7, (struct auf_submit){ .op = op, .length = length, .arg = { arg0, arg1 } });
	assert_int_equal(r->done[7], 1);
}

/* Bytes arrive at the device. */
static inline void rig_arrive(struct rig *r, const char *text)
{
	au_serial_rx_begin(fake->port, (uint32_t)strlen(text));
	au_serial_rx(fake->port, (const uint8_t *)text, (uint32_t)strlen(text));
	rig_poll(r);
}

/* The host dies: nobody is asked, the class state stays as it is, a new host starts. */
static inline void rig_die(struct rig *r)
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

static inline void rig_gate(struct rig *r)
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

static inline void set_line(struct rig *r, uint32_t baud, uint8_t bits, uint8_t flow)
{
	struct au_serial_line line = { .size = sizeof(line), .abi = 1, .baud = baud };

	line.data_bits = bits;
	line.stop_bits = 1;
	line.flow = flow;
	memcpy(r->data[7], &line, sizeof(line));
	rig_control(r, AU_SERIAL_SET_LINE, 0, 0, sizeof(line));
}

#endif
