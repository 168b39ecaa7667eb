/* SPDX-License-Identifier: MIT */
/*
 * sgl.c: where a command's data are: 4.4 Scatter Gather List.
 *
 * The descriptor in the command describes the data, or a segment of descriptors, whose last one may
 * lead to the next segment. What is described may have any alignment, and more than is moved.
 */
#include "nvme.h"

#include <string.h>

#define SGL_SEGMENTS 64u /* that lead from one to the next; more is a circle */

struct sgl_walk {
	struct nvme *nvme;
	uint32_t left, prot;
	struct nvme_seg *segs;
	unsigned int count;
};

static uint16_t sgl_stray(struct nvme *nvme)
{
	nvme->stats.stray++;
	return NVME_DATA_TRANSFER;
}

static uint16_t sgl_take(struct sgl_walk *walk, const struct nvme_sgl *d)
{
	uint32_t size = d->size < walk->left ? d->size : walk->left;
	uint8_t *host;

	if (!size)
		return NVME_OK;
	if (walk->count == NVME_SEGS)
		return NVME_SGL_COUNT;
	host = nvme_dma_at(&walk->nvme->dma, &walk->nvme->data, d->at, size, walk->prot);
	if (!host)
		return sgl_stray(walk->nvme);
	walk->segs[walk->count++] = (struct nvme_seg){ host, size };
	walk->left -= size;
	return NVME_OK;
}

/* The descriptors of a segment; its last one becomes @segment if it leads on. */
static uint16_t sgl_segment(struct sgl_walk *walk, struct nvme_sgl *segment)
{
	struct nvme_dma_hint hint = { 0 };
	uint32_t count = segment->size / (uint32_t)sizeof(*segment);
	bool last = segment->type == NVME_SGL_LAST;
	uint64_t at = segment->at;
	uint16_t status = NVME_OK;

	if (!count || segment->size % sizeof(*segment))
		return NVME_SGL_INVALID;
	segment->type = NVME_SGL_DATA;
	for (uint32_t i = 0; i < count && !status; i++, at += sizeof(*segment)) {
		const void *from =
			nvme_dma_at(&walk->nvme->dma, &hint, at, sizeof(*segment), NVME_DMA_READ);
		struct nvme_sgl d;

		if (!from)
			return sgl_stray(walk->nvme);
		memcpy(&d, from, sizeof(d)); /* once: the client may change it under our eyes */
		if (d.type == NVME_SGL_DATA)
			status = sgl_take(walk, &d);
		else if ((d.type == NVME_SGL_SEGMENT || d.type == NVME_SGL_LAST) && !last &&
			 i + 1 == count)
			*segment = d;
		else
			status = NVME_SGL_TYPE;
	}
	return status;
}

uint16_t nvme_sgl(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t size, uint32_t prot,
		  struct nvme_seg *segs, unsigned int *count)
{
	struct sgl_walk walk = { .nvme = nvme, .left = size, .prot = prot, .segs = segs };
	uint16_t status = NVME_OK;
	struct nvme_sgl d;

	memcpy(&d, &cmd->prp1, sizeof(d));
	if (d.type == NVME_SGL_DATA) {
		status = sgl_take(&walk, &d);
	} else {
		for (unsigned int i = 0; !status && d.type != NVME_SGL_DATA; i++)
			status = i == SGL_SEGMENTS ? NVME_SGL_COUNT
				 : d.type == NVME_SGL_SEGMENT || d.type == NVME_SGL_LAST
					 ? sgl_segment(&walk, &d)
					 : NVME_SGL_TYPE;
	}
	*count = walk.count;
	return status || !walk.left ? status : NVME_SGL_LENGTH;
}
