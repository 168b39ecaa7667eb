/* SPDX-License-Identifier: MIT */
/* Echoes; or, built with FRAIL_BROKEN, crashes at each start. The second one is its bad update. */
#include <auriga/driver.h>
#include <auriga/raw.h>

#ifndef FRAIL_BROKEN
#define FRAIL_BROKEN 0
#endif

static void frail_deliver(struct au_queue *queue, struct au_request *req)
{
	au_request_complete(req, 0, req->length);
}

static int frail_prepare(struct au_device *dev)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_PARALLEL,
		.deliver = frail_deliver,
	};
	struct au_queue *queue;
	struct au_unit *unit;
	int err = au_unit_add(dev, &unit_config, &unit);

	return err ? err : au_queue_create(unit, &queue_config, &queue);
}

static int frail_d0_entry(struct au_device *dev, enum au_power from)
{
	volatile int *volatile nowhere = (volatile int *)8;

	if (FRAIL_BROKEN)
		*nowhere = 1;
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("t-frail") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("has a broken twin, for tests") AU_MATCH_VIRTUAL);

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = frail_prepare,
	.d0_entry = frail_d0_entry,
};
