/* SPDX-License-Identifier: MIT */
#include "dma.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096u

/* The first map that ends behind @iova. */
static unsigned int dma_index(const struct nvme_dma *dma, uint64_t iova)
{
	unsigned int low = 0, high = dma->count;

	while (low < high) {
		unsigned int mid = (low + high) / 2;
		const struct nvme_dma_map *map = &dma->maps[mid];

		if (map->iova + (map->size - 1) < iova)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* A file that could shrink would kill this process at the next access. */
static int dma_file_fits(int fd, uint64_t offset, uint64_t size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return -EPERM;
	if (fstat(fd, &st) || offset > INT64_MAX || (uint64_t)st.st_size < offset ||
	    (uint64_t)st.st_size - offset < size)
		return -EINVAL;
	return 0;
}

int nvme_dma_map(struct nvme_dma *dma, uint64_t iova, uint64_t size, uint32_t prot, int fd,
		 uint64_t offset)
{
	unsigned int at = dma_index(dma, iova);
	int ret;

	if (!size || iova % PAGE || size % PAGE || offset % PAGE || iova + (size - 1) < iova ||
	    !prot || prot & ~(uint32_t)(NVME_DMA_READ | NVME_DMA_WRITE))
		return -EINVAL;
	if (at < dma->count && dma->maps[at].iova <= iova + (size - 1))
		return -EEXIST;
	if (dma->count == NVME_DMA_MAPS)
		return -ENOSPC;
	ret = dma_file_fits(fd, offset, size);
	if (ret)
		return ret;
	if (dma->count == dma->room) {
		unsigned int room = dma->room ? 2 * dma->room : 16;
		struct nvme_dma_map *maps = realloc(dma->maps, room * sizeof(*maps));

		if (!maps)
			return -ENOMEM;
		dma->maps = maps;
		dma->room = room;
	}

	int access = prot & NVME_DMA_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
	void *host = mmap(NULL, size, access, MAP_SHARED, fd, (off_t)offset);
	if (host == MAP_FAILED)
		return -errno;
	memmove(&dma->maps[at + 1], &dma->maps[at], (dma->count - at) * sizeof(dma->maps[0]));
	dma->maps[at] = (struct nvme_dma_map){ iova, size, host, prot };
	dma->count++;
	dma->generation++;
	return 0;
}

int nvme_dma_unmap(struct nvme_dma *dma, uint64_t iova, uint64_t size)
{
	unsigned int at = dma_index(dma, iova);

	if (at == dma->count || dma->maps[at].iova != iova || dma->maps[at].size != size)
		return -ENOENT;
	munmap(dma->maps[at].host, size);
	dma->count--;
	memmove(&dma->maps[at], &dma->maps[at + 1], (dma->count - at) * sizeof(dma->maps[0]));
	dma->generation++;
	return 0;
}

void nvme_dma_clear(struct nvme_dma *dma)
{
	for (unsigned int i = 0; i < dma->count; i++)
		munmap(dma->maps[i].host, dma->maps[i].size);
	free(dma->maps);
	dma->maps = NULL;
	dma->count = dma->room = 0;
	dma->generation++;
}

void nvme_dma_enable(struct nvme_dma *dma, bool on)
{
	if (dma->on != on)
		dma->generation++;
	dma->on = on;
}

void *nvme_dma_look(const struct nvme_dma *dma, struct nvme_dma_hint *hint, uint64_t iova,
		    uint64_t size, uint32_t prot)
{
	unsigned int at = dma_index(dma, iova);
	const struct nvme_dma_map *map;

	if (!dma->on || at == dma->count)
		return NULL;
	map = &dma->maps[at];
	if (map->iova > iova || map->size - (iova - map->iova) < size || (map->prot & prot) != prot)
		return NULL;
	hint->map = *map;
	hint->generation = dma->generation;
	return map->host + (iova - map->iova);
}
