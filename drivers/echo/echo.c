/* SPDX-License-Identifier: MIT */
/* Completes each request at once: what is measured is everything but the driver. */
#include <auriga/driver.h>
#include <auriga/raw.h>

enum { ECHO_OP = AU_RAW_FIRST };

static void echo_deliver(struct au_queue *queue, struct au_request *req)
{
	if (req->op == ECHO_OP)
		au_request_complete(req, 0, req->length);
	else
		au_request_complete(req, -AU_ENOTSUP, 0);
}

static int echo_prepare(struct au_device *dev)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_PARALLEL,
		.deliver = echo_deliver,
	};
	struct au_queue *queue;
	struct au_unit *unit;
	int err = au_unit_add(dev, &unit_config, &unit);

	return err ? err : au_queue_create(unit, &queue_config, &queue);
}

AU_DRIVER_NOTE(AU_NAME("echo") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("completes each request at once; for measuring")
			       AU_MATCH_VIRTUAL);

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = echo_prepare,
};
