/* SPDX-License-Identifier: MIT */
/* A driver that wraps a library that the host does not have. */
#include "one_unit.h"

#include <auriga/driver.h>
#include <auriga/raw.h>

#include <math.h>

AU_DRIVER_NOTE(AU_NAME("t-maths") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("needs a library, for tests") AU_MATCH_VIRTUAL);

static void maths_deliver(struct au_queue *queue, struct au_request *req)
{
	(void)queue;
	au_request_complete(req, 0, (uint32_t)lround(cbrt((double)req->arg[0])));
}

static int maths_prepare(struct au_device *dev)
{
	return one_unit(dev, AU_QUEUE_SEQUENTIAL, maths_deliver);
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = maths_prepare,
};
