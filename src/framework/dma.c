/* SPDX-License-Identifier: MIT */
/*
 * Memory that the device can reach: the driver's arena, and the pools of those who have its units
 * open. Each is one piece, in this process and for the device, so that translation is an addition.
 */
#include "framework/internal.h"

#include <string.h>

#define DMA_FIRST	0x100000u   /* nothing below: so that no address is taken for 0 */
#define DMA_HOLE	0xfee00000u /* message interrupts go there on a PC */
#define DMA_HOLE_END	0xfef00000u
#define DMA_ALIGN	0x10000u
#define DMA_ALIGN_LARGE 0x200000u /* large pages, where there are any */
#define DMA_BLOCK_ALIGN 64u
#define DMA_ALIGN_MAX	0x100000u

/* ---------------------------------------------------------- the device's addresses */

static uint64_t dma_align(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

/* The lowest address from @at on at which @size bytes are what the bus takes. */
static uint64_t dma_in_range(const struct au_bus *bus, uint64_t at, uint64_t size, uint64_t align)
{
	uint64_t best = UINT64_MAX, first;

	if (at < DMA_HOLE_END && at + size > DMA_HOLE)
		at = dma_align(DMA_HOLE_END, align);
	if (!bus->range_count)
		return at;
	for (unsigned int i = 0; i < bus->range_count; i++) {
		const struct au_bus_range *range = &bus->ranges[i];

		first = dma_align(at > range->first ? at : range->first, align);
		if (first < at || first > range->last || range->last - first < size - 1)
			continue;
		if (first < DMA_HOLE_END && first + size > DMA_HOLE)
			continue;
		if (first < best)
			best = first;
	}
	return best;
}

/* The lowest free address for @size bytes, and the mapping behind which it lies. */
static uint64_t dma_place(struct au_device *dev, uint64_t size, struct au_list **behind)
{
	uint64_t align =
		size >= DMA_ALIGN_LARGE && dev->note.dma_bits >= 32 ? DMA_ALIGN_LARGE : DMA_ALIGN;
	uint64_t at = dma_align(DMA_FIRST, align);

	*behind = &dev->dma.mappings;
	au_list_for_each (node, &dev->dma.mappings) {
		const struct auf_mapping *m = AU_CONTAINER(node, struct auf_mapping, node);

		at = dma_in_range(dev->bus, at, size, align);
		if (size <= m->iova && at <= m->iova - size)
			return at;
		at = dma_align(m->iova + m->size, align);
		*behind = node;
	}
	return dma_in_range(dev->bus, at, size, align);
}

int auf_dma_map(struct au_device *dev, int fd, void *cpu, uint64_t size, uint64_t *iova)
{
	struct auf_mapping *mapping;
	struct au_list *behind;
	uint64_t at;
	int err;

	if (!auf_dma_wanted(dev) || !dev->bus)
		return -AU_ENXIO;
	if (!dev->bus->ops->dma_map)
		return -AU_ENOTSUP;
	if (size == 0 || size > dev->dma.limit)
		return -AU_ENOSPC;
	at = dma_place(dev, size, &behind);
	if (at > dev->dma.limit - size) {
		au_log(dev, AU_LOG_ERROR,
		       "%llu bytes of memory are more than the device can still reach (%u-bit "
		       "addresses): use smaller buffers",
		       (unsigned long long)size, dev->note.dma_bits);
		return -AU_ENOSPC;
	}
	mapping = auf_alloc(dev, sizeof(*mapping));
	if (!mapping)
		return -AU_ENOMEM;
	err = dev->bus->ops->dma_map(dev->bus, at, size, cpu, fd, 0);
	if (err) {
		au_os_free(mapping);
		auf_bus_check(dev);
		return err;
	}
	mapping->iova = at;
	mapping->size = size;
	au_list_add_head(behind, &mapping->node);
	*iova = at;
	return 0;
}

void auf_dma_unmap(struct au_device *dev, uint64_t iova)
{
	au_list_for_each_safe (node, &dev->dma.mappings) {
		struct auf_mapping *m = AU_CONTAINER(node, struct auf_mapping, node);

		if (m->iova != iova)
			continue;
		if (!dev->bus->gone && dev->bus->ops->dma_unmap(dev->bus, iova, m->size) != 0)
			auf_bus_check(dev);
		au_list_remove(node);
		au_os_free(m);
		return;
	}
}

/* ------------------------------------------------------------------ the arena */

struct dma_block {
	struct au_list node;
	uint64_t offset, size;
	uint32_t period; /* for the verifier */
};

int au_dma_alloc(struct au_device *dev, uint64_t size, uint64_t align, struct au_dma *dma)
{
	struct au_list *behind = &dev->dma.blocks;
	struct dma_block *block;
	uint64_t at = 0;

	memset(dma, 0, sizeof(*dma));
	align = align < DMA_BLOCK_ALIGN ? DMA_BLOCK_ALIGN : align;
	if (size == 0 || (align & (align - 1)) || align > DMA_ALIGN_MAX)
		return -AU_EINVAL;
	if (size > dev->dma.arena_size)
		return -AU_ENOMEM;
	au_list_for_each (node, &dev->dma.blocks) {
		block = AU_CONTAINER(node, struct dma_block, node);
		if (at + size <= block->offset)
			break;
		at = dma_align(block->offset + block->size, align);
		behind = node;
	}
	if (at > dev->dma.arena_size - size) {
		au_log(dev, AU_LOG_ERROR,
		       "au_dma_alloc: %llu bytes do not fit into what is left of the arena of %llu "
		       "(see AU_DMA)",
		       (unsigned long long)size, (unsigned long long)dev->dma.arena_size);
		return -AU_ENOMEM;
	}
	block = auf_alloc(dev, sizeof(*block));
	if (!block)
		return -AU_ENOMEM;
	block->offset = at;
	block->size = size;
	block->period = dev->verifier.period;
	au_list_add_head(behind, &block->node);
	memset(dev->dma.arena + at, 0, size);
	*dma = (struct au_dma){ dev->dma.arena + at, dev->dma.arena_iova + at, size };
	return 0;
}

void au_dma_free(struct au_device *dev, struct au_dma *dma)
{
	uint64_t offset;

	if (!dma->cpu)
		return;
	offset = (uint64_t)((uint8_t *)dma->cpu - dev->dma.arena);
	au_list_for_each_safe (node, &dev->dma.blocks) {
		struct dma_block *block = AU_CONTAINER(node, struct dma_block, node);

		if (block->offset != offset)
			continue;
		au_list_remove(node);
		au_os_free(block);
		memset(dma, 0, sizeof(*dma));
		return;
	}
	auf_violation(dev, RULE_dma_free, NULL);
}

/* ---------------------------------------------------------------- requests */

int au_dma_segments(const struct au_request *req, const struct au_dma_limits *limits,
		    struct au_dma_segment *segments, unsigned int max)
{
	uint64_t addr = req->dma, left = req->length;
	unsigned int count = 0;

	if (limits->align > 1 && ((addr | left) & (limits->align - 1)))
		return -AU_EINVAL;
	while (left) {
		uint64_t length = left;

		if (count == max)
			return -AU_ERANGE;
		if (limits->segment_size && length > limits->segment_size)
			length = limits->segment_size;
		if (limits->boundary && length > limits->boundary - (addr & (limits->boundary - 1)))
			length = limits->boundary - (addr & (limits->boundary - 1));
		segments[count++] = (struct au_dma_segment){ addr, (uint32_t)length };
		addr += length;
		left -= length;
	}
	return (int)count;
}

/* ------------------------------------------------------------- coming and going */

void auf_dma_init(struct au_device *dev, const struct auf_device_config *config)
{
	uint32_t bits = dev->note.dma_bits;

	au_list_init(&dev->dma.mappings);
	au_list_init(&dev->dma.blocks);
	dev->dma.limit = bits == 0 ? 0 : bits >= 47 ? 1ull << 47 : 1ull << bits;
	if (!bits)
		return;
	dev->dma.arena = config->arena;
	dev->dma.arena_size = config->arena_size;
	dev->dma.arena_fd = config->arena_fd;
}

int auf_dma_arena(struct au_device *dev)
{
	return auf_dma_map(dev, dev->dma.arena_fd, dev->dma.arena, dev->dma.arena_size,
			   &dev->dma.arena_iova);
}

unsigned int auf_dma_periods(const struct au_device *dev)
{
	uint64_t mask = 0;

	au_list_for_each (node, &dev->dma.blocks)
		mask |= auf_period(AU_CONTAINER(node, struct dma_block, node)->period);
	return auf_periods(mask);
}

/* What the driver did not give back. */
void auf_dma_forget(struct au_device *dev)
{
	struct au_list *node;

	while ((node = au_list_pop(&dev->dma.blocks)))
		au_os_free(AU_CONTAINER(node, struct dma_block, node));
}

void auf_dma_free(struct au_device *dev)
{
	struct au_list *node;

	auf_dma_forget(dev);
	while ((node = au_list_pop(&dev->dma.mappings)))
		au_os_free(AU_CONTAINER(node, struct auf_mapping, node));
}
