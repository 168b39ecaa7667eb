/* SPDX-License-Identifier: MIT */
/*
 * The framework under a client and a driver that do whatever the input says, in any order, but keep
 * the rules. Then each request that was taken completes once, nothing is left over, and no rule is
 * found broken.
 */
#include "auriga/auriga.h"
#include "base/log.h"
#include "base/note.h"
#include "base/os.h"
#include "framework/framework.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH	8u
#define HANDLES 3u
#define QUEUES	3u
#define HELD	(DEPTH * HANDLES)

struct sender {
	struct auf_handle *handle;
	struct auf_progress progress[DEPTH];
	uint64_t tag[DEPTH]; /* 0: free */
	bool closing;
};

struct held {
	struct au_request *req;
	bool cancelable, canceled;
	bool asked; /* by stop(), and not answered */
	bool kept;
};

static struct {
	const uint8_t *data;
	size_t left;
	struct au_lane *lane;
	struct au_device *dev;
	struct au_unit *unit;
	struct au_queue *queue[QUEUES];
	struct sender sender[HANDLES];
	struct held held[HELD];
	unsigned int held_count;
	uint64_t next_tag;
	unsigned int depth; /* of callbacks within callbacks */
	bool up;
	bool always_on[QUEUES];
	bool pausing; /* between io_stop() and d0_exit(): what it has it is to let go of */
	unsigned int references, asks;
} f;

static void insist(bool holds)
{
	if (!holds)
		abort();
}

static unsigned int byte(void)
{
	if (!f.left)
		return 0;
	f.left--;
	return *f.data++;
}

/* ------------------------------------------------------------------- driver */

static void held_remove(unsigned int i)
{
	f.held[i] = f.held[--f.held_count];
}

static struct held *held_find(const struct au_request *req)
{
	for (unsigned int i = 0; i < f.held_count; i++)
		if (f.held[i].req == req)
			return &f.held[i];
	abort();
}

static void driver_cancel(struct au_request *req)
{
	struct held *h = held_find(req);

	insist(h->cancelable);
	h->cancelable = false;
	h->canceled = true;
	/* In D3 there is nothing to wait for. */
	if (!f.up || h->kept || (byte() & 1)) {
		held_remove((unsigned int)(h - f.held));
		au_request_complete(req, byte() & 1 ? -AU_ECANCELED : 0, 0);
	}
}

/* One thing that a driver may do with a request that it holds. */
static void driver_act(unsigned int i, unsigned int what)
{
	struct held *h = &f.held[i];
	struct au_request *req = h->req;

	if (h->kept)
		return; /* until it is resumed */
	if (what % 6 == 0) {
		if (!h->cancelable && !h->canceled) {
			h->cancelable = true;
			if (au_request_set_cancelable(req, driver_cancel) != 0) {
				h->cancelable = false;
				h->canceled = true;
			}
		}
		return;
	}
	if (h->cancelable) {
		int err = au_request_clear_cancelable(req);

		insist(err == 0);
		h->cancelable = false;
	}
	if (what % 6 == 1)
		return;
	if (h->asked && (what & 64)) {
		h->asked = false;
		h->kept = !(what & 128);
		if (!h->kept)
			held_remove(i);
		insist(au_request_stop_ack(req, what & 128) == 0);
		return;
	}
	held_remove(i);
	if (what % 6 == 2)
		au_request_requeue(req);
	else if (what % 6 == 3)
		au_request_forward(req, f.queue[byte() % QUEUES]);
	else
		au_request_complete(req, what & 64 ? -AU_EIO : 0, 0);
}

static void driver_hold(struct au_request *req)
{
	insist(f.held_count < HELD);
	f.held[f.held_count++] = (struct held){ .req = req };
	if (byte() & 1)
		driver_act(f.held_count - 1, byte());
}

static bool driver_always_on(const struct au_queue *queue)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		if (f.queue[i] == queue)
			return f.always_on[i];
	abort();
}

static void driver_deliver(struct au_queue *queue, struct au_request *req)
{
	insist(f.up || driver_always_on(queue));
	driver_hold(req);
}

static void driver_stop(struct au_queue *queue, struct au_request *req, uint32_t why)
{
	struct held *h = held_find(req);

	if (why == AU_STOP_POWER) {
		insist(f.pausing && !h->asked && !h->kept && !driver_always_on(queue));
		h->asked = true;
		if (byte() & 1)
			driver_act((unsigned int)(h - f.held), byte());
		return;
	}
	insist(!h->cancelable);
	held_remove((unsigned int)(h - f.held));
	insist(au_request_stop_ack(req, byte() & 1) == 0);
}

