/* SPDX-License-Identifier: MIT */
/*
 * dma.h: the memory that the client has lent to the device, by the device's addresses.
 *
 * Every access of the device goes through nvme_dma_at(): what is not mapped, or not for this
 * direction, does not exist. Whoever accesses one place often keeps a hint.
 */
#ifndef LAB_NVME_DMA_H
#define LAB_NVME_DMA_H

#include <stdbool.h>
#include <stdint.h>

#define NVME_DMA_MAPS 4096u

/* As in the flags of DMA_MAP, seen from the device. */
enum { NVME_DMA_READ = 1, NVME_DMA_WRITE = 2 };

struct nvme_dma_map {
	uint64_t iova, size;
	uint8_t *host;
	uint32_t prot;
};

/**
 * struct nvme_dma - the maps, sorted by address.
 * @on: bus mastering is on.
 * @generation: changes with every map, and with @on: a hint of another one is void.
 */
struct nvme_dma {
	struct nvme_dma_map *maps;
	unsigned int count, room;
	uint32_t generation;
	bool on;
};

/** struct nvme_dma_hint - the map that was used last, zeroed to begin with. */
struct nvme_dma_hint {
	struct nvme_dma_map map;
	uint32_t generation;
};

/**
 * nvme_dma_map - lend memory.
 * @fd: a memfd that is sealed against shrinking; a copy of it is not kept.
 *
 * Return: 0, -EINVAL, -EEXIST where something is mapped already, or why it cannot be mapped.
 */
int nvme_dma_map(struct nvme_dma *dma, uint64_t iova, uint64_t size, uint32_t prot, int fd,
		 uint64_t offset);

/** nvme_dma_unmap - take back exactly one map. Return: 0, or -ENOENT. */
int nvme_dma_unmap(struct nvme_dma *dma, uint64_t iova, uint64_t size);

/** nvme_dma_clear - take back everything. */
void nvme_dma_clear(struct nvme_dma *dma);

/** nvme_dma_enable - bus mastering on or off. */
void nvme_dma_enable(struct nvme_dma *dma, bool on);

/** nvme_dma_look - the slow half of nvme_dma_at(). */
void *nvme_dma_look(const struct nvme_dma *dma, struct nvme_dma_hint *hint, uint64_t iova,
		    uint64_t size, uint32_t prot);

/** nvme_dma_at - where @size bytes at @iova are; NULL: the device may not reach them. */
static inline void *nvme_dma_at(const struct nvme_dma *dma, struct nvme_dma_hint *hint,
				uint64_t iova, uint64_t size, uint32_t prot)
{
	uint64_t at = iova - hint->map.iova;

	if (__builtin_expect(hint->generation == dma->generation && at < hint->map.size &&
				     hint->map.size - at >= size && (hint->map.prot & prot) == prot,
			     1))
		return hint->map.host + at;
	return nvme_dma_look(dma, hint, iova, size, prot);
}

#endif
