/* SPDX-License-Identifier: MIT */
/*
 * Holds requests. Operation 16 is held until it is cancelled, 17 until 19 comes, whatever anybody
 * asks; 18 completes at once; 19 completes everything that is held, oldest first, and then itself,
 * with the number of those as its result.
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

enum hold_op {
	HOLD_CANCELABLE = AU_RAW_FIRST,
	HOLD_STUBBORN,
	HOLD_NOT,
	HOLD_RELEASE,
};

enum { HOLD_MAX = 1024 };

struct hold {
	unsigned int count;
	struct au_request *held[HOLD_MAX];
};

static struct hold *hold_of(struct au_request *req)
{
	return au_context(au_unit_device(au_request_unit(req)));
}

static void hold_cancel(struct au_request *req)
{
	struct hold *h = hold_of(req);
	unsigned int i = 0;

	while (h->held[i] != req)
		i++;
	for (h->count--; i < h->count; i++)
		h->held[i] = h->held[i + 1];
	au_request_complete(req, -AU_ECANCELED, 0);
}

static void hold_release(struct hold *h, struct au_request *req)
{
	uint32_t released = 0;

	while (h->count) {
		struct au_request *r = h->held[0];

		h->count--;
		for (unsigned int i = 0; i < h->count; i++)
			h->held[i] = h->held[i + 1];
		if (r->op == HOLD_STUBBORN || au_request_clear_cancelable(r) == 0) {
			au_request_complete(r, 0, r->length);
			released++;
		}
	}
	au_request_complete(req, 0, released);
}

static void hold_deliver(struct au_queue *queue, struct au_request *req)
{
	struct hold *h = hold_of(req);

	if (req->op == HOLD_RELEASE)
		hold_release(h, req);
	else if (req->op == HOLD_NOT)
		au_request_complete(req, 0, req->length);
	else if (req->op > HOLD_RELEASE)
		au_request_complete(req, -AU_ENOTSUP, 0);
	else if (h->count == HOLD_MAX)
		au_request_complete(req, -AU_EBUSY, 0);
	else if (req->op == HOLD_CANCELABLE && au_request_set_cancelable(req, hold_cancel))
		au_request_complete(req, -AU_ECANCELED, 0);
	else
		h->held[h->count++] = req;
}

/* The stubborn ones end with the device. */
static int hold_d0_exit(struct au_device *dev, enum au_power to)
{
	struct hold *h = au_context(dev);

	while (h->count)
		au_request_complete(h->held[--h->count], -AU_ENODEV, 0);
	return 0;
}

static int hold_prepare(struct au_device *dev)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_PARALLEL,
		.deliver = hold_deliver,
	};
	struct au_queue *queue;
	struct au_unit *unit;
	int err = au_unit_add(dev, &unit_config, &unit);

	return err ? err : au_queue_create(unit, &queue_config, &queue);
}

AU_DRIVER_NOTE(AU_NAME("t-hold") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("holds requests, for tests") AU_MATCH_VIRTUAL);

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct hold),
	.prepare = hold_prepare,
	.d0_exit = hold_d0_exit,
};
