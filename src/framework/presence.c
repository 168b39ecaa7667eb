/* SPDX-License-Identifier: MIT */
/*
 * Whether the device is still there. A device that was pulled out, or whose model has died, answers
 * all-ones to everything, and an interrupt that would say so never comes. So a register that reads
 * all-ones is held against the vendor ID, which cannot; and while somebody waits for the device,
 * the vendor ID is looked at every second.
 */
#include "bus/bus.h"
#include "framework/internal.h"

#define PRESENCE_MS	    1000u
#define PRESENCE_SUSPECT_MS 100u

static bool presence_look(struct au_device *dev)
{
	uint64_t vendor = 0;

	dev->presence.looked_ms = dev->lane->now_ms;
	if (dev->bus->gone) {
		auf_bus_check(dev);
		return true;
	}
	if (dev->presence.looking)
		return false;
	dev->presence.looking = true;
	if (dev->bus->ops->read(dev->bus, AU_BUS_REGION_CONFIG, 0, 2, &vendor) != 0) {
		auf_bus_check(dev);
	} else if (vendor == 0xffff) {
		au_log(dev, AU_LOG_ERROR, "the device is gone: its vendor ID reads all-ones");
		dev->bus_told = true;
		auf_machine_event(dev, EVENT_SURPRISE);
	}
	dev->presence.looking = false;
	return dev->bus->gone || vendor == 0xffff;
}

bool auf_presence_gone(struct au_device *dev)
{
	return dev->bus && presence_look(dev);
}

struct presence_sweep {
	uint64_t now_ms;
	bool waiting;
};

static void presence_waits(struct auf_request *r, void *arg)
{
	struct presence_sweep *sweep = arg;

	sweep->waiting = true;
	auf_request_seen(r, sweep->now_ms);
}

static bool presence_open(const struct au_device *dev)
{
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i] && dev->units[i]->handle_count)
			return true;
	return false;
}

static void presence_due(struct auf_timeout *timeout)
{
	struct au_device *dev = AU_CONTAINER(timeout, struct au_device, presence.timeout);
	struct presence_sweep sweep = { .now_ms = dev->lane->now_ms };

	auf_timeout_set(dev->lane, timeout, PRESENCE_MS);
	if (presence_open(dev)) {
		auf_device_hold(dev);
		auf_device_sweep(dev, presence_waits, &sweep);
		auf_device_let_go(dev);
	}
	if (sweep.waiting)
		presence_look(dev);
}

void auf_presence_start(struct au_device *dev)
{
	if (dev->bus)
		auf_timeout_set(dev->lane, &dev->presence.timeout, PRESENCE_MS);
}

void auf_presence_stop(struct au_device *dev)
{
	auf_timeout_clear(dev->lane, &dev->presence.timeout);
}

static void presence_work(struct auf_work *work)
{
	auf_presence_suspect(AU_CONTAINER(work, struct au_device, presence.work));
}

void auf_presence_init(struct au_device *dev)
{
	dev->presence.timeout.fn = presence_due;
	dev->presence.work.fn = presence_work;
}

void auf_presence_suspect(struct au_device *dev)
{
	if (auf_device_many(dev) && !auf_lane_current(dev->lane))
		auf_lane_post(dev->lane, &dev->presence.work);
	else if (dev->lane->now_ms - dev->presence.looked_ms >= PRESENCE_SUSPECT_MS)
		presence_look(dev);
}
