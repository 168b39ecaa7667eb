/* SPDX-License-Identifier: MIT */
/* Register windows, and configuration space. A device that is gone reads as all-ones. */
#include "framework/internal.h"

#include <string.h>

#define REGS_REP_MAX  256u
/* The accessors that are built into drivers subtract the width of an access from the size. */
#define REGS_BASE_MIN 8u

struct auf_regs {
	struct au_regs pub;
	volatile void *mapped; /* pub.base, also of a window that is too small for the accessors */
	struct au_device *dev;
	unsigned int region;
	uint64_t offset; /* of the window in its region */
	uint32_t period; /* for the verifier */
	struct au_list node;
};

static struct auf_regs *regs_of(struct au_regs *regs)
{
	return (struct auf_regs *)(void *)regs;
}

static uint64_t regs_ones(uint32_t width)
{
	return width >= 8 ? UINT64_MAX : (1ull << (8 * width)) - 1;
}

/* Whether an access is one that the window has, and at its time; otherwise the driver's rule is
 * named. */
static bool regs_inside(struct auf_regs *regs, uint64_t offset, uint32_t width)
{
	if ((width == 1 || width == 2 || width == 4 || width == 8) && offset <= regs->pub.size &&
	    width <= regs->pub.size - offset)
		return likely(!regs->dev->verify) || auf_verify_regs(regs->dev);
	auf_violation(regs->dev, RULE_register_outside, NULL);
	return false;
}

static int regs_new(struct au_device *dev, unsigned int region, volatile void *base,
		    uint64_t offset, uint64_t size, struct au_regs **out)
{
	struct auf_regs *regs = auf_alloc(dev, sizeof(*regs));

	if (!regs)
		return -AU_ENOMEM;
	/* Under the verifier all accesses come by. */
	regs->pub.base = size >= REGS_BASE_MIN && !dev->verify ? base : NULL;
	regs->pub.size = size;
	regs->mapped = base;
	regs->dev = dev;
	regs->region = region;
	regs->offset = offset;
	regs->period = dev->verifier.period;
	au_list_add_tail(&dev->regs, &regs->node);
	*out = &regs->pub;
	return 0;
}

int au_map_bar(struct au_device *dev, unsigned int bar, uint64_t min_size, struct au_regs **regs)
{
	const struct au_bus_region *region;

	if (bar >= AU_BUS_BARS || !dev->bus || !dev->bus->regions[bar].size) {
		au_log(dev, AU_LOG_ERROR, "the device has no BAR %u", bar);
		return -AU_ENXIO;
	}
	region = &dev->bus->regions[bar];
	if (region->size < min_size) {
		au_log(dev, AU_LOG_ERROR, "BAR %u has %llu bytes, the driver needs %llu", bar,
		       (unsigned long long)region->size, (unsigned long long)min_size);
		return -AU_ERANGE;
	}
	return regs_new(dev, bar, au_bus_mapped(region, 0, region->size), 0, region->size, regs);
}

int au_sub_regs(struct au_regs *parent, uint64_t offset, uint64_t size, struct au_regs **out)
{
	struct auf_regs *regs = regs_of(parent);

	if (offset > parent->size || size > parent->size - offset || size == 0)
		return -AU_ERANGE;
	offset += regs->offset;
	/* A part may be mapped where the whole is not. */
	return regs_new(regs->dev, regs->region,
			au_bus_mapped(&regs->dev->bus->regions[regs->region], offset, size), offset,
			size, out);
}

static uint64_t regs_load(const volatile void *at, uint32_t width)
{
	switch (width) {
	case 1:
		return *(const volatile uint8_t *)at;
	case 2:
		return *(const volatile uint16_t *)at;
	case 4:
		return *(const volatile uint32_t *)at;
	default:
		return *(const volatile uint64_t *)at;
	}
}

static void regs_store(volatile void *at, uint32_t width, uint64_t value)
{
	switch (width) {
	case 1:
		*(volatile uint8_t *)at = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)at = (uint16_t)value;
		break;
	case 4:
		*(volatile uint32_t *)at = (uint32_t)value;
		break;
	default:
		*(volatile uint64_t *)at = value;
	}
}

