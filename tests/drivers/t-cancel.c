/* SPDX-License-Identifier: MIT */
/*
 * Holds requests, completes them at random, and does other things that a client has to live with,
 * when told to.
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

enum {
	CANCEL_ECHO = AU_RAW_FIRST, /* complete at once; result: length */
	CANCEL_HOLD = 17,	    /* keep until released or cancelled */
	CANCEL_RELEASE = 18,	    /* complete what is held; result: how many that were */
	CANCEL_RANDOM = 19,	    /* keep for a short, random time */
	CANCEL_EVENT = 20,	    /* tell all clients: arg[0] kind, arg[1] */
	CANCEL_GONE = 21,	    /* the device is gone */
	CANCEL_LATE = 23,	    /* complete in arg[0] ms */
};

struct cancel_list {
	struct au_request *first, *last;
};

struct cancel {
	struct au_device *dev;
	struct au_unit *unit;
	struct au_work *work;
	struct au_timer *timer;
	struct cancel_list held, random, late;
	uint64_t seed;
};

static struct cancel *cancel_of(struct au_request *req)
{
	return au_context(au_unit_device(au_request_unit(req)));
}

static void cancel_add(struct cancel_list *list, struct au_request *req)
{
	req->driver[0] = NULL;
	req->driver[1] = list->last;
	if (list->last)
		list->last->driver[0] = req;
	else
		list->first = req;
	list->last = req;
}

static void cancel_remove(struct cancel_list *list, struct au_request *req)
{
	struct au_request *next = req->driver[0], *prev = req->driver[1];

	if (next)
		next->driver[1] = prev;
	else
		list->last = prev;
	if (prev)
		prev->driver[0] = next;
	else
		list->first = next;
}

static struct cancel_list *cancel_list(struct cancel *c, uint16_t op)
{
	return op == CANCEL_HOLD ? &c->held : op == CANCEL_RANDOM ? &c->random : &c->late;
}

static void cancel_canceled(struct au_request *req)
{
	cancel_remove(cancel_list(cancel_of(req), req->op), req);
	au_request_complete(req, -AU_ECANCELED, 0);
}

static void cancel_keep(struct cancel *c, struct au_request *req)
{
	if (au_request_set_cancelable(req, cancel_canceled) != 0) {
		au_request_complete(req, -AU_ECANCELED, 0);
		return;
	}
	cancel_add(cancel_list(c, req->op), req);
	if (req->op == CANCEL_RANDOM)
		au_work_queue(c->work);
	else if (req->op == CANCEL_LATE)
		au_timer_start(c->timer, (uint32_t)req->arg[0], false);
}

static uint32_t cancel_finish(struct cancel_list *list, struct au_request *req)
{
	if (au_request_clear_cancelable(req) != 0)
		return 0;
	cancel_remove(list, req);
	au_request_complete(req, 0, req->length);
	return 1;
}

static uint32_t cancel_finish_all(struct cancel_list *list)
{
	uint32_t count = 0;

	for (struct au_request *req = list->first, *next; req; req = next) {
		next = req->driver[0];
		count += cancel_finish(list, req);
	}
	return count;
}

static void cancel_work(struct au_work *work, void *context)
{
	struct cancel *c = context;

	for (struct au_request *req = c->random.first, *next; req; req = next) {
		next = req->driver[0];
		c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
		if (c->seed >> 63)
			cancel_finish(&c->random, req);
	}
	if (c->random.first)
		au_work_queue(c->work);
}

static void cancel_timer(struct au_timer *timer, void *context)
{
	cancel_finish_all(&((struct cancel *)context)->late);
}

static void cancel_deliver(struct au_queue *queue, struct au_request *req)
{
	struct cancel *c = cancel_of(req);

	switch (req->op) {
	case CANCEL_ECHO:
		au_request_complete_status(req, 0, req->length, (uint16_t)req->arg[0]);
		break;
	case CANCEL_HOLD:
	case CANCEL_RANDOM:
	case CANCEL_LATE:
		cancel_keep(c, req);
		break;
	case CANCEL_RELEASE:
		au_request_complete(req, 0, cancel_finish_all(&c->held));
		break;
	case CANCEL_EVENT:
		au_unit_event(c->unit, (uint16_t)req->arg[0], 1, req->arg[1], 0);
		au_request_complete(req, 0, 0);
		break;
	case CANCEL_GONE:
		au_request_complete(req, 0, 0);
		au_device_gone(c->dev);
		break;
	default:
		au_request_complete(req, -AU_ENOTSUP, 0);
	}
}

static int cancel_prepare(struct au_device *dev)
{
	struct cancel *c = au_context(dev);
	const struct au_unit_config unit = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_PARALLEL,
		.deliver = cancel_deliver,
	};
	struct au_queue *queue;
	int err = au_unit_add(dev, &unit, &c->unit);

	c->dev = dev;
	c->seed = au_param_uint(dev, "seed");
	if (!err)
		err = au_queue_create(c->unit, &config, &queue);
	if (!err)
		err = au_work_create(dev, cancel_work, c, &c->work);
	return err ? err : au_timer_create(dev, cancel_timer, c, &c->timer);
}

AU_DRIVER_NOTE(AU_NAME("t-cancel") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("holds requests and completes them at random; for tests")
			       AU_PARAM_UINT("seed", 1, 0, 1000000, "start of the random numbers")
				       AU_MATCH_VIRTUAL);

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct cancel),
	.prepare = cancel_prepare,
};
