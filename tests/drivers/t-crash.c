/* SPDX-License-Identifier: MIT */
/*
 * Dies. Operation 16 completes at once, 17 is a write to nowhere, 18 abort(), 19 a loop without
 * end, 20 exit(), 21 a division by zero. The parameter "in" makes it die, by a write to nowhere, in
 * 1 prepare, 2 d0_entry, 3 d0_exit, 4 release; "chance" makes
 * operation 16 do so once in so many.
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

#include <stdlib.h>

enum crash_op {
	CRASH_NOT = AU_RAW_FIRST,
	CRASH_SEGV,
	CRASH_ABORT,
	CRASH_HANG,
	CRASH_EXIT,
	CRASH_FPE,
};

enum crash_place { IN_NONE, IN_PREPARE, IN_D0_ENTRY, IN_D0_EXIT, IN_RELEASE };

struct crash {
	uint64_t chance, count;
};

static void crash_segv(void)
{
	volatile int *volatile nowhere = (volatile int *)8;

	*nowhere = 1;
}

static void crash_if(struct au_device *dev, enum crash_place place)
{
	if (au_param_uint(dev, "in") == (uint64_t)place)
		crash_segv();
}

/* The trap itself, not what a sanitizer makes of it. */
static void __attribute__((no_sanitize("undefined"))) crash_fpe(void)
{
	volatile int zero = 0, one = 1;

	one = one / zero; /* cppcheck-suppress zerodiv ; that is what it is for */
}

static void crash_deliver(struct au_queue *queue, struct au_request *req)
{
	struct crash *c = au_context(au_unit_device(au_request_unit(req)));

	switch (req->op) {
	case CRASH_NOT:
		if (c->chance && ++c->count % c->chance == 0)
			crash_segv();
		au_request_complete(req, 0, req->length);
		return;
	case CRASH_SEGV:
		crash_segv();
		return;
	case CRASH_ABORT:
		abort();
	case CRASH_HANG:
		for (;;)
			__asm__ volatile("" ::: "memory");
	case CRASH_EXIT:
		_Exit(3);
	case CRASH_FPE:
		crash_fpe();
		return;
	default:
		au_request_complete(req, -AU_ENOTSUP, 0);
	}
}

static int crash_prepare(struct au_device *dev)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_PARALLEL,
		.deliver = crash_deliver,
	};
	struct crash *c = au_context(dev);
	struct au_queue *queue;
	struct au_unit *unit;
	int err;

	crash_if(dev, IN_PREPARE);
	c->chance = au_param_uint(dev, "chance");
	err = au_unit_add(dev, &unit_config, &unit);
	return err ? err : au_queue_create(unit, &queue_config, &queue);
}

static void crash_release(struct au_device *dev)
{
	crash_if(dev, IN_RELEASE);
}

static int crash_d0_entry(struct au_device *dev, enum au_power from)
{
	crash_if(dev, IN_D0_ENTRY);
	return 0;
}

static int crash_d0_exit(struct au_device *dev, enum au_power to)
{
	crash_if(dev, IN_D0_EXIT);
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("t-crash") AU_VERSION("1.0") AU_CLASS("raw") AU_SUMMARY("dies, for tests")
		       AU_MATCH_VIRTUAL AU_PARAM_UINT(
			       "in", 0, 0, 4, "die in: 1 prepare, 2 d0_entry, 3 d0_exit, 4 release")
			       AU_PARAM_UINT("chance", 0, 0, 1000000000,
					     "operation 16 kills once in so many; 0: never"));

AU_DRIVER = {
	AU_HEAD(struct au_driver), .context_size = sizeof(struct crash), .prepare = crash_prepare,
	.release = crash_release,  .d0_entry = crash_d0_entry,		 .d0_exit = crash_d0_exit,
};
