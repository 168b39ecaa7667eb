/* SPDX-License-Identifier: MIT */
/* Requests: ownership, and the way out. */
#include "framework/internal.h"

#include <string.h>

/* What is not ordinary about it when it leaves its owner. */
void auf_request_let_go(struct auf_request *r)
{
	struct au_lane *lane = r->handle->lane;

	if (r->word & (REQ_TIMED | REQ_OVERDUE))
		auf_timeout_clear(lane, &r->timeout);
	/* Others that are overdue will say so again within 100 ms. */
	if ((r->word & REQ_OVERDUE) && lane->recorder && lane->index < AU_RECORDER_LANES)
		atomic_store(&lane->recorder->status->lane[lane->index].overdue_ms, 0);
	if ((r->word & REQ_OWNER) == REQ_QUEUED)
		auf_queue_unwait(r);
	else if (r->word & REQ_LISTED)
		auf_stop_unlisted(r);
	r->cancel_status = 0;
}

/* Give it back to its sender. It belongs to nobody from here on; the handle may be gone after. */
static inline __attribute__((always_inline)) void request_give_back(struct auf_request *r,
								    int status, uint32_t result,
								    uint16_t device_status)
{
	struct auf_handle *handle = r->handle;

	au_trace_probe(complete, r->slot, status, result);
	handle->lane->completed++;
	handle->complete(handle, status, result, device_status, r->slot, r->tag);
}

/* Everything but the ordinary case. */
static void __attribute__((noinline))
request_finish_slow(struct auf_request *r, int status, uint32_t result, uint16_t device_status)
{
	struct au_queue *queue = r->word & REQ_NO_QUEUE ? NULL : r->queue;
	bool owned = auf_request_is(r) == REQ_OWNED, verified = r->word & REQ_VERIFIED;
	bool solo = r->word & REQ_SOLO;
	struct auf_handle *handle = r->handle;
	struct au_device *dev = handle->unit->dev;
	struct au_lane *lane = handle->lane;

	if (status == -AU_ECANCELED && r->cancel_status)
		status = r->cancel_status;
	auf_request_let_go(r);
	r->word = REQ_FREE | (r->word & (REQ_CANCELED | REQ_VERIFIED | REQ_SOLO | REQ_PARKED));
	if (owned && queue)
		queue->owned--;
	if (queue && !auf_queue_managed(queue))
		queue->finished++;
	lane->sweeping++;
	/* The slot is the sender's again before it hears of it: recycle first. */
	if (verified)
		auf_handle_recycle(r);
	request_give_back(r, status, result, device_status);
	/* The next suspect may be the one: this one must not be found outstanding then. */
	if (solo && !handle->closing && handle->config.flush)
		handle->config.flush(handle);
	if (dev->solo.phase != SOLO_NONE)
		auf_solo_left(dev, r);
	if (queue)
		auf_queue_left(queue);
	if (--lane->sweeping == 0)
		auf_device_settle_handles(dev, lane);
}

void auf_request_finish(struct auf_request *r, int status, uint32_t result, uint16_t device_status)
{
	request_finish_slow(r, status, result, device_status);
}

/* Whether this is neither its lane, nor lane 0 while that is parked. */
static bool request_elsewhere(const struct auf_request *r)
{
	const struct au_device *dev = r->handle->unit->dev;

	if (!auf_device_many(dev) || auf_lane_current(r->handle->lane))
		return false;
	return !auf_lane_current(dev->lane) || !dev->held;
}

/* A completion that is not ordinary, or not in order: then it goes on as far as it can. */
static void __attribute__((noinline))
request_complete_odd(struct auf_request *r, int status, uint32_t result, uint16_t device_status)
{
	/* The slot's memory lives as long as the handle, so this much is always known. */
	if (auf_request_is(r) == REQ_FREE) {
		auf_violation(r->handle->unit ? r->handle->unit->dev : NULL, RULE_double_completion,
			      r);
		return;
	}
	if (auf_request_is(r) == REQ_QUEUED) {
		auf_violation(r->handle->unit->dev, RULE_unowned_completion, r);
		return;
	}
	if (r->handle->lane->in_isr)
		auf_violation(r->handle->unit->dev, RULE_completion_in_isr, r);
	if (request_elsewhere(r))
		auf_violation(r->handle->unit->dev, RULE_wrong_lane, r);
	if (r->word & REQ_CANCELABLE) {
		auf_violation(r->handle->unit->dev, RULE_completion_cancelable, r);
		r->word &= ~REQ_CANCELABLE;
	}
	if (r->word & REQ_VERIFIED)
		auf_verify_completed(r, &status, &result);
	request_finish_slow(r, status, result, device_status);
}

/* Others wait for their turn. */
static void __attribute__((noinline))
request_complete_more(struct auf_request *r, int status, uint32_t result, uint16_t device_status)
{
	struct au_queue *queue = r->queue;

	request_give_back(r, status, result, device_status);
	auf_queue_left(queue);
}

