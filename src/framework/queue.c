/* SPDX-License-Identifier: MIT */
/* Queues: what they accept, and what they deliver when. */
#include "framework/internal.h"

#include "base/abi.h"

#define QUEUE_BATCH 128u /* deliveries in one go */

bool auf_queue_open(const struct au_queue *queue)
{
	const struct au_device *dev = queue->dev;

	return dev->delivering && dev->gate && !queue->unit->removed &&
	       (queue->state == AU_QUEUE_READY || queue->state == AU_QUEUE_DRAINING) &&
	       (!dev->asleep || !auf_queue_managed(queue));
}

void auf_queue_refresh(struct au_queue *queue)
{
	const struct au_device *dev = queue->dev;

	queue->special &= QUEUE_SETTLE | QUEUE_LISTS;
	if (queue->config.kind == AU_QUEUE_MANUAL || queue->state != AU_QUEUE_READY ||
	    !auf_queue_open(queue))
		queue->special |= QUEUE_CLOSED;
	if (dev->solo.phase != SOLO_NONE)
		queue->special |= QUEUE_SOLO;
}

static void queue_tell(struct au_queue *queue)
{
	if (!queue->waits) {
		queue->told = false;
	} else if (!queue->told && auf_queue_open(queue)) {
		queue->told = true;
		if (queue->config.ready)
			queue->config.ready(queue);
	}
}

static void queue_own(struct au_queue *queue, struct auf_request *r)
{
	auf_queue_own(queue, r, (r->word & ~(REQ_OWNER | REQ_RETURNED)) | REQ_OWNED,
		      r->word & REQ_SOLO ? AUF_OWNED | AUF_SOLO : AUF_OWNED);
	if (queue->special & QUEUE_LISTS)
		auf_stop_listed(queue, r);
	if (unlikely(r->word & REQ_VERIFIED))
		auf_verify_delivered(queue, r);
}

/* What waits is to be delivered, and only D0 is missing. */
static void queue_wake(struct au_queue *queue)
{
	if (queue->waits && queue->dev->asleep && auf_queue_managed(queue) &&
	    (queue->state == AU_QUEUE_READY || queue->state == AU_QUEUE_DRAINING))
		auf_power_want(queue->dev);
}

void auf_queue_pump(struct au_queue *queue)
{
	if (unlikely(queue->dev->asleep))
		queue_wake(queue);
	if (queue->config.kind == AU_QUEUE_MANUAL) {
		queue_tell(queue);
		return;
	}
	if (queue->pumping)
		return;
	for (unsigned int i = 0; i < QUEUE_BATCH && queue->waits && queue->owned < queue->bound &&
				 !queue->requeued && auf_queue_open(queue);
	     i++) {
		struct auf_request *r = AU_CONTAINER(queue->waiting.next, struct auf_request, node);

		if (!auf_solo_allows(queue, r))
			break;
		auf_queue_unwait(r);
		queue_own(queue, r);
		queue->pumping = true;
		queue->deliver(queue, &r->pub);
		queue->pumping = false;
	}
	/* A sender that sends again from each completion must not hold the lane. */
	if (queue->waits && queue->owned < queue->bound && auf_queue_open(queue))
		auf_queue_pump_later(queue);
}

void auf_queue_pump_later(struct au_queue *queue)
{
	auf_lane_post(queue->lane, &queue->later);
}

/* A change of state is done when the driver owns nothing of the queue, and a drain is empty. */
static void queue_settle(struct au_queue *queue)
{
	if (!(queue->special & QUEUE_SETTLE) || queue->owned ||
	    (queue->state != AU_QUEUE_STOPPED && queue->waits))
		return;
	queue->special &= QUEUE_CLOSED | QUEUE_SOLO | QUEUE_LISTS;
	if (queue->config.settled)
		queue->config.settled(queue, queue->state);
}