static void driver_resume(struct au_queue *queue, struct au_request *req)
{
	struct held *h = held_find(req);

	insist(f.up && h->kept);
	h->kept = false;
	if (byte() & 1)
		driver_act((unsigned int)(h - f.held), byte());
}

/* It lets go of everything that it was asked about, in time. */
static void driver_let_go(void)
{
	for (unsigned int i = f.held_count; i-- > 0;) {
		struct held h = f.held[i];

		if (h.kept || driver_always_on(au_request_queue(h.req)))
			continue;
		if (h.cancelable)
			insist(au_request_clear_cancelable(h.req) == 0);
		held_remove(i);
		au_request_complete(h.req, 0, 0);
		i = f.held_count; /* more may have happened */
	}
}

static void driver_ready(struct au_queue *queue)
{
	struct au_request *req;

	while ((byte() & 3) && (req = au_queue_next(queue)))
		driver_hold(req);
}

static int driver_prepare(struct au_device *dev)
{
	const struct au_unit_config unit = { AU_HEAD(struct au_unit_config) };
	struct au_queue_config queue = { AU_HEAD(struct au_queue_config), .deliver = driver_deliver,
					 .ready = driver_ready };

	insist(au_unit_add(dev, &unit, &f.unit) == 0);
	for (unsigned int i = 0; i < QUEUES; i++) {
		unsigned int flags = byte();

		queue.kind = flags % 3;
		f.always_on[i] = (flags & 48) == 48;
		queue.flags = f.always_on[i] ? AU_QUEUE_ALWAYS_ON : 0;
		queue.stop = flags & 64 ? driver_stop : NULL;
		queue.resume = flags & 64 ? driver_resume : NULL;
		queue.depth = byte() % 4;
		insist(au_queue_create(f.unit, &queue, &f.queue[i]) == 0);
		if (i)
			insist(au_queue_route(f.queue[i], (uint16_t)(16 + i)) == 0);
	}
	return 0;
}

static int driver_d0_entry(struct au_device *dev, enum au_power from)
{
	f.up = true;
	return 0;
}

/* What it still holds it gives up here. */
static int driver_d0_exit(struct au_device *dev, enum au_power to)
{
	f.pausing = false;
	for (unsigned int i = 0; to == AU_POWER_D3 && i < f.held_count; i++)
		insist(f.held[i].kept || driver_always_on(au_request_queue(f.held[i].req)));
	while (to != AU_POWER_D3 && f.held_count) {
		struct held h = f.held[f.held_count - 1];

		insist(!h.cancelable);
		held_remove(f.held_count - 1);
		au_request_complete(h.req, -AU_ENODEV, 0);
	}
	f.up = false;
	return 0;
}

static int driver_io_start(struct au_device *dev)
{
	insist(f.up && !f.pausing);
	return 0;
}

static void driver_io_stop(struct au_device *dev)
{
	insist(f.up && !f.pausing);
	f.pausing = true;
}

static void driver_release(struct au_device *dev)
{
	/* Stopped in D3: what was there has ended. */
	f.held_count = 0;
	for (; f.references; f.references--)
		au_device_resume_idle(dev, "fuzz");
}

static const struct au_driver driver = {
	AU_HEAD(struct au_driver), .release = driver_release, .io_start = driver_io_start,
	.io_stop = driver_io_stop, .prepare = driver_prepare, .d0_entry = driver_d0_entry,
	.d0_exit = driver_d0_exit,
};

/* ------------------------------------------------------------------- client */

static void client_send(struct sender *s, uint32_t slot)
{
	unsigned int flags = byte();
	struct auf_submit submit = { .op = (uint16_t)(15 + flags % 4),
				     .length = 1,
				     .tag = ++f.next_tag,
				     .timeout_ms = flags & 16 ? byte() + 1 : 0,
				     .suspect = flags & 32,
				     .progress = &s->progress[slot] };
	int err;

	if (!s->handle || s->tag[slot])
		return;
	atomic_store(&s->progress[slot].flags, 0);
	s->tag[slot] = submit.tag;
	err = auf_submit(s->handle, slot, &submit);
	insist(err == 0 || err == -AU_ENODEV);
	if (err)
		s->tag[slot] = 0;
}

static void client_complete(struct auf_handle *handle, int status, uint32_t result,
			    uint16_t device_status, uint32_t slot, uint64_t tag)
{
	struct sender *s = auf_handle_context(handle);

	insist(slot < DEPTH && s->tag[slot] == tag && !s->closing);
	s->tag[slot] = 0;
	if (f.depth < 20 && (byte() & 7) == 7) {
		f.depth++;
		client_send(s, slot);
		f.depth--;
	}
}

