/* SPDX-License-Identifier: MIT */
/*
 * Suspects: requests that the driver owned when it died, twice. Each is delivered alone, so that
 * the next death names the one that did it: it waits until the driver owns nothing else, or nothing
 * that it has not owned for long without harm; and the others wait until it is complete, or has
 * done no harm for a while.
 *
 * With several lanes all this is decided on lane 0, while the others are parked: they only see what
 * may go, and tell when something has left the driver.
 */
#include "framework/internal.h"

#define SOLO_WAIT_MS 1000u /* for the driver to let go of the others */
#define SOLO_RUN_MS  200u

static struct auf_request *solo_head(const struct au_queue *queue)
{
	return AU_CONTAINER(queue->waiting.next, struct auf_request, node);
}

static void solo_count(struct auf_request *r, void *arg)
{
	if (auf_request_is(r) == REQ_OWNED && !(r->word & REQ_PARKED))
		++*(unsigned int *)arg;
}

static unsigned int solo_owned(struct au_device *dev)
{
	unsigned int count = 0;

	auf_device_sweep(dev, solo_count, &count);
	return count;
}

static void solo_end(struct au_device *dev)
{
	auf_timeout_clear(dev->lane, &dev->solo.timeout);
	dev->solo.phase = SOLO_NONE;
	dev->solo.request = NULL;
	dev->solo.queue = NULL;
	auf_device_refresh(dev);
}

/* Let the one that waits go, if its turn has come. */
static void solo_try(struct au_device *dev)
{
	struct au_queue *queue = dev->solo.queue;

	queue->told = false;
	if (!auf_device_many(dev)) {
		auf_queue_pump(queue);
	} else if (queue->waits && auf_solo_allows(queue, solo_head(queue))) {
		/* It is marked, and goes when its lane comes to it. */
		auf_queue_pump_later(queue);
	}
}

/* Waited, or run, for long enough. */
static void solo_due(struct auf_timeout *timeout)
{
	struct au_device *dev = AU_CONTAINER(timeout, struct au_device, solo.timeout);

	auf_device_hold(dev);
	if (dev->solo.phase == SOLO_WAITING) {
		dev->solo.phase = SOLO_PASSED;
		solo_try(dev);
		if (dev->solo.phase == SOLO_PASSED)
			solo_end(dev);
	} else {
		struct auf_request *r = dev->solo.request;

		/* What happens from now on may be the fault of others. */
		r->word &= ~REQ_SOLO;
		atomic_store_explicit(&r->progress->flags, AUF_OWNED, memory_order_release);
		solo_end(dev);
	}
	auf_device_let_go(dev);
}

/* A lane has a suspect, or one has left the driver. */
static void solo_work(struct auf_work *work)
{
	struct au_device *dev = AU_CONTAINER(work, struct au_device, solo.work);

	auf_device_hold(dev);
	if (atomic_exchange(&dev->solo.ended, false) && dev->solo.phase != SOLO_NONE)
		solo_end(dev);
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		if (!dev->units[i])
			continue;
		au_list_for_each (node, &dev->units[i]->queues) {
			struct au_queue *queue = AU_CONTAINER(node, struct au_queue, node);

			if (dev->solo.phase == SOLO_NONE && queue->waits &&
			    (solo_head(queue)->word & REQ_SUSPECT) &&
			    auf_solo_allows(queue, solo_head(queue)))
				auf_queue_pump_later(queue);
		}
	}
	if (dev->solo.phase == SOLO_WAITING)
		solo_try(dev);
	auf_device_let_go(dev);
}

void auf_solo_init(struct au_device *dev)
{
	dev->solo.timeout.fn = solo_due;
	dev->solo.work.fn = solo_work;
}

void auf_solo_reset(struct au_device *dev)
{
	auf_lane_forget(dev->lane, &dev->solo.work);
	atomic_store(&dev->solo.ended, false);
	auf_timeout_clear(dev->lane, &dev->solo.timeout);
	dev->solo.phase = SOLO_NONE;
	dev->solo.request = NULL;
}

static void solo_watch(struct au_device *dev)
{
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i])
			au_list_for_each (node, &dev->units[i]->queues)
				auf_queue_refresh(AU_CONTAINER(node, struct au_queue, node));
}

static void solo_run(struct au_device *dev, struct auf_request *r)
{
	bool alone = dev->solo.phase != SOLO_PASSED;

	au_trace(dev->lane->recorder, dev->lane->index, solo, r->slot, r->tag, alone);
	r->word &= ~REQ_SUSPECT;
	r->word |= REQ_SOLO;
	dev->solo.phase = SOLO_RUNNING;
	dev->solo.request = r;
	auf_timeout_set(dev->lane, &dev->solo.timeout, SOLO_RUN_MS);
	solo_watch(dev);
}

bool auf_solo_allows(struct au_queue *queue, struct auf_request *r)
{
	struct au_device *dev = queue->dev;
	bool suspect = r->word & REQ_SUSPECT;

	if (likely(dev->solo.phase == SOLO_NONE && !suspect))
		return true;
	if (auf_device_many(dev) && (r->word & REQ_SOLO))
		return true;
	if (auf_device_apart(dev)) {
		if (suspect && dev->solo.phase == SOLO_NONE)
			auf_lane_post(dev->lane, &dev->solo.work);
		return false;
	}
	if (dev->solo.phase == SOLO_RUNNING || (dev->solo.phase != SOLO_NONE && !suspect) ||
	    (dev->solo.phase != SOLO_NONE && dev->solo.request != r))
		return false;
	if (dev->solo.phase == SOLO_PASSED || solo_owned(dev) == 0) {
		solo_run(dev, r);
		return true;
	}
	if (dev->solo.phase == SOLO_NONE) {
		dev->solo.phase = SOLO_WAITING;
		dev->solo.queue = queue;
		dev->solo.request = r;
		auf_timeout_set(dev->lane, &dev->solo.timeout, SOLO_WAIT_MS);
		solo_watch(dev);
	}
	return false;
}

void auf_solo_left(struct au_device *dev, struct auf_request *r)
{
	if (auf_device_apart(dev)) {
		if (r && dev->solo.request == r)
			atomic_store(&dev->solo.ended, true);
		auf_lane_post(dev->lane, &dev->solo.work);
	} else if (r && dev->solo.request == r) {
		solo_end(dev);
	} else if (dev->solo.phase == SOLO_WAITING && solo_owned(dev) == 0) {
		solo_try(dev);
	}
}
