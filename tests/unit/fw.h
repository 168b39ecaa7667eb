/* SPDX-License-Identifier: MIT */
/*
 * A device for tests of the framework: on a lane that the test polls, on the fake clock, with a
 * driver whose callbacks note what happens and do what the test wants. One at a time.
 */
#ifndef TESTS_UNIT_FW_H
#define TESTS_UNIT_FW_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/note.h"
#include "base/os.h"
#include "framework/framework.h"
#include "auriga/auriga.h"

#define FW_OP	  16
#define FW_DEPTH  64u
#define FW_HELD	  64u
#define FW_QUEUES 3u

struct fw_done {
	uint64_t tag;
	int status;
	uint32_t result;
};

struct fw {
	struct au_lane *lane;
	struct au_device *dev;
	struct au_unit *unit;
	struct auf_handle *handle;
	struct auf_progress progress[FW_DEPTH];

	/* what happened */
	char trace[8192];
	struct fw_done done[4096];
	unsigned int done_count;
	char rule[64]; /* the last rule broken */
	unsigned int rules;
	struct au_event event;
	unsigned int events;
	char line[600]; /* the last message */
	unsigned int lines;

	/* what the driver does */
	const char *fail;     /* this callback fails */
	const char *surprise; /* during this callback the device goes */
	bool complete_at_once;
	bool cancelable;       /* held requests are */
	bool cancel_completes; /* ... and their callback completes them */
	struct au_request *held[FW_HELD];
	unsigned int held_count;
	unsigned int queue_count;
	struct au_queue_config queue_config[FW_QUEUES];
	struct au_queue *queue[FW_QUEUES];
	void (*prepare)(struct au_device *dev);
	void (*deliver)(struct au_queue *queue, struct au_request *req);
	void (*on_done)(uint64_t tag);
	void (*on_callback)(struct au_device *dev, const char *name);
};

static struct fw fw;

static inline void fw_note(const char *fmt, ...)
{
	size_t length = strlen(fw.trace);
	va_list args;

	va_start(args, fmt);
	vsnprintf(fw.trace + length, sizeof(fw.trace) - length, fmt, args);
	va_end(args);
	strncat(fw.trace, " ", sizeof(fw.trace) - strlen(fw.trace) - 1);
}

/* The trace so far must be just this; it starts anew. */
#define fw_expect(text)                                \
	do {                                           \
		assert_string_equal(fw.trace, (text)); \
		fw.trace[0] = '\0';                    \
	} while (0)

static inline int fw_callback(struct au_device *dev, const char *name)
{
	fw_note("%s", name);
	if (fw.on_callback)
		fw.on_callback(dev, name);
	if (fw.surprise && strcmp(fw.surprise, name) == 0)
		au_device_gone(dev);
	return fw.fail && strcmp(fw.fail, name) == 0 ? -AU_EIO : 0;
}

/* ---------------------------------------------------------------- requests */

static inline void fw_drop(const struct au_request *req)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < fw.held_count; i++)
		if (fw.held[i] != req)
			fw.held[kept++] = fw.held[i];
	fw.held_count = kept;
}

static inline void fw_canceled(struct au_request *req)
{
	fw_note("cancel%llu", (unsigned long long)req->arg[0]);
	if (fw.on_callback)
		fw.on_callback(fw.dev, "cancel");
	if (!fw.cancel_completes)
		return;
	fw_drop(req);
	au_request_complete(req, -AU_ECANCELED, 0);
}

static inline void fw_hold(struct au_request *req)
{
	assert_true(fw.held_count < FW_HELD);
	fw.held[fw.held_count++] = req;
	if (fw.cancelable && au_request_set_cancelable(req, fw_canceled) != 0) {
		fw_drop(req);
		au_request_complete(req, -AU_ECANCELED, 0);
	}
}

