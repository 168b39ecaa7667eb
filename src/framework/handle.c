/* SPDX-License-Identifier: MIT */
/* Handles: who sends requests. All memory of a handle's requests is there from the start. */
#include "framework/plain.h"

#include <errno.h>
#include <string.h>

#define HANDLE_DEPTH_MAX 65536u
/* The verifier gives a request's memory a rest before it is used again, so as to catch who still
 * uses it. */
#define HANDLE_SPARE	 4u

static void handle_settle_work(struct auf_work *work);

static int handle_alloc(struct auf_handle *handle, struct au_device *dev)
{
	bool verify = dev->verify;
	uint32_t count = handle->depth * (verify ? HANDLE_SPARE : 1);

	handle->slots = auf_alloc(dev, handle->depth * sizeof(struct auf_request *));
	handle->requests = auf_alloc(dev, count * sizeof(*handle->requests));
	if (verify)
		handle->copies = auf_alloc(dev, count * sizeof(*handle->copies));
	if (!handle->slots || !handle->requests || (verify && !handle->copies))
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct auf_request *r = &handle->requests[i];

		r->handle = handle;
		r->slot = i % handle->depth;
		au_list_init(&r->node);
		if (verify)
			r->word = REQ_VERIFIED;
		if (i < handle->depth)
			handle->slots[i] = r;
		else
			au_list_add_tail(&handle->spare, &r->node);
	}
	return 0;
}

static void handle_free(struct auf_handle *handle)
{
	if (handle->late)
		auf_inject_handle_free(handle);
	au_os_free(handle->copies);
	au_os_free(handle->requests);
	au_os_free(handle->slots);
	au_os_free(handle);
}

int auf_handle_open(struct au_unit *unit, const struct auf_handle_config *config,
		    struct auf_handle **out)
{
	struct au_device *dev = unit->dev;
	struct auf_handle *handle;
	uint32_t flags;

	if (config->depth == 0 || !auf_device_has_lane(dev, config->lane) ||
	    config->depth > HANDLE_DEPTH_MAX || !config->complete)
		return -EINVAL;
	if (unit->removed || dev->refusing)
		return -ENODEV;
	handle = auf_alloc(dev, sizeof(*handle));
	if (!handle)
		return -ENOMEM;
	handle->context = config->context;
	handle->unit = unit;
	handle->lane = config->lane ? config->lane : dev->lane;
	handle->first = auf_queue_on(unit->first, handle->lane);
	handle->shared = auf_device_many(dev) ? dev : NULL;
	handle->settle.fn = handle_settle_work;
	handle->depth = handle->open = config->depth;
	handle->complete = config->complete;
	handle->dma_offset = config->dma_offset;
	handle->config = *config;
	au_list_init(&handle->spare);
	if (handle_alloc(handle, dev) != 0 || (dev->inject && auf_inject_handle(handle) != 0)) {
		handle_free(handle);
		return -ENOMEM;
	}
	auf_device_hold(dev);
	handle->lane->handles++;
	au_list_add_tail(&unit->handles, &handle->node);
	au_trace(dev->lane->recorder, dev->lane->index, handle_open, unit->index, config->depth, 0);
	flags = (unit->handle_count++ ? 0 : AUF_OPEN_FIRST) | (config->quiet ? AUF_OPEN_QUIET : 0) |
		(config->replaying ? AUF_OPEN_REPLAYING : 0);
	*out = handle;
	handle->keeps_up = unit->cls->keeps_up && !config->quiet;
	if (handle->keeps_up)
		auf_idle_opened(dev);
	if (unit->cls->opened)
		unit->cls->opened(unit, handle, flags);
	auf_device_let_go(dev);
	return 0;
}

/* ------------------------------------------------------------------ closing */

static void handle_leave_unit(struct auf_handle *handle)
{
	struct au_unit *unit = handle->unit;

	if (!unit)
		return;
	handle->unit = NULL;
	au_list_remove(&handle->node);
	unit->handle_count--;
	handle->lane->handles--;
	if (handle->keeps_up)
		auf_idle_closed(unit->dev);
	if (unit->cls->closed)
		unit->cls->closed(unit, handle, unit->handle_count == 0);
}

void auf_handle_settle(struct auf_handle *handle)
{
	void (*closed)(void *context) = handle->closed;
	void *context = handle->closed_context;

	if (!handle->closing || handle->outstanding)
		return;
	if (handle->shared) {
		/* Its unit is the device's as a whole: when nobody is at work there. */
		if (!handle->shared->held || handle->lane->sweeping ||
		    handle->shared->lane->sweeping) {
			auf_lane_post(handle->shared->lane, &handle->settle);
			return;
		}
		auf_lane_forget(handle->shared->lane, &handle->settle);
	} else if (handle->unit && handle->lane->sweeping) {
		return; /* whoever sweeps comes back to it */
	}
	handle_leave_unit(handle);
	handle_free(handle);
	if (closed)
		closed(context);
}

static void handle_settle_work(struct auf_work *work)
{
	struct auf_handle *handle = AU_CONTAINER(work, struct auf_handle, settle);
	struct au_device *dev = handle->shared;

	auf_device_hold(dev);
	auf_handle_settle(handle);
	auf_device_let_go(dev);
}

void auf_device_settle_handles(struct au_device *dev, struct au_lane *lane)
{
	bool all = !auf_device_apart(dev);

	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		if (!dev->units[i])
			continue;
		au_list_for_each_safe (node, &dev->units[i]->handles) {
			struct auf_handle *handle = AU_CONTAINER(node, struct auf_handle, node);

			if (all || handle->lane == lane)
				auf_handle_settle(handle);
		}
	}
}