uint64_t au_regs_read(struct au_regs *window, uint64_t offset, uint32_t width)
{
	struct auf_regs *regs = regs_of(window);
	uint64_t value = 0;
	int err;

	if (!regs_inside(regs, offset, width))
		return regs_ones(width);
	if (regs->mapped)
		return regs_load((const volatile char *)regs->mapped + offset, width);
	err = regs->dev->bus->ops->read(regs->dev->bus, regs->region, regs->offset + offset, width,
					&value);
	if (err) {
		auf_bus_check(regs->dev);
		return regs_ones(width);
	}
	if (unlikely(value == regs_ones(width)))
		auf_presence_suspect(regs->dev);
	return value;
}

static void regs_write(struct au_regs *window, uint64_t offset, uint32_t width, uint64_t value,
		       bool posted)
{
	struct auf_regs *regs = regs_of(window);

	if (!regs_inside(regs, offset, width))
		return;
	if (regs->mapped)
		regs_store((volatile char *)regs->mapped + offset, width, value);
	else if (regs->dev->bus->ops->write(regs->dev->bus, regs->region, regs->offset + offset,
					    width, value, posted) != 0)
		auf_bus_check(regs->dev);
}

void au_regs_write(struct au_regs *regs, uint64_t offset, uint32_t width, uint64_t value)
{
	regs_write(regs, offset, width, value, false);
}

void au_regs_post(struct au_regs *regs, uint64_t offset, uint32_t width, uint64_t value)
{
	regs_write(regs, offset, width, value, true);
}

int au_read_rep8(struct au_regs *window, uint64_t offset, uint8_t *buf, uint32_t count)
{
	struct auf_regs *regs = regs_of(window);
	int err;

	memset(buf, 0xff, count);
	if (count > REGS_REP_MAX || !regs_inside(regs, offset, 1))
		return -AU_EINVAL;
	if (regs->mapped) {
		for (uint32_t i = 0; i < count; i++)
			buf[i] = ((volatile uint8_t *)regs->mapped)[offset];
		return 0;
	}
	err = regs->dev->bus->ops->read_rep8(regs->dev->bus, regs->region, regs->offset + offset,
					     buf, count);
	if (err) {
		memset(buf, 0xff, count);
		auf_bus_check(regs->dev);
	}
	return err;
}

int au_write_rep8(struct au_regs *window, uint64_t offset, const uint8_t *buf, uint32_t count)
{
	struct auf_regs *regs = regs_of(window);
	int err;

	if (count > REGS_REP_MAX || !regs_inside(regs, offset, 1))
		return -AU_EINVAL;
	if (regs->mapped) {
		for (uint32_t i = 0; i < count; i++)
			((volatile uint8_t *)regs->mapped)[offset] = buf[i];
		return 0;
	}
	err = regs->dev->bus->ops->write_rep8(regs->dev->bus, regs->region, regs->offset + offset,
					      buf, count);
	if (err)
		auf_bus_check(regs->dev);
	return err;
}

static uint32_t regs_config(struct au_device *dev, uint32_t offset, uint32_t width)
{
	uint64_t value = 0;

	if (!dev->bus || offset >= 4096 || offset % width ||
	    dev->bus->ops->read(dev->bus, AU_BUS_REGION_CONFIG, offset, width, &value) != 0) {
		if (dev->bus)
			auf_bus_check(dev);
		return (uint32_t)regs_ones(width);
	}
	return (uint32_t)value;
}

uint16_t au_pci_read16(struct au_device *dev, uint32_t offset)
{
	return (uint16_t)regs_config(dev, offset, 2);
}

uint32_t au_pci_read32(struct au_device *dev, uint32_t offset)
{
	return regs_config(dev, offset, 4);
}

uint32_t au_pci_find_capability(struct au_device *dev, uint8_t id)
{
	return dev->bus ? au_pci_capability(dev->bus, id) : 0;
}

unsigned int auf_regs_periods(const struct au_device *dev)
{
	uint64_t mask = 0;

	au_list_for_each (node, &dev->regs)
		mask |= auf_period(AU_CONTAINER(node, struct auf_regs, node)->period);
	return auf_periods(mask);
}

void auf_regs_free(struct au_device *dev)
{
	struct au_list *node;

	while ((node = au_list_pop(&dev->regs)))
		au_os_free(AU_CONTAINER(node, struct auf_regs, node));
}
