/* SPDX-License-Identifier: MIT */
/*
 * Several lanes of one device. Each runs the requests of its own handles through its own queues,
 * and shares nothing with the others but what none of them changes: the units, the handles that
 * they have, what is delivered at all. Those are changed on lane 0, while the others are parked
 * between two turns. So nothing that a request meets on its way needs a lock or an atomic, and a
 * device with one lane has nothing of all this.
 *
 * No lane waits for another but lane 0, for those that it parks; what another lane wants of lane 0
 * it posts.
 */
#include "framework/internal.h"

void auf_lane_park(struct au_lane *lane)
{
	if (atomic_load(&lane->park) != PARK_WANTED)
		return; /* it was wanted, and is no more */
	auf_lane_delay(lane);
	atomic_store(&lane->park, PARK_PARKED);
	au_os_word_wake(&lane->park);
	while (atomic_load(&lane->park) == PARK_PARKED)
		au_os_word_wait(&lane->park, PARK_PARKED);
	auf_lane_clock(lane);
}

/* A lane that the caller runs does not run meanwhile: it is parked as it is. */
static bool lane_runs(const struct au_lane *lane)
{
	return lane->runner == AUF_RUNNER_THREAD;
}

void auf_device_hold(struct au_device *dev)
{
	if (!auf_device_many(dev))
		return;
	/* It would wait for itself. */
	if (!auf_lane_current(dev->lane)) {
		auf_violation(dev, RULE_wrong_lane, NULL);
		return;
	}
	if (dev->held) {
		dev->held++;
		return;
	}
	for (unsigned int i = 1; i < dev->lane_count; i++) {
		if (!lane_runs(dev->lanes[i]))
			continue;
		auf_lane_delay(dev->lane);
		atomic_store(&dev->lanes[i]->park, PARK_WANTED);
		auf_lane_ask(dev->lanes[i], LANE_PARK);
	}
	for (unsigned int i = 1; i < dev->lane_count; i++)
		while (lane_runs(dev->lanes[i]) && atomic_load(&dev->lanes[i]->park) == PARK_WANTED)
			au_os_word_wait(&dev->lanes[i]->park, PARK_WANTED);
	/* Only now: they look at it. */
	dev->held = 1;
}

void auf_device_let_go(struct au_device *dev)
{
	if (!auf_device_many(dev) || dev->held == 0 || !auf_lane_current(dev->lane))
		return;
	if (dev->held > 1) {
		dev->held--;
		return;
	}
	dev->held = 0;
	for (unsigned int i = 1; i < dev->lane_count; i++) {
		if (!lane_runs(dev->lanes[i]))
			continue;
		auf_lane_delay(dev->lane);
		atomic_store(&dev->lanes[i]->park, PARK_NONE);
		au_os_word_wake(&dev->lanes[i]->park);
	}
}

bool auf_device_has_lane(const struct au_device *dev, const struct au_lane *lane)
{
	return !lane || (lane->index < dev->lane_count && dev->lanes[lane->index] == lane);
}

struct au_lane *auf_device_next_lane(struct au_device *dev)
{
	struct au_lane *best = dev->lane;

	for (unsigned int i = 1; i < dev->lanes_used; i++)
		if (dev->lanes[i]->handles < best->handles)
			best = dev->lanes[i];
	return best;
}

/* -------------------------------------------------------------- the driver's */

unsigned int au_device_lanes(struct au_device *dev)
{
	return dev->lane_count;
}

void au_device_use_lanes(struct au_device *dev, unsigned int count)
{
	if (count == 0 || count > dev->lane_count)
		count = count ? dev->lane_count : 1;
	dev->lanes_used = count;
}

void au_device_park(struct au_device *dev)
{
	auf_device_hold(dev);
}

void au_device_unpark(struct au_device *dev)
{
	auf_device_let_go(dev);
}

uint64_t au_lane_now_ms(const struct au_lane *lane)
{
	return lane->now_ms;
}
