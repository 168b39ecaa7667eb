/* SPDX-License-Identifier: MIT */
/*
 * When a device has nothing to do. Nobody counts requests for this: now and then lane 0 looks
 * whether any has been completed since the last time, and whether any is there. What it did not see
 * happen may have happened just before it looked, so the time counts from there: a device may be
 * put to sleep a little later than after its idle time, and never earlier.
 */
#include "framework/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Of queues that deliver in D0 only. */
static uint64_t idle_completed(const struct au_device *dev)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < dev->lane_count; i++)
		sum += dev->lanes[i]->completed;
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i])
			au_list_for_each (node, &dev->units[i]->queues)
				sum -= AU_CONTAINER(node, struct au_queue, node)->finished;
	return sum;
}

static unsigned int idle_requests(const struct au_device *dev)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		if (!dev->units[i])
			continue;
		au_list_for_each (node, &dev->units[i]->queues) {
			const struct au_queue *queue = AU_CONTAINER(node, struct au_queue, node);

			if (auf_queue_managed(queue))
				count += queue->owned + queue->waits;
		}
	}
	return count;
}

/* The first of the tags, and how many there are besides. */
static void idle_say_tags(const struct auf_power *power, char *why, size_t size)
{
	const char *first = "?";
	unsigned int others = power->references;

	for (unsigned int i = 0; i < AUF_POWER_TAGS && others == power->references; i++) {
		if (power->tags[i].count) {
			first = power->tags[i].tag;
			others -= power->tags[i].count;
		}
	}
	if (others)
		snprintf(why, size, "in use: %.32s, and %u more", first, others);
	else
		snprintf(why, size, "in use: %.32s", first);
}

bool auf_idle_busy(struct au_device *dev, char *why, size_t size)
{
	unsigned int requests = idle_requests(dev);

	if (dev->power.open)
		snprintf(why, size, "open, %u times", dev->power.open);
	else if (dev->power.references)
		idle_say_tags(&dev->power, why, size);
	else if (!dev->gate)
		snprintf(why, size, "the replay is not over");
	else if (requests)
		snprintf(why, size, "%u requests", requests);
	else
		return false;
	return true;
}

static void idle_look(struct auf_timeout *timeout)
{
	struct au_device *dev = AU_CONTAINER(timeout, struct au_device, power.idle);
	struct auf_power *power = &dev->power;
	uint64_t now = dev->lane->now_ms, completed, step;
	char why[64];
	bool busy;

	if (!power->idle_ms || !auf_machine_runs(dev))
		return;
	auf_device_hold(dev);
	completed = idle_completed(dev);
	busy = auf_idle_busy(dev, why, sizeof(why)) || completed != power->seen;
	auf_device_let_go(dev);
	power->seen = completed;
	if (busy)
		power->busy_ms = now;
	/* The clock's milliseconds are whole: what was seen at one may have happened just before
	 * the next. */
	if (now - power->busy_ms > power->idle_ms) {
		auf_power_sleep(dev);
		if (!auf_machine_runs(dev))
			return;
		power->busy_ms = now; /* somebody else decides now, and may leave it up */
	}
	step = power->idle_ms / 4 + 1;
	if (step > power->idle_ms + 1 - (now - power->busy_ms))
		step = power->idle_ms + 1 - (now - power->busy_ms);
	auf_timeout_set(dev->lane, timeout, step);
}

void auf_idle_init(struct au_device *dev)
{
	dev->power.idle.fn = idle_look;
}

void auf_idle_start(struct au_device *dev)
{
	struct auf_power *power = &dev->power;

	if (!power->idle_ms || power->idle.state != AUF_TIMEOUT_IDLE)
		return;
	power->busy_ms = dev->lane->now_ms;
	auf_timeout_set(dev->lane, &power->idle, power->idle_ms / 4 + 1);
}

void auf_idle_stop(struct au_device *dev)
{
	auf_timeout_clear(dev->lane, &dev->power.idle);
}

void auf_device_set_idle(struct au_device *dev, uint32_t ms)
{
	auf_idle_stop(dev);
	dev->power.idle_ms = ms;
	if (auf_machine_runs(dev))
		auf_idle_start(dev);
	else if (!ms)
		auf_device_wake(dev);
}

/* ------------------------------------------------------------------------ references */

void auf_idle_opened(struct au_device *dev)
{
	dev->power.open++;
	if (dev->asleep)
		auf_power_want(dev);
}

void auf_idle_closed(struct au_device *dev)
{
	dev->power.open--;
	dev->power.busy_ms = dev->lane->now_ms;
}

/* Whether it is in D0, and stays there. */
static bool idle_is_up(const struct au_device *dev)
{
	unsigned int state = atomic_load(&dev->machine.state);

	return state == STATE_OPENING || state == STATE_STARTING || state == STATE_RUNNING;
}

int au_device_stop_idle(struct au_device *dev, const char *tag)
{
	struct auf_power *power = &dev->power;
	unsigned int at = AUF_POWER_TAGS;

	for (unsigned int i = AUF_POWER_TAGS; i-- > 0;) {
		if (power->tags[i].count && strcmp(power->tags[i].tag, tag) == 0) {
			at = i;
			break;
		}
		if (!power->tags[i].count)
			at = i;
	}
	if (at == AUF_POWER_TAGS)
		at--; /* so many different ones: the last is as good as any */
	if (!power->tags[at].count)
		power->tags[at].tag = tag;
	power->tags[at].count++;
	power->references++;
	if (idle_is_up(dev))
		return 0;
	auf_power_want(dev);
	return -AU_EAGAIN;
}

void au_device_resume_idle(struct au_device *dev, const char *tag)
{
	struct auf_power *power = &dev->power;

	for (unsigned int i = 0; i < AUF_POWER_TAGS; i++) {
		if (!power->tags[i].count || strcmp(power->tags[i].tag, tag) != 0)
			continue;
		power->tags[i].count--;
		power->references--;
		/* The time counts from here. */
		power->busy_ms = dev->lane->now_ms;
		return;
	}
	au_log(dev, AU_LOG_ERROR, "au_device_resume_idle: there is no reference '%.32s'", tag);
	auf_violation(dev, RULE_power_reference, NULL);
}

void auf_idle_release(struct au_device *dev)
{
	bool left = false;

	for (unsigned int i = 0; i < AUF_POWER_TAGS; i++) {
		const char *tag = dev->power.tags[i].tag;
		unsigned int count = dev->power.tags[i].count;

		if (!count)
			continue;
		au_log(dev, AU_LOG_WARN, "%u power references '%.32s' were left", count, tag);
		left = true;
	}
	if (left)
		auf_violation(dev, RULE_power_reference, NULL);
	dev->power.references = 0;
	memset(dev->power.tags, 0, sizeof(dev->power.tags));
}