static inline void fw_deliver(struct au_queue *queue, struct au_request *req)
{
	fw_note("deliver%llu", (unsigned long long)req->arg[0]);
	if (fw.deliver)
		fw.deliver(queue, req);
	else if (fw.complete_at_once)
		au_request_complete(req, 0, req->length);
	else
		fw_hold(req);
}

static inline void fw_settled(struct au_queue *queue, enum au_queue_state state)
{
	fw_note("settled%d", (int)state);
}

/* Complete the oldest that the driver holds. */
static inline void fw_complete_oldest(void)
{
	struct au_request *req = fw.held[0];

	assert_true(fw.held_count > 0);
	fw_drop(req);
	if (!fw.cancelable || au_request_clear_cancelable(req) == 0)
		au_request_complete(req, 0, req->length);
}

/* ------------------------------------------------------------------ driver */

static inline void fw_opened(struct au_unit *unit)
{
	fw_note("opened");
}

static inline void fw_closed(struct au_unit *unit)
{
	fw_note("closed");
}

static inline int fw_prepare(struct au_device *dev)
{
	const struct au_unit_config config = { AU_HEAD(struct au_unit_config), .opened = fw_opened,
					       .closed = fw_closed };
	int err = au_unit_add(dev, &config, &fw.unit);

	for (unsigned int i = 0; i < fw.queue_count && !err; i++) {
		fw.queue_config[i].size = sizeof(fw.queue_config[i]);
		fw.queue_config[i].abi = AU_ABI;
		if (fw.queue_config[i].kind != AU_QUEUE_MANUAL)
			fw.queue_config[i].deliver = fw_deliver;
		fw.queue_config[i].settled = fw_settled;
		err = au_queue_create(fw.unit, &fw.queue_config[i], &fw.queue[i]);
		/* the second takes operation 17, and so on */
		if (!err && i)
			err = au_queue_route(fw.queue[i], (uint16_t)(FW_OP + i));
	}
	if (fw.prepare)
		fw.prepare(dev);
	return err ? err : fw_callback(dev, "prepare");
}

static inline void fw_release(struct au_device *dev)
{
	fw_callback(dev, "release");
}

static inline int fw_d0_entry(struct au_device *dev, enum au_power from)
{
	return fw_callback(dev, "d0_entry");
}

static inline int fw_d0_exit(struct au_device *dev, enum au_power to)
{
	return fw_callback(dev, "d0_exit");
}

static inline int fw_io_start(struct au_device *dev)
{
	return fw_callback(dev, "io_start");
}

static inline void fw_io_stop(struct au_device *dev)
{
	fw_callback(dev, "io_stop");
}

static inline void fw_surprise_removed(struct au_device *dev)
{
	fw_note("surprise_removed");
	if (fw.on_callback)
		fw.on_callback(dev, "surprise_removed");
}

static const struct au_driver fw_driver = {
	AU_HEAD(struct au_driver), .context_size = 64,	    .prepare = fw_prepare,
	.release = fw_release,	   .d0_entry = fw_d0_entry, .d0_exit = fw_d0_exit,
	.io_start = fw_io_start,   .io_stop = fw_io_stop,   .surprise_removed = fw_surprise_removed,
};

static const char fw_note_text[] = "abi 1\nname test\nversion 1.0\nclass raw\nsummary for tests\n"
				   "match virtual\nparam uint count 3 1 10 how many\n"
				   "param string word - 0 0 a word\nparam bool flag 1 0 1 a flag\n";

/* ------------------------------------------------------------------- setup */

static inline void fw_complete(struct auf_handle *handle, int status, uint32_t result,
			       uint16_t device_status, uint32_t slot, uint64_t tag)
{
	if (fw.done_count < sizeof(fw.done) / sizeof(fw.done[0]))
		fw.done[fw.done_count] = (struct fw_done){ tag, status, result };
	fw.done_count++;
	if (fw.on_done)
		fw.on_done(tag);
}

static inline void fw_event(struct auf_handle *handle, const struct au_event *event)
{
	fw.event = *event;
	fw.events++;
}

