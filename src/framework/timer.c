/* SPDX-License-Identifier: MIT */
/* Timers and work items of a device. */
#include "framework/internal.h"

struct au_timer {
	struct auf_timeout timeout;
	struct au_device *dev;
	struct au_lane *lane;
	void (*fn)(struct au_timer *timer, void *context);
	void *context;
	uint32_t period_ms; /* 0: once */
	uint32_t period;    /* for the verifier */
	struct au_list node;
};

struct au_work {
	struct auf_work work;
	struct au_device *dev;
	void (*fn)(struct au_work *work, void *context);
	void *context;
	uint32_t period; /* for the verifier */
	struct au_list node;
};

static void timer_due(struct auf_timeout *timeout)
{
	struct au_timer *timer = AU_CONTAINER(timeout, struct au_timer, timeout);

	if (timer->period_ms)
		auf_timeout_set(timer->lane, timeout, timer->period_ms);
	AUF_CALL(timer->dev, CALL_TIMER, timer->fn(timer, timer->context));
}

int au_timer_create_on(struct au_lane *lane, struct au_device *dev,
		       void (*fn)(struct au_timer *timer, void *context), void *context,
		       struct au_timer **out)
{
	struct au_timer *timer;

	if (!fn || !lane || lane->index >= dev->lane_count || dev->lanes[lane->index] != lane)
		return -AU_EINVAL;
	timer = auf_alloc(dev, sizeof(*timer));
	if (!timer)
		return -AU_ENOMEM;
	timer->timeout.fn = timer_due;
	timer->dev = dev;
	timer->lane = lane;
	timer->fn = fn;
	timer->context = context;
	timer->period = dev->verifier.period;
	au_list_add_tail(&dev->timers, &timer->node);
	*out = timer;
	return 0;
}

int au_timer_create(struct au_device *dev, void (*fn)(struct au_timer *timer, void *context),
		    void *context, struct au_timer **out)
{
	return au_timer_create_on(dev->lane, dev, fn, context, out);
}

void au_timer_start(struct au_timer *timer, uint32_t ms, bool periodic)
{
	if (!timer->dev->timers_open)
		return;
	if (unlikely(timer->dev->verify) && auf_device_apart(timer->dev) &&
	    !auf_lane_current(timer->lane))
		auf_violation(timer->dev, RULE_wrong_lane, NULL);
	timer->period_ms = periodic ? (ms ? ms : 1) : 0;
	auf_timeout_set(timer->lane, &timer->timeout, ms);
}

void au_timer_stop(struct au_timer *timer)
{
	auf_timeout_clear(timer->lane, &timer->timeout);
}

static void work_run(struct auf_work *work)
{
	struct au_work *w = AU_CONTAINER(work, struct au_work, work);

	if (w->dev->timers_open)
		AUF_CALL(w->dev, CALL_WORK, w->fn(w, w->context));
}

int au_work_create(struct au_device *dev, void (*fn)(struct au_work *work, void *context),
		   void *context, struct au_work **out)
{
	struct au_work *work;

	if (!fn)
		return -AU_EINVAL;
	work = auf_alloc(dev, sizeof(*work));
	if (!work)
		return -AU_ENOMEM;
	work->work.fn = work_run;
	work->dev = dev;
	work->fn = fn;
	work->context = context;
	work->period = dev->verifier.period;
	au_list_add_tail(&dev->works, &work->node);
	*out = work;
	return 0;
}

void au_work_queue(struct au_work *work)
{
	auf_lane_post(work->dev->lane, &work->work);
}

unsigned int auf_timers_periods(const struct au_device *dev)
{
	uint64_t timers = 0, works = 0;

	au_list_for_each (node, &dev->timers)
		timers |= auf_period(AU_CONTAINER(node, struct au_timer, node)->period);
	au_list_for_each (node, &dev->works)
		works |= auf_period(AU_CONTAINER(node, struct au_work, node)->period);
	return auf_periods(timers | works);
}

void auf_timers_stop(struct au_device *dev)
{
	dev->timers_open = false;
	au_list_for_each (node, &dev->timers)
		au_timer_stop(AU_CONTAINER(node, struct au_timer, node));
}

void auf_timers_free(struct au_device *dev)
{
	struct au_list *node;

	auf_timers_stop(dev);
	while ((node = au_list_pop(&dev->timers)))
		au_os_free(AU_CONTAINER(node, struct au_timer, node));
	while ((node = au_list_pop(&dev->works))) {
		struct au_work *work = AU_CONTAINER(node, struct au_work, node);

		auf_lane_forget(dev->lane, &work->work);
		au_os_free(work);
	}
}