static void client_event(struct auf_handle *handle, const struct au_event *event)
{
	insist(event->kind == AU_EVENT_GONE);
}

static void client_closed(void *context)
{
	struct sender *s = context;

	insist(s->closing);
	memset(s->tag, 0, sizeof(s->tag));
	s->closing = false;
}

static void client_open(struct sender *s)
{
	const struct auf_handle_config config = {
		.depth = DEPTH, .complete = client_complete, .event = client_event, .context = s
	};

	if (s->handle || s->closing)
		return;
	if (auf_handle_open(f.unit, &config, &s->handle) != 0)
		s->handle = NULL;
}

static void client_close(struct sender *s)
{
	struct auf_handle *handle = s->handle;

	if (!handle)
		return;
	s->handle = NULL;
	s->closing = true;
	auf_handle_close(handle, client_closed, s);
}

/* --------------------------------------------------------------------- both */

static void power_done(void *context, int result)
{
	insist(f.asks-- > 0);
	insist(result == 0 || result == -AU_EBUSY || result == -AU_ENODEV);
}

static void step(void)
{
	unsigned int what = byte();
	struct sender *s = &f.sender[(what >> 4) % HANDLES];
	uint32_t slot = byte() % DEPTH;

	switch (what % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		client_send(s, slot);
		break;
	case 5:
		if (s->handle)
			auf_cancel(s->handle, slot, s->tag[slot] ? s->tag[slot] : 1);
		break;
	case 6:
	case 7:
	case 8:
		if (f.held_count)
			driver_act(slot % f.held_count, byte());
		break;
	case 9:
		if (f.up)
			au_queue_set_state(f.queue[slot % QUEUES], byte() % 4);
		break;
	case 10:
		if (f.pausing)
			driver_let_go();
		au_fake_advance_ms(slot * slot * 4 + 1);
		break;
	case 11:
		client_open(s);
		break;
	case 12:
		if (slot == 0)
			client_close(s);
		break;
	case 13:
		if (f.up)
			driver_ready(f.queue[slot % QUEUES]);
		break;
	case 14:
		auf_device_open_gate(f.dev);
		if (slot == 7) {
			f.references++;
			au_device_stop_idle(f.dev, "fuzz");
		} else if (slot > 4 && f.references) {
			f.references--;
			au_device_resume_idle(f.dev, "fuzz");
		} else if (slot == 1) {
			auf_device_set_idle(f.dev, byte() % 64);
		}
		break;
	case 15:
		if (slot == 7)
			auf_device_surprise(f.dev);
		else if (slot == 6)
			auf_device_stop(f.dev);
		else if (auf_device_power(f.dev, slot % 4, power_done, NULL) == 0)
			f.asks++;
		break;
	}
	auf_lane_poll(f.lane);
}

static void broken(struct au_device *dev, const char *rule)
{
	abort();
}

static void log_sink(void *context, enum au_log_level level, const char *line)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] =
		"abi 1\nname f\nversion 1.0\nclass raw\nsummary s\nmatch virtual\n";
	static char state[AUF_STATE_SIZE]; /* not of this test, and too large to make each time */
	struct auf_device_config config = { .name = "f0",
					    .driver = &driver,
					    .generation = 1,
					    .state = state,
					    .state_size = sizeof(state) };
	struct au_note note;
	char error[200];

	memset(&f, 0, sizeof(f));
	f.data = data;
	f.left = size;
	au_log_set_sink(log_sink, NULL);
	auf_verify_action = broken;
	insist(au_note_parse(text, sizeof(text), "f", &note, error, sizeof(error)) == 0);
	insist(auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &f.lane) == 0);
	config.note = &note;
	config.lane = f.lane;
	config.hold_gate = byte() & 1;
	config.verify = byte() & 1;
	config.idle_ms = byte() & 1 ? 20 : 0;
	insist(auf_device_create(&config, &f.dev, error, sizeof(error)) == 0);
	insist(auf_device_start(f.dev) == 0);
	client_open(&f.sender[0]);
	while (f.left)
		step();
	auf_device_stop(f.dev);
	for (unsigned int i = 0; i < 4; i++)
		auf_lane_poll(f.lane);
	insist(f.held_count == 0);
	for (unsigned int i = 0; i < HANDLES; i++) {
		for (unsigned int slot = 0; slot < DEPTH; slot++)
			insist(f.sender[i].tag[slot] == 0);
		client_close(&f.sender[i]);
		insist(!f.sender[i].closing);
	}
	auf_device_destroy(f.dev);
	insist(f.asks == 0);
	auf_lane_destroy(f.lane);
	insist(au_fake_allocated() == 0);
	return 0;
}