static inline __attribute__((always_inline)) void request_complete(struct au_request *req,
								   int status, uint32_t result,
								   uint16_t device_status)
{
	struct auf_request *r = auf_request(req);
	struct au_queue *queue = r->queue;

	if (unlikely(r->word != REQ_OWNED)) {
		request_complete_odd(r, status, result, device_status);
		return;
	}
	r->word = REQ_FREE;
	queue->owned--;
	/* Last, where nothing is left to do: a jump and not a call. */
	if (unlikely(queue->matter))
		request_complete_more(r, status, result, device_status);
	else
		request_give_back(r, status, result, device_status);
}

void au_request_complete(struct au_request *req, int status, uint32_t result)
{
	request_complete(req, status, result, 0);
}

void au_request_complete_status(struct au_request *req, int status, uint32_t result,
				uint16_t device_status)
{
	request_complete(req, status, result, device_status);
}

bool auf_request_owned(struct auf_request *r)
{
	if (likely(auf_request_is(r) == REQ_OWNED))
		return true;
	auf_violation(r->handle->unit ? r->handle->unit->dev : NULL,
		      auf_request_is(r) == REQ_FREE ? RULE_use_after_completion
						    : RULE_unowned_completion,
		      r);
	return false;
}

void auf_request_give_up(struct auf_request *r)
{
	struct au_queue *from = r->word & REQ_NO_QUEUE ? NULL : r->queue;
	struct au_device *dev = r->handle->unit->dev;

	if (r->word & REQ_CANCELABLE) {
		auf_violation(dev, RULE_completion_cancelable, r);
		r->word &= ~REQ_CANCELABLE;
	}
	if (dev->solo.phase != SOLO_NONE)
		auf_solo_left(dev, r);
	if (r->word & REQ_LISTED)
		auf_stop_unlisted(r);
	r->word &= ~(REQ_OWNER | REQ_NO_QUEUE | REQ_SOLO | REQ_PARKED);
	atomic_store_explicit(&r->progress->flags, 0, memory_order_relaxed);
	if (from)
		from->owned--;
}

int au_request_requeue(struct au_request *req)
{
	struct auf_request *r = auf_request(req);
	struct au_queue *queue = r->queue;

	if (!auf_request_owned(r) || (r->word & REQ_NO_QUEUE))
		return -AU_EINVAL;
	auf_request_give_up(r);
	auf_queue_wait(queue, r, true);
	if (r->cancel_status || queue->state == AU_QUEUE_PURGED || queue->dev->refusing) {
		auf_request_finish(r, r->cancel_status ? r->cancel_status : -AU_ECANCELED, 0, 0);
	} else {
		/* In the next turn: a driver that always hands it back must not hold the lane. */
		queue->requeued = true;
		auf_lane_post(queue->lane, &queue->later);
	}
	auf_queue_left(queue);
	return 0;
}

static int request_move(struct auf_request *r, struct au_queue *to)
{
	struct au_queue *from = r->word & REQ_NO_QUEUE ? NULL : r->queue;

	if (to->unit != r->handle->unit) {
		auf_violation(r->handle->unit->dev, RULE_foreign_queue, r);
		return -AU_EINVAL;
	}
	auf_request_give_up(r);
	auf_queue_accept(auf_queue_on(to, r->handle->lane), r);
	if (from)
		auf_queue_left(from);
	return 0;
}

int au_request_forward(struct au_request *req, struct au_queue *queue)
{
	struct auf_request *r = auf_request(req);

	return auf_request_owned(r) ? request_move(r, queue) : -AU_EINVAL;
}

void auf_queue_put(struct au_queue *queue, struct au_request *req)
{
	struct auf_request *r = auf_request(req);

	if (auf_request_owned(r))
		request_move(r, queue);
}

uint64_t au_request_handle(const struct au_request *req)
{
	return ((const struct auf_request *)(const void *)req)->tag;
}

struct au_unit *au_request_unit(const struct au_request *req)
{
	return ((const struct auf_request *)(const void *)req)->handle->unit;
}

struct au_queue *au_request_queue(const struct au_request *req)
{
	return ((const struct auf_request *)(const void *)req)->queue;
}

unsigned int au_request_lane(const struct au_request *req)
{
	return ((const struct auf_request *)(const void *)req)->handle->lane->index;
}

struct auf_progress *auf_request_progress(struct au_request *req)
{
	return auf_request(req)->progress;
}

void auf_request_replay(const struct au_request *req, uint32_t *started, uint32_t *done)
{
	const struct auf_request *r = (const void *)req;

	*started = r->started;
	*done = r->done;
}

struct auf_handle *auf_request_owner(const struct au_request *req, uint64_t *tag)
{
	const struct auf_request *r = (const void *)req;

	if (tag)
		*tag = r->tag;
	return r->handle;
}

void auf_request_park(struct au_request *req)
{
	struct auf_request *r = auf_request(req);

	r->word |= REQ_PARKED;
	atomic_store_explicit(&r->progress->flags, 0, memory_order_relaxed);
	if (r->handle->unit->dev->solo.phase != SOLO_NONE)
		auf_solo_left(r->handle->unit->dev, r);
}
