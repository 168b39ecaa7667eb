/* SPDX-License-Identifier: MIT */
/*
 * Queues and controller anew, while requests are outstanding: these keep their slots, and are sent
 * again when the device has forgotten them. Nobody's memory is given back before that.
 */
#include "nvme.h"

#define RECOVER_FRUITLESS 3u /* resets in a row between which nothing was completed */

void nvme_gone(struct nvme *n)
{
	if (n->gone)
		return;
	n->gone = n->odd = true;
	n->live = false;
	au_log(n->dev, AU_LOG_ERROR, "the controller is gone: its registers read all-ones");
	au_device_gone(n->dev);
}

static void recover_give_up(struct nvme *n, const char *why)
{
	n->failed = true;
	n->live = false;
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
	n->upset = true;
	if (n->gone || n->failed || n->waits || (n->step && n->steps_done == reset_done))
		return;
	n->fruitless = n->completed == n->completed_before ? n->fruitless + 1 : 0;
	n->completed_before = n->completed;
	n->resets++;
	n->live = false;
	au_log(n->dev, AU_LOG_WARN, "controller reset %u: %s; %u requests are outstanding",
	       n->resets, why, n->depth - n->free_count);
	if (n->fruitless > RECOVER_FRUITLESS)
		recover_give_up(n, "resets of the controller do not help");
	else
		nvme_steps_begin(n, nvme_bring_up, reset_done);
}

static void requeue_done(struct nvme *n, int err)
{
	if (err)
		nvme_reset(n, "its queues cannot be made anew");
	else
		recover_done(n);
}

void nvme_requeue(struct nvme *n, const char *why)
{
	if (n->gone || n->failed || !n->live)
		return;
	n->live = false;
	au_log(n->dev, AU_LOG_WARN, "new I/O queues: %s; %u requests are outstanding", why,
	       n->depth - n->free_count);
	nvme_steps_begin(n, nvme_new_queues, requeue_done);
}
