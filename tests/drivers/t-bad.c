/* SPDX-License-Identifier: MIT */
/*
 * A disk in retained memory that keeps each request for a millisecond, and has the mistake that its
 * parameter "bad" names. `auriga verify` must find each one, and nothing in the one without.
 */
#include <auriga/block.h>
#include <auriga/driver.h>

#define BAD_BYTES (16u << 20)

enum bad {
	BAD_NOTHING,
	BAD_STALE,  /* now and then a write is not done */
	BAD_TWICE,  /* now and then a request is completed twice */
	BAD_KEEPS,  /* who is cancelled is forgotten */
	BAD_STATUS, /* who is cancelled ends with another error */
	BAD_EXIT,   /* dies in d0_exit() */
	BAD_LEAK,   /* has requests when d0_exit() returns */
	BAD_FORGET, /* its blocks do not survive it */
	BAD_STOPS,  /* does nothing after a restart */
};

struct disk {
	uint8_t *blocks;
	enum bad bad;
	bool again; /* it came back after a failure */
	uint64_t count;
	struct au_timer *timer;
	struct au_request *first, *last;
};

static struct disk *disk_of(struct au_request *req)
{
	return au_context(au_unit_device(au_request_unit(req)));
}

static void disk_add(struct disk *d, struct au_request *req)
{
	req->driver[0] = NULL;
	req->driver[1] = d->last;
	if (d->last)
		d->last->driver[0] = req;
	else
		d->first = req;
	d->last = req;
}

static void disk_remove(struct disk *d, struct au_request *req)
{
	struct au_request *next = req->driver[0], *prev = req->driver[1];

	if (next)
		next->driver[1] = prev;
	else
		d->last = prev;
	if (prev)
		prev->driver[0] = next;
	else
		d->first = next;
}

static void disk_canceled(struct au_request *req)
{
	struct disk *d = disk_of(req);

	disk_remove(d, req);
	if (d->bad != BAD_KEEPS)
		au_request_complete(req, d->bad == BAD_STATUS ? -AU_EIO : -AU_ECANCELED, 0);
}

static void disk_do(struct disk *d, struct au_request *req)
{
	uint8_t *at = d->blocks + req->arg[0];
	bool now = ++d->count % 200 == 0;

	if (req->op == AU_BLOCK_READ)
		__builtin_memcpy(req->data, at, req->length);
	else if (req->op == AU_BLOCK_WRITE && !(now && d->bad == BAD_STALE))
		__builtin_memcpy(at, req->data, req->length);
	au_request_complete(req, 0, req->length);
	if (now && d->bad == BAD_TWICE)
		au_request_complete(req, 0, req->length);
}

static void disk_due(struct au_timer *timer, void *context)
{
	struct disk *d = context;

	for (struct au_request *req = d->first, *next; req; req = next) {
		next = req->driver[0];
		if (d->bad != BAD_LEAK && au_request_clear_cancelable(req) != 0)
			continue;
		disk_remove(d, req);
		disk_do(d, req);
	}
}

static void disk_deliver(struct au_queue *queue, struct au_request *req)
{
	struct disk *d = au_queue_context(queue);

	if (d->bad != BAD_LEAK && au_request_set_cancelable(req, disk_canceled) != 0) {
		au_request_complete(req, -AU_ECANCELED, 0);
		return;
	}
	if (!d->first && !(d->bad == BAD_STOPS && d->again))
		au_timer_start(d->timer, 1, false);
	disk_add(d, req);
}

static int disk_d0_entry(struct au_device *dev, enum au_power from)
{
	struct disk *d = au_context(dev);

	d->again = from == AU_POWER_FAILED;
	if (d->again && d->bad == BAD_FORGET)
		__builtin_memset(d->blocks, 0x11, BAD_BYTES);
	return 0;
}

static int disk_d0_exit(struct au_device *dev, enum au_power to)
{
	const struct disk *d = au_context(dev);
	volatile int *volatile nowhere = (volatile int *)8;

	if (d->bad == BAD_EXIT)
		*nowhere = 1;
	return 0;
}

static int disk_prepare(struct au_device *dev)
{
	struct disk *d = au_context(dev);
	bool fresh;
	const struct au_block_config config = {
		AU_HEAD(struct au_block_config),
		.context = d,
		.bytes = BAD_BYTES,
		.block_size = 512,
		.flags = AU_BLOCK_CACHE,
		.depth = 64,
		.model = "Auriga bad disk",
		.deliver = disk_deliver,
	};
	struct au_block *block;

	d->bad = (enum bad)au_param_uint(dev, "bad");
	d->blocks = au_retained(dev, &fresh);
	if (au_timer_create(dev, disk_due, d, &d->timer) != 0)
		return -AU_ENOMEM;
	return au_block_add(dev, &config, &block);
}

AU_DRIVER_NOTE(AU_NAME("t-bad") AU_VERSION("1.0") AU_CLASS("block")
		       AU_SUMMARY("a disk with a mistake of choice, for tests")
			       AU_MATCH_VIRTUAL AU_PARAM_UINT("bad", 0, 0, 8, "which mistake")
				       AU_RETAIN(1, 16777216));

AU_DRIVER = {
	AU_HEAD(struct au_driver), .context_size = sizeof(struct disk),
	.prepare = disk_prepare,   .d0_entry = disk_d0_entry,
	.d0_exit = disk_d0_exit,
};
