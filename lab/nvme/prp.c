/* SPDX-License-Identifier: MIT */
/*
 * prp.c: where a command's data are: 4.3 Physical Region Page Entry and List.
 *
 * The first entry may begin in the middle of a page, all others begin pages. What does not fit into
 * two entries is in a list, whose last entry in a page leads to the next page of the list if there
 * is more to come.
 */
#include "nvme.h"

#include <string.h>

#define PRP_ENTRY 8u

struct prp_walk {
	struct nvme *nvme;
	uint32_t left, prot;
	struct nvme_seg *segs;
	unsigned int count;
};

static uint16_t prp_stray(struct nvme *nvme)
{
	nvme->stats.stray++;
	return NVME_DATA_TRANSFER;
}

static uint16_t prp_take(struct prp_walk *walk, uint64_t at)
{
	uint32_t size = NVME_PAGE - (uint32_t)(at % NVME_PAGE);
	uint8_t *host;

	if (size > walk->left)
		size = walk->left;
	host = nvme_dma_at(&walk->nvme->dma, &walk->nvme->data, at, size, walk->prot);
	if (!host)
		return prp_stray(walk->nvme);
	walk->segs[walk->count++] = (struct nvme_seg){ host, size };
	walk->left -= size;
	return NVME_OK;
}

static uint16_t prp_list(struct prp_walk *walk, uint64_t list)
{
	struct nvme *nvme = walk->nvme;
	struct nvme_dma_hint hint = { 0 };
	uint16_t status = NVME_OK;

	if (list % PRP_ENTRY)
		return NVME_PRP_OFFSET;
	while (walk->left && !status) {
		uint32_t room = NVME_PAGE - (uint32_t)(list % NVME_PAGE);
		const volatile uint64_t *at =
			nvme_dma_at(&nvme->dma, &hint, list, PRP_ENTRY, NVME_DMA_READ);
		uint64_t entry;

		if (!at)
			return prp_stray(nvme);
		entry = *at; /* once: the client may change it under our eyes */
		if (entry % NVME_PAGE)
			return NVME_PRP_OFFSET;
		if (room == PRP_ENTRY && walk->left > NVME_PAGE) {
			list = entry;
			continue;
		}
		status = prp_take(walk, entry);
		list += PRP_ENTRY;
	}
	return status;
}

uint16_t nvme_prp(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t size, uint32_t prot,
		  struct nvme_seg *segs, unsigned int *count)
{
	struct prp_walk walk = { .nvme = nvme, .left = size, .prot = prot, .segs = segs };
	uint16_t status;

	if (cmd->flags & NVME_SQE_PSDT)
		return nvme_sgl(nvme, cmd, size, prot, segs, count);
	if (cmd->prp1 % 4)
		return NVME_PRP_OFFSET;
	status = prp_take(&walk, cmd->prp1);
	if (!status && walk.left > NVME_PAGE)
		status = prp_list(&walk, cmd->prp2);
	else if (!status && walk.left)
		status = cmd->prp2 % NVME_PAGE ? NVME_PRP_OFFSET : prp_take(&walk, cmd->prp2);
	*count = walk.count;
	return status;
}

uint16_t nvme_give(struct nvme *nvme, const struct nvme_sqe *cmd, const void *data, uint32_t size)
{
	struct nvme_seg segs[NVME_SEGS];
	const uint8_t *from = data;
	unsigned int count;
	uint16_t status = nvme_prp(nvme, cmd, size, NVME_DMA_WRITE, segs, &count);

	for (unsigned int i = 0; !status && i < count; i++) {
		memcpy(segs[i].at, from, segs[i].size);
		from += segs[i].size;
	}
	return status;
}
