/* SPDX-License-Identifier: MIT */
/* Rings and doorbells. */
#include "nvme.h"

int nvme_queue_alloc(struct nvme *n, struct nvme_queue *q, uint32_t id, uint32_t size)
{
	uint32_t stride = 4u << CAP_DSTRD(n->cap);
	uint64_t page = 1ull << n->page_shift;
	int err;

	if (q->size)
		return 0;
	err = au_dma_alloc(n->dev, size * sizeof(*q->sq), page, &q->sq_dma);
	if (!err)
		err = au_dma_alloc(n->dev, size * sizeof(*q->cq), page, &q->cq_dma);
	/* The BAR may be smaller than the stride asks for. */
	if (!err)
		err = au_sub_regs(n->regs, REG_DOORBELLS, (2ull * id + 2) * stride, &q->doorbells);
	if (err)
		return err;
	q->sq = q->sq_dma.cpu;
	q->cq = q->cq_dma.cpu;
	q->first = id << 16;
	q->at[0] = 2 * id * stride;
	q->at[1] = (2 * id + 1) * stride;
	q->size = size;
	return 0;
}

void nvme_queue_reset(struct nvme_queue *q)
{
	__builtin_memset(q->sq, 0, q->size * sizeof(*q->sq));
	__builtin_memset(q->cq, 0, q->size * sizeof(*q->cq));
	q->tail = q->rung = q->head = 0;
	q->phase = 1;
	for (unsigned int i = 0; i < 2; i++)
		if (q->shadow[i])
			*q->shadow[i] = *q->event[i] = 0;
}

void nvme_queue_shadow(struct nvme *n, struct nvme_queue *q, bool on)
{
	for (unsigned int i = 0; i < 2; i++) {
		q->shadow[i] = on ? (uint32_t *)((char *)n->shadow.cpu + q->at[i]) : NULL;
		q->event[i] = on ? (uint32_t *)((char *)n->event.cpu + q->at[i]) : NULL;
	}
}

/* The register is written only if the device does not look by itself [7.13]. */
void nvme_ring_shadowed(struct nvme_queue *q, unsigned int which, uint32_t value)
{
	uint32_t old = *q->shadow[which], event;

	__atomic_store_n(q->shadow[which], value, __ATOMIC_RELAXED);
	au_dma_mb();
	event = __atomic_load_n(q->event[which], __ATOMIC_RELAXED);
	if ((uint16_t)(value - event - 1) < (uint16_t)(value - old))
		au_post32(q->doorbells, q->at[which], value);
}
