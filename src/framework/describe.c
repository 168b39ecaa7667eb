/* SPDX-License-Identifier: MIT */
/*
 * What a device is doing, and what it waits for: for people who wonder why nothing goes on. Nothing
 * is counted or stamped on a request's way for this: since when one is outstanding is known from
 * when it was last looked at.
 */
#include "framework/internal.h"

#include <stdio.h>
#include <string.h>

/* Since when a request is known to be outstanding. */
void auf_request_seen(struct auf_request *r, uint64_t now_ms)
{
	if (r->seen_tag == r->tag && r->seen_ms)
		return;
	r->seen_tag = r->tag;
	r->seen_ms = now_ms ? now_ms : 1;
}

static const char *describe_owner(const struct auf_request *r)
{
	if (auf_request_is(r) == REQ_QUEUED)
		return "queue";
	return r->word & (REQ_NO_QUEUE | REQ_PARKED) ? "class" : "driver";
}

static struct auf_request_description describe_request(const struct auf_request *r, uint64_t now_ms)
{
	const struct au_unit *unit = r->handle->unit;

	return (struct auf_request_description){
		.unit = unit->index,
		.cls = unit->cls->name,
		.lane = r->handle->lane->index,
		.slot = r->slot,
		.op = r->pub.op,
		.length = r->pub.length,
		.age_ms = now_ms - r->seen_ms,
		.owner = describe_owner(r),
		.cancel_asked = r->cancel_status != 0,
		.cancelable = r->word & REQ_CANCELABLE,
		.overdue_ms = r->word & REQ_OVERDUE ? now_ms - r->asked_ms : 0,
		.suspect = r->word & REQ_SUSPECT,
		.kept = r->word & REQ_KEPT,
	};
}

/* The oldest ones, oldest first. */
static void describe_one(struct auf_request *r, void *arg)
{
	struct auf_description *d = arg;
	struct auf_request_description now;
	unsigned int at;

	auf_request_seen(r, d->now_ms);
	now = describe_request(r, d->now_ms);
	d->outstanding++;
	if (auf_request_is(r) == REQ_OWNED)
		d->owned++;
	for (at = d->request_count; at > 0 && d->requests[at - 1].age_ms < now.age_ms; at--)
		if (at < AUF_DESCRIBED_REQUESTS)
			d->requests[at] = d->requests[at - 1];
	if (at < AUF_DESCRIBED_REQUESTS)
		d->requests[at] = now;
	if (d->request_count < AUF_DESCRIBED_REQUESTS)
		d->request_count++;
}

/* Why a queue does not deliver what waits in it; "" when it does. */
static const char *describe_wait(const struct au_queue *queue)
{
	const struct au_device *dev = queue->dev;

	if (queue->unit->removed)
		return "its unit has been removed";
	if (dev->refusing)
		return "the device is going down";
	if (!dev->delivering)
		return "the device is not up yet";
	if (!dev->gate)
		return "clients have yet to send again what the host before had";
	if (dev->asleep && auf_queue_managed(queue))
		return "the device is not in D0";
	if (queue->state == AU_QUEUE_STOPPED)
		return "its driver has stopped it";
	if (dev->solo.phase != SOLO_NONE)
		return "a request that may have killed the driver twice runs alone";
	if (queue->config.kind == AU_QUEUE_MANUAL)
		return "its driver does not take it";
	if (queue->owned >= queue->bound)
		return "its driver has as many as it takes at once";
	return "";
}

static bool describe_dull(const struct au_queue *queue)
{
	return !queue->waits && !queue->owned && queue->state == AU_QUEUE_READY;
}

static void describe_queue(struct auf_description *d, const struct au_queue *queue,
			   unsigned int number)
{
	static const char *const states[] = { [AU_QUEUE_READY] = "ready",
					      [AU_QUEUE_STOPPED] = "stopped",
					      [AU_QUEUE_DRAINING] = "draining",
					      [AU_QUEUE_PURGED] = "purged" };

	if (d->queue_count == AUF_DESCRIBED_QUEUES) {
		d->queues_left_out++;
		return;
	}
	d->queues[d->queue_count++] = (struct auf_queue_description){
		.unit = queue->unit->index,
		.lane = queue->lane->index,
		.number = number,
		.state = states[queue->state],
		.waiting = queue->waits,
		.owned = queue->owned,
		.kept = queue->kept_count,
		.why = queue->waits ? describe_wait(queue) : "",
	};
}

/* Those where something is the matter come first: there may be more than there is room for. */
static void describe_queues(const struct au_device *dev, struct auf_description *d, bool dull)
{
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		unsigned int number = 0;

		if (!dev->units[i])
			continue;
		d->handles += dull ? 0 : dev->units[i]->handle_count;
		au_list_for_each (node, &dev->units[i]->queues) {
			const struct au_queue *queue = AU_CONTAINER(node, struct au_queue, node);

			/* With several lanes, one after the other is of the next lane. */
			if (describe_dull(queue) == dull)
				describe_queue(d, queue, number / dev->lane_count);
			number++;
		}
	}
}

static void describe_irq(const struct au_device *dev, struct auf_description *d)
{
	static const char *const modes[] = {
		[AU_BUS_INTX] = "intx", [AU_BUS_MSI] = "msi", [AU_BUS_MSIX] = "msi-x"
	};

	if (au_list_empty(&dev->irqs))
		return;
	d->irq = modes[dev->irq_mode];
	d->irq_on = dev->irqs_on;
	d->irq_polling = dev->intx.polling;
	d->irq_storms = dev->intx.storms;
	d->irq_total = dev->intx.total;
	d->irq_unclaimed = dev->intx.unclaimed_total;
}

void auf_device_describe(struct au_device *dev, struct auf_description *d)
{
	const struct auf_machine *m = &dev->machine;

	auf_lane_clock(dev->lane);
	*d = (struct auf_description){ .now_ms = dev->lane->now_ms,
				       .state = auf_device_state_name(dev),
				       .running = m->running,
				       .gone = m->gone,
				       .stopping = m->stop,
				       .gate_open = dev->gate,
				       .delivering = dev->delivering,
				       .alone = dev->solo.phase != SOLO_NONE,
				       .lanes = dev->lane_count };
	if (m->steps)
		d->state_ms = d->now_ms - m->history[(m->steps - 1) % MACHINE_HISTORY].time_ms;
	auf_device_hold(dev);
	auf_device_sweep(dev, describe_one, d);
	describe_queues(dev, d, false);
	describe_queues(dev, d, true);
	describe_irq(dev, d);
	auf_device_let_go(dev);
}
