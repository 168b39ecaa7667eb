/* SPDX-License-Identifier: MIT */
/*
 * Echoes, and counts in its retained memory; or, built in other ways, is an update of itself, good
 * or bad.
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

enum { FRAIL_CRASH = 1, FRAIL_HANG, FRAIL_FAIL, FRAIL_LATE, FRAIL_FEWER };

#ifndef FRAIL_BROKEN
#define FRAIL_BROKEN 0
#endif
#ifndef FRAIL_VERSION
#define FRAIL_VERSION "1.0"
#endif
#ifndef FRAIL_RETAIN
#define FRAIL_RETAIN 1
#endif
#ifndef FRAIL_CLASS
#define FRAIL_CLASS "raw"
#endif

enum frail_op {
	FRAIL_ECHO = AU_RAW_FIRST, /* inverts the bytes */
	FRAIL_SLOW,		   /* the same, arg[0] or 30 ms later */
	FRAIL_COUNT,		   /* its result is how many there have been of both */
};

struct frail {
	uint64_t *count;
	struct au_timer *timer;
	struct au_request *slow;
};

static void frail_echo(struct frail *f, struct au_request *req)
{
	volatile int *volatile nowhere = (volatile int *)8;
	unsigned char *data = req->data;

	if (FRAIL_BROKEN == FRAIL_LATE && *f->count % 100 == 99)
		*nowhere = 1;
	for (uint32_t i = 0; i < req->length; i++)
		data[i] = (unsigned char)~data[i];
	++*f->count;
	au_request_complete(req, 0, req->length);
}

static void frail_late(struct au_timer *timer, void *context)
{
	struct frail *f = context;
	struct au_request *req = f->slow;

	f->slow = NULL;
	if (req)
		frail_echo(f, req);
}

static void frail_deliver(struct au_queue *queue, struct au_request *req)
{
	struct frail *f = au_queue_context(queue);

	if (req->op == FRAIL_SLOW && !f->slow) {
		f->slow = req;
		au_timer_start(f->timer, req->arg[0] ? (uint32_t)req->arg[0] : 30, false);
	} else if (req->op == FRAIL_COUNT) {
		au_request_complete(req, 0, (uint32_t)*f->count);
	} else {
		frail_echo(f, req);
	}
}

static int frail_unit(struct au_device *dev)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_PARALLEL,
		.context = au_context(dev),
		.deliver = frail_deliver,
	};
	struct au_queue *queue;
	struct au_unit *unit;
	int err = au_unit_add(dev, &unit_config, &unit);

	return err ? err : au_queue_create(unit, &queue_config, &queue);
}

static int frail_prepare(struct au_device *dev)
{
	struct frail *f = au_context(dev);
	uint64_t units = FRAIL_BROKEN == FRAIL_FEWER ? 1 : au_param_uint(dev, "units");
	bool fresh;
	int err = au_timer_create(dev, frail_late, f, &f->timer);

	f->count = au_retained(dev, &fresh);
	if (fresh)
		*f->count = 0;
	for (uint64_t i = 0; i < units && !err; i++)
		err = frail_unit(dev);
	return err;
}

static int frail_d0_entry(struct au_device *dev, enum au_power from)
{
	volatile int *volatile nowhere = (volatile int *)8;

	if (FRAIL_BROKEN == FRAIL_CRASH)
		*nowhere = 1;
	while (FRAIL_BROKEN == FRAIL_HANG)
		__asm__ volatile("" ::: "memory");
	return FRAIL_BROKEN == FRAIL_FAIL ? -AU_EIO : 0;
}

static void frail_io_stop(struct au_device *dev)
{
	struct frail *f = au_context(dev);
	struct au_request *req = f->slow;

	f->slow = NULL;
	if (req)
		au_request_complete(req, -AU_ENODEV, 0);
}

AU_DRIVER_NOTE(AU_NAME("t-frail") AU_VERSION(FRAIL_VERSION) AU_CLASS(FRAIL_CLASS)
		       AU_SUMMARY("has updates, for tests")
			       AU_MATCH_VIRTUAL AU_RETAIN(FRAIL_RETAIN, 8)
				       AU_PARAM_UINT("units", 1, 1, 4, "how many units"));

AU_DRIVER = {
	AU_HEAD(struct au_driver), .context_size = sizeof(struct frail),
	.prepare = frail_prepare,  .d0_entry = frail_d0_entry,
	.io_stop = frail_io_stop,
};
