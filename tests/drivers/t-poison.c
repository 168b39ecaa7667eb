/* SPDX-License-Identifier: MIT */
/*
 * Dies of one request: of one whose arg[0] is 666, a few milliseconds after it was delivered (at
 * once, with the parameter delay=0), so that others are with the driver too. The others take
 * "hold" milliseconds.
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

enum { POISON_OP = AU_RAW_FIRST, POISON = 666, HELD_MAX = 1024 };

struct poison {
	struct au_timer *timer;
	uint64_t delay, hold;
	unsigned int count;
	struct {
		struct au_request *req;
		uint64_t due_ms;
	} held[HELD_MAX];
};

static void poison_die(void)
{
	volatile int *volatile nowhere = (volatile int *)8;

	*nowhere = 1;
}

static void poison_tick(struct au_timer *timer, void *context)
{
	struct poison *p = context;
	unsigned int kept = 0, count = p->count;

	for (unsigned int i = 0; i < count; i++) {
		struct au_request *req = p->held[i].req;

		if (p->held[i].due_ms > au_now_ms(au_unit_device(au_request_unit(req)))) {
			p->held[kept++] = p->held[i];
			continue;
		}
		if (req->arg[0] == POISON)
			poison_die();
		au_request_complete(req, 0, req->length);
	}
	/* what was delivered meanwhile */
	for (unsigned int i = count; i < p->count; i++)
		p->held[kept++] = p->held[i];
	p->count = kept;
	if (kept)
		au_timer_start(timer, 1, false);
}

static void poison_deliver(struct au_queue *queue, struct au_request *req)
{
	struct au_device *dev = au_unit_device(au_request_unit(req));
	struct poison *p = au_context(dev);
	uint64_t wait = req->arg[0] == POISON ? p->delay : p->hold;

	if (req->op != POISON_OP) {
		au_request_complete(req, -AU_ENOTSUP, 0);
	} else if (wait && p->count < HELD_MAX) {
		p->held[p->count].req = req;
		p->held[p->count++].due_ms = au_now_ms(dev) + wait;
		au_timer_start(p->timer, 1, false);
	} else {
		if (req->arg[0] == POISON)
			poison_die();
		au_request_complete(req, 0, req->length);
	}
}

static int poison_prepare(struct au_device *dev)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_PARALLEL,
		.depth = HELD_MAX,
		.deliver = poison_deliver,
	};
	struct poison *p = au_context(dev);
	struct au_queue *queue;
	struct au_unit *unit;
	int err = au_unit_add(dev, &unit_config, &unit);

	p->delay = au_param_uint(dev, "delay");
	p->hold = au_param_uint(dev, "hold");
	err = err ? err : au_queue_create(unit, &queue_config, &queue);
	return err ? err : au_timer_create(dev, poison_tick, p, &p->timer);
}

static int poison_d0_exit(struct au_device *dev, enum au_power to)
{
	struct poison *p = au_context(dev);

	while (p->count)
		au_request_complete(p->held[--p->count].req, -AU_ENODEV, 0);
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("t-poison") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("dies of one request, for tests") AU_MATCH_VIRTUAL AU_PARAM_UINT(
			       "delay", 5, 0, 1000, "ms until it dies")
			       AU_PARAM_UINT("hold", 2, 0, 1000, "ms that other requests take"));

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct poison),
	.prepare = poison_prepare,
	.d0_exit = poison_d0_exit,
};
