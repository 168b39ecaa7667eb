/* SPDX-License-Identifier: MIT */
/*
 * Registers of a device that is gone: all-ones. We stand before the transport, and nothing of the
 * device is mapped any more, so that every access comes by. Nobody is told: the framework and the
 * driver are to find out as they would if the device had been pulled out.
 */
#include "framework/inject.h"

#include "base/log.h"

#include <string.h>

static struct auf_inject *bus_inject(const struct au_bus *bus)
{
	return bus->before;
}

/* Whether the device still answers. */
static bool bus_answers(struct au_bus *bus, unsigned int region)
{
	struct auf_inject *inject = bus_inject(bus);

	if (atomic_load(&inject->ones))
		return false;
	if (region == AU_BUS_REGION_CONFIG || !auf_inject_wants(inject, AU_INJECT_all_ones) ||
	    inject->dev->generation > 1 ||
	    atomic_fetch_add(&inject->accesses, 1) + 1 < inject->want.number[AU_INJECT_all_ones] ||
	    atomic_exchange(&inject->ones, true))
		return true;
	auf_inject_note(inject, AU_INJECT_all_ones);
	au_logf(AU_LOG_WARN, "%s: injected: from register access %u on all is all-ones",
		inject->dev->name, inject->want.number[AU_INJECT_all_ones]);
	return false;
}

static int bus_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		    uint64_t *value)
{
	if (bus_answers(bus, region))
		return bus_inject(bus)->real->read(bus, region, offset, width, value);
	*value = width >= 8 ? UINT64_MAX : (1ull << (8 * width)) - 1;
	return 0;
}

static int bus_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		     uint64_t value, bool posted)
{
	if (bus_answers(bus, region))
		return bus_inject(bus)->real->write(bus, region, offset, width, value, posted);
	return 0;
}

static int bus_read_rep8(struct au_bus *bus, unsigned int region, uint64_t offset, uint8_t *buf,
			 uint32_t count)
{
	if (bus_answers(bus, region))
		return bus_inject(bus)->real->read_rep8(bus, region, offset, buf, count);
	memset(buf, 0xff, count);
	return 0;
}

static int bus_write_rep8(struct au_bus *bus, unsigned int region, uint64_t offset,
			  const uint8_t *buf, uint32_t count)
{
	if (bus_answers(bus, region))
		return bus_inject(bus)->real->write_rep8(bus, region, offset, buf, count);
	return 0;
}

void auf_inject_bus(struct auf_inject *inject)
{
	struct au_bus *bus = inject->dev->bus;

	inject->real = bus->ops;
	inject->ops = *bus->ops;
	inject->ops.read = bus_read;
	inject->ops.write = bus_write;
	inject->ops.read_rep8 = bus_read_rep8;
	inject->ops.write_rep8 = bus_write_rep8;
	bus->before = inject;
	bus->ops = &inject->ops;
	for (unsigned int i = 0; i < AU_BUS_REGIONS; i++)
		bus->regions[i].areas = 0;
}
