/* SPDX-License-Identifier: MIT */
/*
 * What a driver does with its requests when the device leaves D0. Where a queue has a stop(), what
 * the driver owns of it is in one of four lists, in the order of delivery: its own as ever; those
 * that it is to be asked about; those that it was asked about, and has not answered for; those that
 * it keeps until the device is back. A request is taken out of its list when it leaves the driver,
 * wherever it is: so none is asked about twice, and none after it was completed.
 *
 * A queue without stop() has no lists, and its requests nothing of all this: the driver completes
 * them, and who waits counts.
 */
#include "framework/internal.h"

static struct auf_request *stop_of(struct au_list *node)
{
	return AU_CONTAINER(node, struct auf_request, node);
}

void auf_stop_listed(struct au_queue *queue, struct auf_request *r)
{
	r->order = ++queue->order;
	au_list_add_tail(&queue->mine, &r->node);
	r->word |= REQ_LISTED;
}

void auf_stop_unlisted(struct auf_request *r)
{
	au_list_remove(&r->node);
	if (r->word & REQ_KEPT)
		r->queue->kept_count--;
	r->word &= ~(REQ_LISTED | REQ_ASKED | REQ_KEPT);
}

static void stop_ask_queue(struct au_queue *queue, enum au_stop why)
{
	struct au_list *node;

	if (!queue->config.stop)
		return;
	/* Who is gone for good is asked about everything; what was asked before, once more. */
	if (why == AU_STOP_REMOVE) {
		au_list_splice(&queue->to_ask, &queue->kept);
		au_list_splice(&queue->to_ask, &queue->asked);
	}
	au_list_splice(&queue->to_ask, &queue->mine);
	while ((node = au_list_pop(&queue->to_ask))) {
		struct auf_request *r = stop_of(node);

		if (r->word & REQ_KEPT)
			queue->kept_count--;
		r->word &= ~REQ_KEPT;
		au_list_add_tail(&queue->asked, node);
		/* One that was cancelled is its cancel()'s, which ends it. */
		if (r->word & REQ_CANCELED)
			continue;
		r->word |= REQ_ASKED;
		AUF_CALL(queue->dev, CALL_STOP, queue->config.stop(queue, &r->pub, why));
	}
}

void auf_stop_ask(struct au_device *dev, enum au_stop why)
{
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		if (!dev->units[i])
			continue;
		au_list_for_each (node, &dev->units[i]->queues) {
			struct au_queue *queue = AU_CONTAINER(node, struct au_queue, node);

			if (why == AU_STOP_REMOVE || auf_queue_managed(queue))
				stop_ask_queue(queue, why);
		}
	}
}

static void stop_resume_queue(struct au_queue *queue)
{
	struct au_list *node;

	while ((node = au_list_pop(&queue->kept))) {
		struct auf_request *r = stop_of(node);

		queue->kept_count--;
		r->word &= ~REQ_KEPT;
		au_list_add_tail(&queue->mine, node);
		if (queue->config.resume && !(r->word & REQ_CANCELED))
			AUF_CALL(queue->dev, CALL_RESUME, queue->config.resume(queue, &r->pub));
	}
}

void auf_stop_resume(struct au_device *dev)
{
	auf_device_each_queue(dev, stop_resume_queue);
}

unsigned int auf_stop_unanswered(struct au_device *dev, const struct au_queue **first)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		if (!dev->units[i])
			continue;
		au_list_for_each (node, &dev->units[i]->queues) {
			const struct au_queue *queue = AU_CONTAINER(node, struct au_queue, node);

			if (!auf_queue_managed(queue) || queue->owned == queue->kept_count)
				continue;
			if (!count && first)
				*first = queue;
			count += queue->owned - queue->kept_count;
		}
	}
	return count;
}

/* In its old order: before what came to the queue later. */
static void stop_give_back(struct au_queue *queue, struct auf_request *r)
{
	struct au_list *before = queue->waiting.next;

	while (before != &queue->waiting && (stop_of(before)->word & REQ_RETURNED) &&
	       stop_of(before)->order < r->order)
		before = before->next;
	auf_queue_wait(queue, r, false);
	r->word |= REQ_RETURNED;
	if (before == &queue->waiting)
		return;
	au_list_remove(&r->node);
	au_list_add_tail(before, &r->node);
}

static void stop_keep(struct au_queue *queue, struct auf_request *r)
{
	struct au_list *before = queue->kept.next;

	while (before != &queue->kept && stop_of(before)->order < r->order)
		before = before->next;
	au_list_remove(&r->node);
	au_list_add_tail(before, &r->node);
	r->word = (r->word & ~REQ_ASKED) | REQ_KEPT;
	queue->kept_count++;
}

int au_request_stop_ack(struct au_request *req, bool requeue)
{
	struct auf_request *r = auf_request(req);
	struct au_queue *queue = r->queue;
	struct au_device *dev;

	if (!auf_request_owned(r))
		return -AU_EINVAL;
	dev = r->handle->unit->dev;
	if (!(r->word & REQ_ASKED)) {
		auf_violation(dev, RULE_stop_ack, r);
		return -AU_EINVAL;
	}
	if (dev->refusing) {
		auf_request_give_up(r);
		auf_request_finish(r, r->cancel_status ? r->cancel_status : -AU_ENODEV, 0, 0);
		return 0;
	}
	if (!requeue) {
		stop_keep(queue, r);
	} else {
		auf_request_give_up(r);
		stop_give_back(queue, r);
		if (r->cancel_status || queue->state == AU_QUEUE_PURGED)
			auf_request_finish(r, r->cancel_status ? r->cancel_status : -AU_ECANCELED,
					   0, 0);
	}
	auf_queue_left(queue);
	return 0;
}
