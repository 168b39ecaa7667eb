/* SPDX-License-Identifier: MIT */
/*
 * D3 and back. The machine knows the way (machine.c); here is what its steps do, who wants it to
 * go, and who is told. All of it is on lane 0, and what others want of it they post: so whoever
 * comes first, whatever is posted is looked at when the machine rests, and nothing is lost.
 */
#include "framework/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define POWER_PATIENCE_MS 5000u	 /* for the driver to let go of its requests */
#define POWER_ALIVE_MS	  30000u /* for which it may sleep in d0_entry() or d0_exit() */

static uint32_t power_us_since(uint64_t ns)
{
	return (uint32_t)((au_os_now_ns() - ns) / 1000);
}

/* -------------------------------------------------------- the machine's steps */

int auf_power_hold_queues(struct au_device *dev)
{
	/* All of them are closed before the first request is asked about: it may be forwarded. */
	dev->asleep = true;
	auf_device_each_queue(dev, auf_queue_refresh);
	dev->power.waiting = true;
	auf_stop_ask(dev, AU_STOP_POWER);
	return 0;
}

int auf_power_wait(struct au_device *dev)
{
	if (!auf_stop_unanswered(dev, NULL))
		return 0;
	auf_timeout_set(dev->lane, &dev->power.patience, POWER_PATIENCE_MS);
	return MACHINE_WAITS;
}

void auf_power_waited(struct au_device *dev)
{
	dev->power.waiting = false;
	auf_timeout_clear(dev->lane, &dev->power.patience);
}

int auf_power_leave(struct au_device *dev)
{
	uint64_t began = au_os_now_ns();
	int err = 0;

	if (dev->driver.d0_exit)
		err = dev->driver.d0_exit(dev, AU_POWER_D3);
	dev->power.exit_us = power_us_since(began);
	return err;
}

int auf_power_off(struct au_device *dev)
{
	int err;

	if (!dev->bus || dev->bus->gone)
		return 0;
	dev->power.bus_off = true;
	err = au_pci_sleep(dev->bus, &dev->power.saved);
	/* One that cannot is as quiet as it can be. */
	return err == -ENOTSUP ? 0 : err;
}

void auf_power_bus_on(struct au_device *dev)
{
	uint32_t wait_ms;

	dev->power.bus_off = false;
	if (au_pci_wake(dev->bus, &dev->power.saved, &wait_ms) != 0)
		auf_bus_check(dev);
	if (wait_ms)
		au_os_sleep_ms(wait_ms);
	au_pci_restore(dev->bus, &dev->power.saved);
	dev->power.saved = (struct au_pci_saved){ .pm = dev->power.saved.pm };
}

int auf_power_on(struct au_device *dev)
{
	dev->from = AU_POWER_D3;
	dev->timers_open = true;
	if (dev->bus)
		auf_power_bus_on(dev);
	return dev->bus && dev->bus->gone ? -ENODEV : 0;
}

void auf_power_open_queues(struct au_device *dev)
{
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i] && dev->units[i]->cls->resumed)
			dev->units[i]->cls->resumed(dev->units[i]);
	auf_stop_resume(dev);
	dev->asleep = false;
	if (dev->gate)
		auf_device_refresh(dev);
}

/* ------------------------------------------------------------- who is waited for */

void auf_power_left(struct au_queue *queue)
{
	if (queue->owned == queue->kept_count)
		auf_lane_post(queue->dev->lane, &queue->dev->power.work);
}

void auf_power_failed(struct au_device *dev, const char *why)
{
	au_log(dev, AU_LOG_ERROR, "power: %s", why);
	auf_notify(dev, AUF_DEVICE_FAILED, (void *)(uintptr_t)why);
	auf_machine_event(dev, EVENT_SURPRISE);
}

/* It has not let go in time. */
static void power_patience(struct auf_timeout *timeout)
{
	struct au_device *dev = AU_CONTAINER(timeout, struct au_device, power.patience);
	const struct au_queue *queue = NULL;
	unsigned int count;
	char why[120];

	auf_device_hold(dev);
	count = auf_stop_unanswered(dev, &queue);
	auf_device_let_go(dev);
	if (!count) {
		auf_lane_post(dev->lane, &dev->power.work);
		return;
	}
	snprintf(why, sizeof(why),
		 "the driver still has %u requests (the first in unit %u) %u ms after it was to %s",
		 count, queue->unit->index, POWER_PATIENCE_MS,
		 queue->config.stop ? "answer for them in stop()" : "complete them");
	auf_violation(dev, RULE_stop_unanswered, NULL);
	auf_power_failed(dev, why);
}

bool auf_power_alive(struct au_device *dev)
{
	struct auf_power *power = &dev->power;

	if (!power->began_ns ||
	    au_os_now_ns() - power->began_ns < (uint64_t)POWER_ALIVE_MS * 1000000u)
		return true;
	if (!power->late)
		au_log(dev, AU_LOG_ERROR, "power: the driver is in %s for %u ms",
		       auf_device_state_name(dev), POWER_ALIVE_MS);
	power->late = true;
	return false;
}