static inline void fw_notice(void *context, struct au_device *dev, enum auf_notice what,
			     void *object)
{
	static const char *const names[] = {
		"unit+", "unit-", "gone", "failed", "gate", "D0", "D3"
	};

	if (what != AUF_UNIT_ADDED)
		fw_note("<%s>", names[what]);
}

static inline void fw_broken(struct au_device *dev, const char *rule)
{
	snprintf(fw.rule, sizeof(fw.rule), "%s", rule);
	fw.rules++;
}

static inline void fw_log(void *context, enum au_log_level level, const char *line)
{
	snprintf(fw.line, sizeof(fw.line), "%s", line);
	fw.lines++;
}

/* Forget everything; then the test says what it wants. */
static inline void fw_reset(void)
{
	memset(&fw, 0, sizeof(fw));
	fw.queue_count = 1;
	fw.queue_config[0].kind = AU_QUEUE_PARALLEL;
	auf_verify_action = fw_broken;
	au_log_set_sink(fw_log, NULL);
	au_log_set_level(AU_LOG_INFO);
}

/* A lane and a device; @change may alter how it is made. */
static inline int fw_create(void (*change)(struct auf_device_config *config))
{
	struct auf_device_config config = { .name = "test0",
					    .driver = &fw_driver,
					    .generation = 1,
					    .from = AU_POWER_OFF,
					    .notify = fw_notice };
	struct au_note note;
	char error[256] = "";
	int err;

	assert_int_equal(au_note_parse(fw_note_text, sizeof(fw_note_text), "test", &note, error,
				       sizeof(error)),
			 0);
	assert_int_equal(auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &fw.lane), 0);
	config.note = &note;
	config.lane = fw.lane;
	if (change)
		change(&config);
	err = auf_device_create(&config, &fw.dev, error, sizeof(error));
	if (err)
		snprintf(fw.line, sizeof(fw.line), "%s", error);
	return err;
}

static inline void fw_open(void)
{
	const struct auf_handle_config config = { .depth = FW_DEPTH,
						  .complete = fw_complete,
						  .event = fw_event };

	assert_int_equal(auf_handle_open(fw.unit, &config, &fw.handle), 0);
}

/* All of it, and a handle. */
static inline void fw_up(void (*change)(struct auf_device_config *config))
{
	assert_int_equal(fw_create(change), 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	fw_open();
	fw.trace[0] = '\0';
}

static inline void fw_down(void)
{
	if (fw.handle)
		auf_handle_close(fw.handle, NULL, NULL);
	auf_device_stop(fw.dev);
	auf_device_destroy(fw.dev);
	auf_lane_destroy(fw.lane);
	fw.dev = NULL;
	fw.lane = NULL;
	assert_int_equal(au_fake_allocated(), 0);
}

static inline void fw_turns(unsigned int count)
{
	while (count--)
		auf_lane_poll(fw.lane);
}

static inline void fw_pass(uint64_t ms)
{
	au_fake_advance_ms(ms);
	fw_turns(3);
}

static inline int fw_send_as(uint32_t slot, struct auf_submit submit)
{
	submit.op = submit.op ? submit.op : FW_OP;
	submit.arg[0] = slot;
	submit.tag = submit.tag ? submit.tag : slot;
	submit.length = 1000 + slot;
	submit.progress = &fw.progress[slot];
	fw.progress[slot].flags = 0;
	return auf_submit(fw.handle, slot, &submit);
}

static inline void fw_send(uint32_t slot)
{
	assert_int_equal(fw_send_as(slot, (struct auf_submit){ 0 }), 0);
}

/* The next completion in order must be this. */
static inline void fw_expect_done(unsigned int index, uint64_t tag, int status)
{
	assert_true(index < fw.done_count);
	assert_int_equal(fw.done[index].tag, tag);
	assert_int_equal(fw.done[index].status, status);
}

#endif
