/* SPDX-License-Identifier: MIT */
/*
 * Queues and controller anew, while requests are outstanding: these keep their slots, and are sent
 * again when the device has forgotten them. Nobody's memory is given back before that.
 */
#include "nvme.h"

#define RECOVER_FRUITLESS 3u /* resets in a row between which nothing was completed */

/* Nothing is sent or taken any more, on any lane. */
static void recover_stop(struct nvme *n)
{
	au_device_park(n->dev);
	n->up = false;
	nvme_each_path(n, p) p->live = false;
	au_device_unpark(n->dev);
}

static uint64_t recover_completed(struct nvme *n)
{
	uint64_t sum = 0;

	nvme_each_path(n, p) sum += p->completed;
	return sum;
}

void nvme_gone(struct nvme *n)
{
	if (n->gone)
		return;
	__atomic_store_n(&n->gone, true, __ATOMIC_RELAXED);
	nvme_set_odd(n, true);
	recover_stop(n);
	au_log(n->dev, AU_LOG_ERROR, "the controller is gone: its registers read all-ones");
	au_device_gone(n->dev);
}

static void recover_give_up(struct nvme *n, const char *why)
{
	n->failed = true;
	recover_stop(n);
	au_device_failed(n->dev, why);
}

static void recover_done(struct nvme *n)
{
	nvme_io_resubmit(n);
	nvme_events_begin(n);
}

static void reset_done(struct nvme *n, int err)
{
	if (!err)
		recover_done(n);
	else if (err == -AU_ETIMEDOUT)
		recover_give_up(n, "the controller cannot be reset");
	else
		nvme_reset(n, "the reset failed");
}

void nvme_reset(struct nvme *n, const char *why)
{
	uint64_t completed;

	n->upset = true;
	if (n->gone || n->failed || n->waits || (n->step && n->steps_done == reset_done))
		return;
	au_device_park(n->dev);
	recover_stop(n);
	completed = recover_completed(n);
	n->fruitless = completed == n->completed_before ? n->fruitless + 1 : 0;
	n->completed_before = completed;
	n->resets++;
	au_log(n->dev, AU_LOG_WARN, "controller reset %u: %s; %u requests are outstanding",
	       n->resets, why, nvme_flying(n));
	if (n->fruitless > RECOVER_FRUITLESS)
		recover_give_up(n, "resets of the controller do not help");
	else
		nvme_steps_begin(n, nvme_bring_up, reset_done);
	au_device_unpark(n->dev);
}

void nvme_requeued(struct nvme *n, int err)
{
	if (err)
		nvme_reset(n, "its queues cannot be made anew");
	else
		recover_done(n);
}

void nvme_requeue(struct nvme_path *p, const char *why)
{
	struct nvme *n = p->nvme;

	/* One after the other: what is late now is late then. */
	if (n->gone || n->failed || !p->live || !n->up ||
	    (n->step && n->steps_done == nvme_requeued))
		return;
	au_device_park(n->dev);
	p->live = false;
	au_log(n->dev, AU_LOG_WARN, "new I/O queues %u: %s; %u requests are outstanding",
	       p->number + 1, why, n->depth - p->free_count);
	n->at = p->number;
	n->last = p->number + 1;
	nvme_steps_begin(n, nvme_new_queues, nvme_requeued);
	au_device_unpark(n->dev);
}