/* ------------------------------------------------------------------ who wants what */

static bool power_rests(const struct au_device *dev, unsigned int state)
{
	return !dev->machine.running && atomic_load(&dev->machine.state) == state;
}

static void power_event(struct au_device *dev, enum auf_machine_event event)
{
	struct auf_power *power = &dev->power;

	if (event != EVENT_RESOLVED)
		power->began_ns = au_os_now_ns();
	power->late = false;
	if (event == EVENT_SLEEP)
		auf_idle_stop(dev);
	auf_machine_event(dev, event);
}

/* Whether a request waits for D0. */
static bool power_waited_for(struct au_device *dev)
{
	bool waited = false;

	if (!dev->gate)
		return false;
	auf_device_hold(dev);
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		if (!dev->units[i])
			continue;
		au_list_for_each (node, &dev->units[i]->queues) {
			const struct au_queue *queue = AU_CONTAINER(node, struct au_queue, node);

			waited |= queue->waits && auf_queue_managed(queue) &&
				  (queue->state == AU_QUEUE_READY ||
				   queue->state == AU_QUEUE_DRAINING);
		}
	}
	auf_device_let_go(dev);
	return waited;
}

static bool power_wanted(struct au_device *dev)
{
	return dev->power.wake || auf_idle_references(dev) || power_waited_for(dev);
}

/* How far a wish has come: its result, or 1: it takes longer. */
static int power_ask(struct au_device *dev, struct auf_power_ask *ask)
{
	bool up = ask->verb == AUF_POWER_UP || ask->verb == AUF_POWER_RESUME;
	struct auf_power *power = &dev->power;

	if (power_rests(dev, STATE_STOPPED) || power_rests(dev, STATE_CREATED) || dev->machine.gone)
		return -ENODEV;
	if (power_rests(dev, STATE_RUNNING) && (up || !ask->begun)) {
		if (up)
			return ask->verb == AUF_POWER_UP && power->suspended ? -EBUSY : 0;
		if (ask->verb == AUF_POWER_DOWN && auf_idle_references(dev))
			return -EBUSY;
		ask->begun = true;
		power_event(dev, EVENT_SLEEP);
	} else if (power_rests(dev, STATE_RUNNING)) {
		return 0; /* it was there, and has been woken */
	} else if (power_rests(dev, STATE_ASLEEP)) {
		if (!up)
			return 0;
		if (ask->verb == AUF_POWER_UP && power->suspended)
			return -EBUSY;
		if (ask->verb == AUF_POWER_RESUME && !power->was_up && !power_wanted(dev))
			return 0;
		power_event(dev, EVENT_WAKE);
	}
	return 1;
}

static void power_answer(struct au_device *dev, int result)
{
	struct auf_power *power = &dev->power;
	struct auf_power_ask ask = power->asks[0];

	power->ask_count--;
	memmove(power->asks, power->asks + 1, power->ask_count * sizeof(power->asks[0]));
	if (ask.done)
		ask.done(ask.context, result);
}

/* Something is wanted, has come, or is done: go as far as it goes. */
static void power_work(struct auf_work *work)
{
	struct au_device *dev = AU_CONTAINER(work, struct au_device, power.work);
	struct auf_power *power = &dev->power;
	int result;

	if (dev->machine.running)
		return; /* whoever runs it comes back */
	if (power_rests(dev, STATE_WAITING)) {
		bool resolved;

		auf_device_hold(dev);
		resolved = !auf_stop_unanswered(dev, NULL);
		auf_device_let_go(dev);
		if (resolved)
			power_event(dev, EVENT_RESOLVED);
	}
	if (power->ask_count) {
		result = power_ask(dev, &power->asks[0]);
		if (result <= 0)
			power_answer(dev, result);
		/* Whatever has changed is looked at next time. */
		if (result <= 0)
			auf_lane_post(dev->lane, &power->work);
	} else if (power_rests(dev, STATE_ASLEEP) && !power->suspended && power_wanted(dev)) {
		power_event(dev, EVENT_WAKE);
	}
}

void auf_power_sleep(struct au_device *dev)
{
	/* Who wants something of it decides. */
	if (!dev->power.ask_count && power_rests(dev, STATE_RUNNING))
		power_event(dev, EVENT_SLEEP);
}

void auf_power_want(struct au_device *dev)
{
	auf_lane_post(dev->lane, &dev->power.work);
}

void auf_device_wake(struct au_device *dev)
{
	dev->power.wake = true;
	auf_power_want(dev);
}

void auf_power_settled(struct au_device *dev, unsigned int state)
{
	struct auf_power *power = &dev->power;

	if (state == STATE_WAITING)
		return;
	if (state == STATE_RUNNING && dev->from == AU_POWER_D3 && power->began_ns) {
		power->ups++;
		power->last_up_us = power_us_since(power->began_ns);
		auf_notify(dev, AUF_POWER_D0, NULL);
	} else if (state == STATE_ASLEEP) {
		power->downs++;
		power->last_down_us = power_us_since(power->began_ns);
		auf_notify(dev, AUF_POWER_D3, NULL);
	}
	power->began_ns = 0;
	if (state == STATE_RUNNING) {
		power->wake = power->was_up = false;
		auf_idle_start(dev);
	}
	if (state == STATE_ASLEEP || power->ask_count)
		auf_lane_post(dev->lane, &power->work);
}

