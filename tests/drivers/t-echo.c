/* SPDX-License-Identifier: MIT */
/* A raw device that gives back what it gets, and that dies, hangs or sulks when told to. */
#include "one_unit.h"

#include <auriga/driver.h>
#include <auriga/raw.h>

#include <stdlib.h>

AU_DRIVER_NOTE(AU_NAME("t-echo") AU_VERSION("1.0") AU_CLASS("raw") AU_SUMMARY("echo, for tests")
		       AU_MATCH_VIRTUAL AU_PARAM_UINT(
			       "fail", 0, 0, 3,
			       "fail in: 1 prepare, 2 d0_entry, 3 crash in d0_entry")
			       AU_PARAM_UINT("units", 1, 1, 4, "how many units"));

enum echo_op {
	ECHO_ECHO = AU_RAW_FIRST, /* completes at once; the bytes are inverted */
	ECHO_KEEP,		  /* held until it is cancelled */
	ECHO_SEGV,
	ECHO_ABORT,
	ECHO_ILL,
	ECHO_FPE,
	ECHO_DEEP, /* a write to nowhere, some calls deep */
	ECHO_HANG,
	ECHO_GONE,
	ECHO_LOG,
	ECHO_CALL_NULL,
	ECHO_ADD,    /* a unit */
	ECHO_REMOVE, /* the unit that the request came to */
	ECHO_OVERFLOW,
};

static int echo_unit(struct au_device *dev);

static void echo_cancel(struct au_request *req)
{
	au_request_complete(req, -AU_ECANCELED, 0);
}

static __attribute__((noinline)) int echo_deep(volatile int *volatile where, int depth)
{
	int below = depth > 0 ? echo_deep(where, depth - 1) : (*where = 1);

	/* Something to do after the call, so that it is one. */
	__asm__ volatile("" ::: "memory");
	return below + 1;
}

/* What is wrong here is so on purpose. */
__attribute__((no_sanitize("undefined"))) static void echo_deliver(struct au_queue *queue,
								   struct au_request *req)
{
	unsigned char *data = req->data;
	volatile int *volatile nowhere = (volatile int *)8;
	volatile int zero = 0;
	void (*volatile null)(void) = 0;
	struct au_unit *unit;

	(void)queue;
	switch (req->op) {
	case ECHO_ECHO:
		for (uint32_t i = 0; i < req->length; i++)
			data[i] = (unsigned char)~data[i];
		au_request_complete(req, 0, req->length);
		return;
	case ECHO_KEEP:
		if (au_request_set_cancelable(req, echo_cancel))
			au_request_complete(req, -AU_ECANCELED, 0);
		return;
	case ECHO_SEGV:
		*nowhere = 1;
		return;
	case ECHO_ABORT:
		abort();
	case ECHO_ILL:
		__builtin_trap();
	case ECHO_FPE:
		zero = 7 / zero;
		return;
	case ECHO_DEEP:
		echo_deep(nowhere, 5);
		return;
	case ECHO_HANG:
		for (;;)
			__asm__ volatile("" ::: "memory");
	case ECHO_GONE:
		au_device_gone(au_unit_device(au_request_unit(req)));
		au_request_complete(req, 0, 0);
		return;
	case ECHO_LOG:
		au_log(au_unit_device(au_request_unit(req)), AU_LOG_ERROR, "as told");
		au_request_complete(req, 0, 0);
		return;
	case ECHO_CALL_NULL:
		null();
		__asm__ volatile("" ::: "memory");
		return;
	case ECHO_OVERFLOW:
		echo_deep(nowhere, 1 << 30);
		return;
	case ECHO_ADD:
		au_request_complete(req, echo_unit(au_unit_device(au_request_unit(req))), 0);
		return;
	case ECHO_REMOVE:
		unit = au_request_unit(req);
		au_request_complete(req, 0, 0);
		au_unit_remove(unit);
		return;
	default:
		au_request_complete(req, -AU_ENOTSUP, 0);
	}
}

static int echo_unit(struct au_device *dev)
{
	return one_unit(dev, AU_QUEUE_PARALLEL, echo_deliver);
}

static int echo_prepare(struct au_device *dev)
{
	int err = au_param_uint(dev, "fail") == 1 ? -AU_EIO : 0;

	for (uint64_t i = 0; i < au_param_uint(dev, "units") && !err; i++)
		err = echo_unit(dev);
	return err;
}

static int echo_d0_entry(struct au_device *dev, enum au_power from)
{
	volatile int *volatile nowhere = (volatile int *)8;

	(void)from;
	if (au_param_uint(dev, "fail") == 2)
		return -AU_ENXIO;
	if (au_param_uint(dev, "fail") == 3)
		*nowhere = 1;
	return 0;
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = echo_prepare,
	.d0_entry = echo_d0_entry,
};