void auf_queue_left(struct au_queue *queue)
{
	if (queue->special & QUEUE_SOLO)
		auf_solo_left(queue->dev, NULL);
	if (queue->waits || queue->told)
		auf_queue_pump(queue);
	queue_settle(queue);
	if (unlikely(queue->dev->power.waiting))
		auf_power_left(queue);
}

/* The error with which a queue refuses; 0: it accepts. */
static int queue_refuses(const struct au_queue *queue)
{
	if (queue->dev->refusing || queue->unit->removed)
		return -AU_ENODEV;
	if (queue->state == AU_QUEUE_DRAINING)
		return -AU_EAGAIN;
	return queue->state == AU_QUEUE_PURGED ? -AU_ECANCELED : 0;
}

void auf_queue_accept(struct au_queue *queue, struct auf_request *r)
{
	int status = r->cancel_status ? r->cancel_status : queue_refuses(queue);

	auf_queue_wait(queue, r, false);
	if (status)
		auf_request_finish(r, status, 0, 0);
	else
		auf_queue_pump(queue);
}

struct au_request *au_queue_next(struct au_queue *queue)
{
	struct auf_request *r;

	if (!queue->waits || !auf_queue_open(queue))
		return NULL;
	r = AU_CONTAINER(queue->waiting.next, struct auf_request, node);
	if (!auf_solo_allows(queue, r))
		return NULL;
	auf_queue_unwait(r);
	if (!queue->waits)
		queue->told = false;
	queue_own(queue, r);
	return &r->pub;
}

/* -------------------------------------------------------------------- states */

static void queue_purge_one(struct auf_request *r, void *arg)
{
	if (r->queue == arg && !(r->word & REQ_NO_QUEUE))
		auf_request_cancel(r, -AU_ECANCELED);
}

void auf_queue_purge_waiting(struct au_queue *queue)
{
	while (queue->waits)
		auf_request_finish(AU_CONTAINER(queue->waiting.next, struct auf_request, node),
				   -AU_ECANCELED, 0, 0);
}

enum au_queue_state au_queue_state(const struct au_queue *queue)
{
	return queue->state;
}

int au_queue_set_state(struct au_queue *queue, enum au_queue_state state)
{
	struct au_lane *lane = queue->lane;

	if ((unsigned int)state > AU_QUEUE_PURGED)
		return -AU_EINVAL;
	auf_verify_surprise(queue->dev);
	if (queue->special & QUEUE_SETTLE)
		return -AU_EBUSY;
	if (state == AU_QUEUE_DRAINING && queue->state == AU_QUEUE_STOPPED)
		return -AU_EINVAL;
	au_trace(lane->recorder, lane->index, queue_state, queue->unit->index, queue->state, state);
	queue->state = state;
	auf_queue_refresh(queue);
	if (state == AU_QUEUE_READY) {
		auf_queue_pump(queue);
		return 0;
	}
	queue->special |= QUEUE_SETTLE;
	if (state == AU_QUEUE_PURGED)
		auf_lane_sweep(queue->dev, auf_device_many(queue->dev) ? lane : NULL,
			       queue_purge_one, queue);
	queue_settle(queue);
	return 0;
}

/* ------------------------------------------------------------------- making */

/* A request was handed back: deliver it again. */
static void queue_later(struct auf_work *work)
{
	struct au_queue *queue = AU_CONTAINER(work, struct au_queue, later);

	queue->requeued = false;
	auf_queue_pump(queue);
}