int auf_device_power(struct au_device *dev, enum auf_power_verb verb,
		     void (*done)(void *context, int result), void *context)
{
	struct auf_power *power = &dev->power;

	if (power->ask_count == POWER_ASKS)
		return -EBUSY;
	/* At once, so that nothing wakes it any more on its way. */
	if (verb == AUF_POWER_SUSPEND && !power->suspended) {
		power->was_up = !power_rests(dev, STATE_ASLEEP);
		power->suspended = true;
	} else if (verb == AUF_POWER_RESUME) {
		power->suspended = false;
	}
	power->asks[power->ask_count++] =
		(struct auf_power_ask){ .verb = verb, .done = done, .context = context };
	auf_lane_post(dev->lane, &power->work);
	return 0;
}

void auf_power_init(struct au_device *dev, const struct auf_device_config *config)
{
	dev->power.work.fn = power_work;
	dev->power.patience.fn = power_patience;
	dev->power.idle_ms = config->idle_ms;
	auf_idle_init(dev);
}

void auf_power_end(struct au_device *dev)
{
	auf_idle_stop(dev);
	auf_timeout_clear(dev->lane, &dev->power.patience);
	while (dev->power.ask_count)
		power_answer(dev, -ENODEV);
}

/* ------------------------------------------------------------------------- asking */

static enum auf_power_state power_state(const struct au_device *dev)
{
	unsigned int state = atomic_load(&dev->machine.state);

	switch (state) {
	case STATE_RUNNING:
		return AUF_POWER_IS_D0;
	case STATE_ASLEEP:
		return dev->power.suspended ? AUF_POWER_IS_SUSPENDED : AUF_POWER_IS_D3;
	case STATE_PAUSING:
	case STATE_HOLDING:
	case STATE_WAITING:
	case STATE_MUTING:
	case STATE_RESTING:
	case STATE_LEAVING:
	case STATE_POWERING_OFF:
		return AUF_POWER_IS_GOING_DOWN;
	default:
		return dev->power.began_ns && !dev->refusing ? AUF_POWER_IS_GOING_UP
							     : AUF_POWER_IS_OFF;
	}
}

const char *auf_power_state_name(enum auf_power_state state)
{
	static const char *const names[] = { [AUF_POWER_IS_OFF] = "off",
					     [AUF_POWER_IS_D0] = "d0",
					     [AUF_POWER_IS_GOING_DOWN] = "going-down",
					     [AUF_POWER_IS_D3] = "d3",
					     [AUF_POWER_IS_GOING_UP] = "going-up",
					     [AUF_POWER_IS_SUSPENDED] = "suspended" };

	return (unsigned int)state <= AUF_POWER_IS_SUSPENDED ? names[state] : "?";
}

static void power_why(struct au_device *dev, struct auf_power_info *info)
{
	const struct au_queue *queue = NULL;
	unsigned int count;

	if (info->state == AUF_POWER_IS_D0) {
		if (!auf_idle_busy(dev, info->why, sizeof(info->why)) && info->idle_ms)
			snprintf(info->why, sizeof(info->why), "idle for %llu ms of %u",
				 (unsigned long long)(dev->lane->now_ms - dev->power.busy_ms),
				 info->idle_ms);
		else if (!info->why[0])
			snprintf(info->why, sizeof(info->why), "no idle time is set");
	} else if (info->state == AUF_POWER_IS_GOING_DOWN) {
		count = auf_stop_unanswered(dev, &queue);
		if (count)
			snprintf(info->why, sizeof(info->why),
				 "waits for the driver to let go of %u requests (unit %u)", count,
				 queue->unit->index);
	} else if (info->state == AUF_POWER_IS_SUSPENDED) {
		snprintf(info->why, sizeof(info->why), "until it is resumed");
	}
}

void auf_device_power_info(struct au_device *dev, struct auf_power_info *info)
{
	const struct auf_power *power = &dev->power;

	*info = (struct auf_power_info){ .state = power_state(dev),
					 .idle_ms = power->idle_ms,
					 .ups = power->ups,
					 .downs = power->downs,
					 .last_up_us = power->last_up_us,
					 .last_down_us = power->last_down_us,
					 .entry_us = power->entry_us,
					 .exit_us = power->exit_us,
					 .references = auf_idle_references(dev) };
	if (power->open) {
		snprintf(info->tags[0].tag, sizeof(info->tags[0].tag), "open");
		info->tags[info->tag_count++].count = power->open;
	}
	for (unsigned int i = 0; i < AUF_POWER_TAGS; i++) {
		if (!power->tags[i].count)
			continue;
		snprintf(info->tags[info->tag_count].tag, sizeof(info->tags[0].tag), "%s",
			 power->tags[i].tag);
		info->tags[info->tag_count++].count = power->tags[i].count;
	}
	auf_device_hold(dev);
	power_why(dev, info);
	auf_device_let_go(dev);
}
