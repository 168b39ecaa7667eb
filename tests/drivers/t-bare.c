/* SPDX-License-Identifier: MIT */
/* A driver that does nothing with the PCI function below it: QEMU's virtio random numbers. */
#include "one_unit.h"

#include <auriga/driver.h>
#include <auriga/raw.h>

AU_DRIVER_NOTE(AU_NAME("t-bare") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("any device, untouched, for tests") AU_MATCH_PCI(0x1af4, 0x1044));

static void bare_deliver(struct au_queue *queue, struct au_request *req)
{
	(void)queue;
	au_request_complete(req, 0, 0);
}

static int bare_prepare(struct au_device *dev)
{
	return one_unit(dev, AU_QUEUE_SEQUENTIAL, bare_deliver);
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = bare_prepare,
};
