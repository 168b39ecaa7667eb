/* SPDX-License-Identifier: MIT */
/*
 * Several lanes, each with requests of its own: 16 completes at once, 17 is held until the lane's
 * timer comes or it is cancelled, and 18 asks lane 0 for a reset, which completes whatever any lane
 * holds, with the result 1. 19 does not come back: the lane hangs.
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

enum lanes_op {
	LANES_NOW = AU_RAW_FIRST,
	LANES_HELD,
	LANES_RESET,
	LANES_HANG,
};

#define LANES	       4u
#define LANES_HELD_MAX 2048u

struct lanes_one {
	struct au_timer *timer;
	unsigned int resets; /* that it has been through */
	unsigned int count;
	struct au_request *held[LANES_HELD_MAX];
};

struct lanes {
	struct lanes_one one[LANES];
	struct au_work *reset;
	unsigned int resets;
};

static void lanes_cancel(struct au_request *req)
{
	struct lanes_one *one = au_queue_context(au_request_queue(req));
	unsigned int i = 0;

	while (one->held[i] != req)
		i++;
	one->held[i] = one->held[--one->count];
	au_request_complete(req, -AU_ECANCELED, 0);
}

static void lanes_complete(struct lanes_one *one, uint32_t result)
{
	struct au_request *req = one->held[--one->count];

	if (au_request_clear_cancelable(req) == 0)
		au_request_complete(req, 0, result);
}

static void lanes_deliver(struct au_queue *queue, struct au_request *req)
{
	struct lanes_one *one = au_queue_context(queue);
	struct lanes *l = au_context(au_unit_device(au_request_unit(req)));

	switch (req->op) {
	case LANES_HELD:
		if (au_request_set_cancelable(req, lanes_cancel) != 0)
			au_request_complete(req, -AU_ECANCELED, 0);
		else
			one->held[one->count++] = req;
		return;
	case LANES_RESET:
		au_work_queue(l->reset);
		break;
	case LANES_HANG:
		for (;;)
			__asm__ volatile("" ::: "memory");
	default:
		break;
	}
	/* The lane's number, and how often all were parked. */
	au_request_complete(req, 0, au_request_lane(req) | one->resets << 8);
}

static void lanes_tick(struct au_timer *timer, void *context)
{
	struct lanes_one *one = context;
	unsigned int left = one->count / 2;

	while (one->count > left)
		lanes_complete(one, 0);
}

/* Lane 0: what belongs to the others is touched while they are parked. */
static void lanes_reset(struct au_work *work, void *context)
{
	struct au_device *dev = context;
	struct lanes *l = au_context(dev);

	au_device_park(dev);
	l->resets++;
	for (unsigned int i = 0; i < au_device_lanes(dev); i++) {
		/* No more than there are now: a completion may bring the next. */
		for (unsigned int n = l->one[i].count; n && l->one[i].count; n--)
			lanes_complete(&l->one[i], 1);
		l->one[i].resets = l->resets;
	}
	au_device_unpark(dev);
}

static int lanes_prepare(struct au_device *dev)
{
	struct lanes *l = au_context(dev);
	const struct au_unit_config unit = { AU_HEAD(struct au_unit_config) };
	void *contexts[LANES];
	const struct au_queue_config queue = {
		AU_HEAD(struct au_queue_config), .kind = AU_QUEUE_PARALLEL, .depth = LANES_HELD_MAX,
		.context = &l->one[0],		 .contexts = contexts,	    .deliver = lanes_deliver
	};
	struct au_queue *q;
	struct au_unit *u;
	int err;

	for (unsigned int i = 0; i < LANES; i++)
		contexts[i] = &l->one[i];
	err = au_unit_add(dev, &unit, &u);
	err = err ? err : au_queue_create(u, &queue, &q);
	err = err ? err : au_work_create(dev, lanes_reset, dev, &l->reset);
	for (unsigned int i = 0; i < au_device_lanes(dev) && !err; i++)
		err = au_timer_create_on(au_device_lane(dev, i), dev, lanes_tick, &l->one[i],
					 &l->one[i].timer);
	return err;
}

static int lanes_io_start(struct au_device *dev)
{
	struct lanes *l = au_context(dev);

	for (unsigned int i = 0; i < au_device_lanes(dev); i++)
		au_timer_start(l->one[i].timer, 1, true);
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("t-lanes") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("several lanes, for tests") AU_MATCH_VIRTUAL AU_LANES(4));

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct lanes),
	.prepare = lanes_prepare,
	.io_start = lanes_io_start,
};