/* One that was outstanding when the handle was closed. */
static void handle_let_go(struct auf_handle *handle, int status, uint32_t result,
			  uint16_t device_status, uint32_t slot, uint64_t tag)
{
	handle->outstanding--;
	auf_handle_settle(handle);
}

void auf_handle_close(struct auf_handle *handle, void (*closed)(void *context), void *context)
{
	struct au_device *dev;
	struct au_lane *lane;

	handle->closing = true;
	handle->open = 0;
	handle->complete = handle_let_go;
	if (handle->late)
		auf_inject_handle_close(handle);
	for (uint32_t i = 0; i < handle->depth; i++)
		handle->outstanding += auf_request_is(handle->slots[i]) != REQ_FREE;
	handle->closed = closed;
	handle->closed_context = context;
	if (!handle->unit) {
		auf_handle_settle(handle);
		return;
	}
	dev = handle->unit->dev;
	lane = handle->lane;
	au_trace(lane->recorder, lane->index, handle_close, handle->unit->index,
		 handle->outstanding, 0);
	lane->sweeping++;
	for (uint32_t i = 0; i < handle->depth; i++)
		auf_request_cancel(handle->slots[i], -AU_ECANCELED);
	if (--lane->sweeping == 0)
		auf_device_settle_handles(dev, lane);
}

/* Its unit goes away; nothing of it is outstanding any more. */
void auf_handle_orphan(struct auf_handle *handle)
{
	if (handle->late)
		auf_inject_handle_orphan(handle);
	handle->unit->handle_count--;
	handle->lane->handles--;
	if (handle->keeps_up)
		auf_idle_closed(handle->unit->dev);
	handle->unit = NULL;
	handle->open = 0;
	au_list_remove(&handle->node);
	auf_handle_settle(handle);
}

/* ------------------------------------------------------------------ requests */

void auf_handle_recycle(struct auf_request *r)
{
	struct auf_handle *handle = r->handle;
	struct auf_request *rested = AU_CONTAINER(handle->spare.next, struct auf_request, node);

	au_list_remove(&rested->node);
	rested->word = REQ_VERIFIED;
	rested->slot = r->slot;
	handle->slots[r->slot] = rested;
	au_list_add_tail(&handle->spare, &r->node);
	/* Who looks into a completed request finds nothing useful. */
	memset(&r->pub, 0xdb, sizeof(r->pub));
}

static inline uint64_t handle_what(const struct auf_submit *s)
{
	uint64_t what;

	memcpy(&what, &s->op, sizeof(what));
	return what;
}

static inline void handle_fill(const struct auf_handle *handle, struct auf_request *r,
			       const struct auf_submit *s)
{
	auf_plain_fill(handle, r, handle_what(s), s->arg[0], s->arg[1], s->data, s->tag,
		       s->progress);
}

/* A class that takes requests itself, a deadline, a suspect, a verifier, a refusal. */
static int __attribute__((noinline))
handle_submit_slow(struct auf_handle *handle, struct auf_request *r, const struct auf_submit *s)
{
	struct au_unit *unit = handle->unit;
	struct au_queue *queue = auf_queue_on(auf_unit_queue(unit, s->op), handle->lane);

	if (auf_request_is(r) != REQ_FREE)
		return -EBUSY;
	handle_fill(handle, r, s);
	r->started = s->started;
	r->done = s->done;
	r->word &= REQ_VERIFIED;
	r->word |= (s->suspect ? REQ_SUSPECT : 0) | REQ_OWNED | REQ_NO_QUEUE;
	if (s->timeout_ms) {
		r->word |= REQ_TIMED;
		r->timeout.fn = auf_request_timed_out;
		auf_timeout_set(handle->lane, &r->timeout, s->timeout_ms);
	}
	if (unit->dev->refusing || unit->removed) {
		auf_request_finish(r, -AU_ENODEV, 0, 0);
	} else if (s->op < unit->cls->first_op ||
		   (unit->cls->last_op && s->op > unit->cls->last_op) ||
		   (!unit->cls->submit && !queue)) {
		auf_request_finish(r, -AU_ENOTSUP, 0, 0);
	} else if (unit->cls->submit) {
		/* Until it is put into a queue it is being run. */
		atomic_store_explicit(&r->progress->flags, AUF_OWNED, memory_order_release);
		unit->cls->submit(unit, &r->pub);
	} else {
		r->word &= ~(REQ_OWNER | REQ_NO_QUEUE);
		auf_queue_accept(queue, r);
	}
	return 0;
}

int auf_submit(struct auf_handle *handle, uint32_t slot, const struct auf_submit *s)
{
	struct auf_request *r;

	if (unlikely(slot >= handle->open))
		return slot < handle->depth ? -ENODEV : -EINVAL;
	r = auf_plain(handle, slot, handle_what(s), s->arg[0], s->timeout_ms | s->suspect);
	if (unlikely(!r))
		return handle_submit_slow(handle, handle->slots[slot], s);
	handle_fill(handle, r, s);
	auf_queue_accept(handle->first, r);
	return 0;
}

int auf_cancel(struct auf_handle *handle, uint32_t slot, uint64_t tag)
{
	struct auf_request *r;

	if (slot >= handle->depth)
		return -EINVAL;
	r = handle->slots[slot];
	if (auf_request_is(r) == REQ_FREE || r->tag != tag)
		return -ESRCH;
	auf_request_cancel(r, -AU_ECANCELED);
	return 0;
}

void auf_handle_event(struct auf_handle *handle, uint16_t kind, uint32_t count, uint64_t arg0,
		      uint64_t arg1)
{
	const struct au_event event = { .kind = kind, .count = count, .arg = { arg0, arg1 } };

	if (handle->config.event && !handle->closing)
		handle->config.event(handle, &event);
}
