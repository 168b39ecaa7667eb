/* SPDX-License-Identifier: MIT */
/*
 * Goes to sleep and wakes up as it is told. Operation 16 gives back its data inverted. 17: the next
 * d0_exit() to D3 takes arg[0] ms. 18: the next d0_entry() from D3 takes arg[0] ms. 19: that one
 * fails. 20: that one crashes. 21: the next d0_exit() to D3 crashes. 22: its result is the number
 * of times that it came back from D3.
 */
#include "one_unit.h"

#include <auriga/driver.h>
#include <auriga/raw.h>

#include <stdbool.h>

enum sleepy_op {
	SLEEPY_ECHO = AU_RAW_FIRST,
	SLEEPY_SLOW_EXIT,
	SLEEPY_SLOW_ENTRY,
	SLEEPY_FAIL_ENTRY,
	SLEEPY_CRASH_ENTRY,
	SLEEPY_CRASH_EXIT,
	SLEEPY_COUNT,
};

struct sleepy {
	uint32_t exit_ms, entry_ms, ups;
	bool fail_entry, crash_entry, crash_exit, down;
};

/* What is wrong here is so on purpose. */
__attribute__((no_sanitize("undefined"))) static void sleepy_crash(void)
{
	volatile int *volatile nowhere = (volatile int *)8;

	*nowhere = 1;
}

/* In steps, as a driver that looks at its device does: between them the lane shows life. */
static void sleepy_wait(struct au_device *dev, uint32_t *ms)
{
	for (; *ms; *ms -= *ms < 50 ? *ms : 50)
		au_sleep_ms(dev, *ms < 50 ? *ms : 50);
}

static void sleepy_deliver(struct au_queue *queue, struct au_request *req)
{
	struct au_device *dev = au_unit_device(au_request_unit(req));
	struct sleepy *s = au_context(dev);
	unsigned char *data = req->data;
	uint32_t result = req->length;

	(void)queue;
	/* It is the framework that keeps requests away from a device that is down. */
	if (s->down)
		sleepy_crash();
	switch (req->op) {
	case SLEEPY_ECHO:
		for (uint32_t i = 0; i < req->length; i++)
			data[i] = (unsigned char)~data[i];
		break;
	case SLEEPY_SLOW_EXIT:
		s->exit_ms = (uint32_t)req->arg[0];
		break;
	case SLEEPY_SLOW_ENTRY:
		s->entry_ms = (uint32_t)req->arg[0];
		break;
	case SLEEPY_FAIL_ENTRY:
		s->fail_entry = true;
		break;
	case SLEEPY_CRASH_ENTRY:
		s->crash_entry = true;
		break;
	case SLEEPY_CRASH_EXIT:
		s->crash_exit = true;
		break;
	case SLEEPY_COUNT:
		result = s->ups;
		break;
	default:
		au_request_complete(req, -AU_ENOTSUP, 0);
		return;
	}
	au_request_complete(req, 0, result);
}

static int sleepy_prepare(struct au_device *dev)
{
	return one_unit(dev, AU_QUEUE_PARALLEL, sleepy_deliver);
}

static int sleepy_d0_entry(struct au_device *dev, enum au_power from)
{
	struct sleepy *s = au_context(dev);

	if (from != AU_POWER_D3)
		return 0;
	if (s->crash_entry)
		sleepy_crash();
	sleepy_wait(dev, &s->entry_ms);
	if (s->fail_entry)
		return -AU_EIO;
	s->down = false;
	s->ups++;
	return 0;
}

static int sleepy_d0_exit(struct au_device *dev, enum au_power to)
{
	struct sleepy *s = au_context(dev);

	if (to != AU_POWER_D3)
		return 0;
	if (s->crash_exit)
		sleepy_crash();
	sleepy_wait(dev, &s->exit_ms);
	s->down = true;
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("t-sleepy") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("sleeps as it is told, for tests") AU_MATCH_VIRTUAL);

AU_DRIVER = {
	AU_HEAD(struct au_driver), .context_size = sizeof(struct sleepy),
	.prepare = sleepy_prepare, .d0_entry = sleepy_d0_entry,
	.d0_exit = sleepy_d0_exit,
};
