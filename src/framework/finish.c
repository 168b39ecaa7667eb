/* SPDX-License-Identifier: MIT */
/*
 * Before a device is taken away in order: what was submitted goes on to its end, what comes is
 * refused. What is parked in a class waits for something from outside, which may never come, and is
 * not waited for.
 */
#include "framework/internal.h"

#define FINISH_LOOK_MS 2

static void finish_count(struct auf_request *r, void *arg)
{
	*(unsigned int *)arg += !(r->word & REQ_PARKED);
}

static void finish_look(struct auf_timeout *timeout)
{
	struct au_device *dev = AU_CONTAINER(timeout, struct au_device, finish.timeout);
	unsigned int left = 0;

	auf_device_hold(dev);
	auf_device_sweep(dev, finish_count, &left);
	auf_device_let_go(dev);
	if (left)
		auf_timeout_set(dev->lane, timeout, FINISH_LOOK_MS);
	else
		dev->finish.done(dev->finish.context);
}

void auf_device_finish(struct au_device *dev, void (*done)(void *context), void *context)
{
	if (dev->finish.done)
		return;
	dev->finish.done = done;
	dev->finish.context = context;
	dev->finish.timeout.fn = finish_look;
	auf_device_hold(dev);
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		if (!dev->units[i])
			continue;
		au_list_for_each (node, &dev->units[i]->handles)
			AU_CONTAINER(node, struct auf_handle, node)->open = 0;
	}
	auf_device_let_go(dev);
	finish_look(&dev->finish.timeout);
}

void auf_finish_end(struct au_device *dev)
{
	auf_timeout_clear(dev->lane, &dev->finish.timeout);
}
