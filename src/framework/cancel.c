/* SPDX-License-Identifier: MIT */
/*
 * Cancellation: whoever comes first wins. What no driver has seen ends at once. A driver that
 * holds a request for long makes it cancelable; its callback then ends it. What is neither is
 * marked, and the driver finds out when it asks. A deadline is a cancellation with another status.
 */
#include "framework/internal.h"

#define CANCEL_PATIENCE_MS 1000u
#define CANCEL_REPORT_MS   100u

/* For the flight recorder: what it asks of which unit. */
static uint64_t cancel_op(const struct auf_request *r)
{
	return AU_TRACE_OP(r->handle->unit ? r->handle->unit->index : 0, r->pub.op);
}

/* Still with the driver, though cancellation was asked for: tell whoever watches the lane. */
static void cancel_overdue(struct auf_timeout *timeout)
{
	struct auf_request *r = AU_CONTAINER(timeout, struct auf_request, timeout);
	struct au_lane *lane = r->handle->lane;
	uint64_t held = lane->now_ms - r->asked_ms;

	if (!(r->word & REQ_OVERDUE)) {
		au_trace4(lane->recorder, lane->index, overdue, r->slot, r->tag, held,
			  cancel_op(r));
		au_log(r->handle->unit->dev, AU_LOG_WARN,
		       "the driver holds request %u (operation %u) though it was asked to cancel "
		       "it "
		       "%llu ms ago",
		       r->slot, r->pub.op, (unsigned long long)held);
	}
	r->word |= REQ_OVERDUE;
	if (lane->recorder && lane->index < AU_RECORDER_LANES) {
		_Atomic uint32_t *overdue = &lane->recorder->status->lane[lane->index].overdue_ms;

		if (atomic_load(overdue) < held)
			atomic_store(overdue, held > UINT32_MAX ? UINT32_MAX : (uint32_t)held);
	}
	auf_timeout_set(lane, timeout, CANCEL_REPORT_MS);
}

void auf_request_cancel(struct auf_request *r, int status)
{
	struct au_lane *lane = r->handle->lane;

	if (auf_request_is(r) == REQ_FREE || r->cancel_status)
		return;
	au_trace4(lane->recorder, lane->index, cancel, r->slot, r->tag, status, cancel_op(r));
	r->cancel_status = status;
	if (auf_request_is(r) == REQ_QUEUED) {
		auf_request_finish(r, status, 0, 0);
		return;
	}
	r->asked_ms = lane->now_ms;
	r->timeout.fn = cancel_overdue;
	auf_timeout_set(lane, &r->timeout, CANCEL_PATIENCE_MS);
	r->word |= REQ_TIMED;
	if (r->word & REQ_CANCELABLE) {
		r->word = (r->word & ~REQ_CANCELABLE) | REQ_CANCELED;
		AUF_CALL(r->handle->unit->dev, CALL_CANCEL, r->cancel(&r->pub));
	}
}

void auf_request_timed_out(struct auf_timeout *timeout)
{
	struct auf_request *r = AU_CONTAINER(timeout, struct auf_request, timeout);
	struct au_lane *lane = r->handle->lane;

	au_trace(lane->recorder, lane->index, timeout, r->slot, r->tag, cancel_op(r));
	auf_request_cancel(r, -AU_ETIMEDOUT);
}

int au_request_set_cancelable(struct au_request *req, void (*cancel)(struct au_request *req))
{
	struct auf_request *r = auf_request(req);
	struct au_device *dev = r->handle->unit ? r->handle->unit->dev : NULL;

	if (!dev || auf_request_is(r) != REQ_OWNED) {
		auf_violation(dev,
			      auf_request_is(r) == REQ_FREE ? RULE_use_after_completion
							    : RULE_unowned_completion,
			      r);
		return -AU_EINVAL;
	}
	if (!cancel)
		return -AU_EINVAL;
	if (r->word & REQ_CANCELABLE) {
		auf_violation(dev, RULE_cancelable_twice, r);
		return -AU_EINVAL;
	}
	if (r->cancel_status)
		return -AU_ECANCELED;
	/* The sweep of a purge has passed: it must not wait for this one for ever. */
	if (dev->refusing || (!(r->word & REQ_NO_QUEUE) && r->queue->state == AU_QUEUE_PURGED)) {
		r->cancel_status = dev->refusing ? -AU_ENODEV : -AU_ECANCELED;
		return -AU_ECANCELED;
	}
	r->cancel = cancel;
	r->word |= REQ_CANCELABLE;
	return 0;
}

int au_request_clear_cancelable(struct au_request *req)
{
	struct auf_request *r = auf_request(req);
	struct au_device *dev = r->handle->unit ? r->handle->unit->dev : NULL;

	if (likely(r->word & REQ_CANCELABLE)) {
		r->word &= ~REQ_CANCELABLE;
		return 0;
	}
	/* The callback has it, or has completed it already. */
	if (r->word & REQ_CANCELED)
		return -AU_ECANCELED;
	if (auf_request_is(r) != REQ_OWNED) {
		auf_violation(dev, RULE_use_after_completion, r);
		return -AU_ECANCELED;
	}
	auf_violation(dev, RULE_clear_unmatched, r);
	return 0;
}

bool au_request_is_canceled(struct au_request *req)
{
	struct auf_request *r = auf_request(req);
	struct au_device *dev = r->handle->unit ? r->handle->unit->dev : NULL;

	if (auf_request_is(r) != REQ_OWNED) {
		auf_violation(dev, RULE_use_after_completion, r);
		return true;
	}
	if (r->word & REQ_CANCELABLE)
		auf_violation(dev, RULE_canceled_polled, r);
	return r->cancel_status != 0;
}