static struct au_queue *queue_new(struct au_unit *unit, const struct au_queue_config *config,
				  unsigned int lane)
{
	struct au_queue *queue = auf_alloc(unit->dev, sizeof(*queue));

	if (!queue)
		return NULL;
	queue->config = *config;
	if (config->contexts)
		queue->config.context = config->contexts[lane];
	queue->config.contexts = NULL;
	queue->deliver =
		unit->dev->verify && config->deliver ? auf_verify_deliver : config->deliver;
	queue->unit = unit;
	queue->dev = unit->dev;
	queue->lane = unit->dev->lanes[lane];
	queue->state = AU_QUEUE_READY;
	queue->later.fn = queue_later;
	queue->bound = config->kind == AU_QUEUE_SEQUENTIAL ? 1
		       : config->kind == AU_QUEUE_MANUAL   ? 0
		       : config->depth			   ? config->depth
							   : UINT32_MAX;
	au_list_init(&queue->waiting);
	au_list_init(&queue->mine);
	au_list_init(&queue->to_ask);
	au_list_init(&queue->asked);
	au_list_init(&queue->kept);
	queue->special = config->stop || !auf_queue_managed(queue) ? QUEUE_LISTS : 0;
	return queue;
}

/* One for each lane. Return: lane 0's; NULL: no memory. */
static struct au_queue *queue_new_peers(struct au_unit *unit, const struct au_queue_config *config)
{
	unsigned int count = unit->dev->lane_count;
	struct au_queue **peers = auf_alloc(unit->dev, count * sizeof(struct au_queue *));
	bool whole = peers != NULL;

	for (unsigned int i = 0; i < count && whole; i++) {
		peers[i] = queue_new(unit, config, i);
		whole = peers[i] != NULL;
		if (whole)
			peers[i]->peers = peers;
	}
	if (whole)
		return peers[0];
	for (unsigned int i = 0; i < count && peers; i++)
		au_os_free(peers[i]);
	au_os_free(peers);
	return NULL;
}

static int queue_add(struct au_unit *unit, const struct au_queue_config *config,
		     struct au_queue **out)
{
	struct au_device *dev = unit->dev;
	struct au_queue *queue =
		auf_device_many(dev) ? queue_new_peers(unit, config) : queue_new(unit, config, 0);

	if (!queue)
		return -AU_ENOMEM;
	auf_device_hold(dev);
	for (unsigned int i = 0; i < dev->lane_count; i++) {
		struct au_queue *peer = auf_queue_on(queue, dev->lanes[i]);

		au_list_add_tail(&unit->queues, &peer->node);
		auf_queue_refresh(peer);
	}
	if (!unit->first)
		unit->first = queue;
	auf_unit_refresh(unit);
	auf_device_let_go(dev);
	*out = queue;
	return 0;
}

int au_queue_create(struct au_unit *unit, const struct au_queue_config *given,
		    struct au_queue **out)
{
	struct au_queue_config config;
	int err = auf_take(unit->dev, &au_abi_queue_config, &config, given);

	if (err)
		return err;
	if ((unsigned int)config.kind > AU_QUEUE_MANUAL ||
	    (!config.deliver && config.kind != AU_QUEUE_MANUAL)) {
		au_log(unit->dev, AU_LOG_ERROR,
		       "au_queue_create: incomplete configuration (kind, deliver)");
		return -AU_EINVAL;
	}
	if ((config.flags & ~AU_QUEUE_ALWAYS_ON) || config.reserved) {
		au_log(unit->dev, AU_LOG_ERROR, "au_queue_create: flags 0x%x are not known here",
		       config.flags);
		return -AU_EINVAL;
	}
	return queue_add(unit, &config, out);
}

int au_queue_route(struct au_queue *queue, uint16_t op)
{
	struct au_unit *unit = queue->unit;

	for (unsigned int i = 0; i < unit->route_count; i++)
		if (unit->route[i].op == op)
			return -AU_EBUSY;
	if (unit->route_count == UNIT_ROUTES)
		return -AU_ENOSPC;
	auf_device_hold(unit->dev);
	unit->route[unit->route_count].op = op;
	unit->route[unit->route_count++].queue = queue;
	auf_unit_refresh(unit);
	auf_device_let_go(unit->dev);
	return 0;
}

void *au_queue_context(const struct au_queue *queue)
{
	return queue->config.context;
}

unsigned int au_queue_lane(const struct au_queue *queue)
{
	return queue->lane->index;
}
