/* SPDX-License-Identifier: MIT */
/*
 * Before an orderly end that clients are to notice as little of as can be: nothing more is
 * delivered, and what the driver has is waited for. What waits in queues stays there, and is
 * replayed to the next host, which is as if it had never been sent.
 */
#include "framework/internal.h"

#define DRAIN_LOOK_MS 1

/* What is parked, kept or can be cancelled waits for something from outside, for as long as it
 * takes: not here, for it does so as well in the next host. */
static void drain_count(struct auf_request *r, void *arg)
{
	if (auf_request_is(r) == REQ_OWNED && !(r->word & (REQ_PARKED | REQ_CANCELABLE | REQ_KEPT)))
		++*(unsigned int *)arg;
}

static unsigned int drain_left(struct au_device *dev)
{
	unsigned int left = 0;

	auf_device_hold(dev);
	auf_device_sweep(dev, drain_count, &left);
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i] && dev->units[i]->cls->drain)
			left += dev->units[i]->cls->drain(dev->units[i]);
	auf_device_let_go(dev);
	return left;
}

static void drain_look(struct auf_timeout *timeout)
{
	struct au_device *dev = AU_CONTAINER(timeout, struct au_device, drain.timeout);

	if (!dev->refusing && drain_left(dev))
		auf_timeout_set(dev->lane, timeout, DRAIN_LOOK_MS);
	else
		dev->drain.done(dev->drain.context);
}

void auf_device_drain(struct au_device *dev, void (*done)(void *context), void *context)
{
	if (dev->drain.done)
		return;
	dev->drain.done = done;
	dev->drain.context = context;
	dev->drain.timeout.fn = drain_look;
	auf_device_hold(dev);
	dev->gate = false;
	auf_device_refresh(dev);
	auf_device_let_go(dev);
	drain_look(&dev->drain.timeout);
}

void auf_drain_end(struct au_device *dev)
{
	auf_timeout_clear(dev->lane, &dev->drain.timeout);
}
