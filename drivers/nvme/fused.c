/* SPDX-License-Identifier: MIT */
/*
 * Compare and write, a fused operation [4.10, 6.4.1]: two commands behind one another in the queue,
 * of which the second is done if the first found what it should. Each has a slot and is answered;
 * the request is complete when both are. It is not idempotent: once sent, it is never sent again.
 */
#include "nvme.h"

static void pair_give_back(struct nvme_path *p, struct nvme_slot *slot)
{
	slot->key &= ~NVME_BUSY;
	p->free[p->free_count++] = (uint16_t)(slot - p->slots);
	nvme_io_wait(p, slot->req);
	p->pair_waits = true;
	nvme_io_odd(p);
}

void nvme_pair_start(struct nvme_path *p, const struct nvme_way *way, struct nvme_slot *slot)
{
	struct nvme_slot *second;

	if (!p->free_count) {
		pair_give_back(p, slot);
		return;
	}
	second = &p->slots[p->free[--p->free_count]];
	second->req = slot->req;
	second->key |= NVME_BUSY;
	second->since = 0;
	second->care = 0;
	second->tries = slot->tries;
	slot->half = NVME_COMPARE;
	second->half = NVME_WRITE;
	p->halves[slot - p->slots].other = (uint16_t)(second - p->slots);
	p->halves[second - p->slots].other = (uint16_t)(slot - p->slots);
	if (slot->tries == NVME_UNSENT)
		return;
	nvme_io_put(p, way, slot, slot->req);
	nvme_io_put(p, way, second, slot->req);
}

/* The half that says more: a write that was not done says only that the comparison failed. */
static struct nvme_slot *pair_outcome(struct nvme_path *p, struct nvme_slot *slot)
{
	struct nvme_slot *other = nvme_other_half(p, slot);
	struct nvme_slot *compare = slot->half & NVME_COMPARE ? slot : other;

	return p->halves[compare - p->slots].status ? compare : nvme_other_half(p, compare);
}

static void pair_end(struct nvme_path *p, struct nvme_slot *slot)
{
	uint16_t status = p->halves[slot - p->slots].status;
	bool again;
	int err = status ? nvme_status(status, AU_BLOCK_WRITE, &again) : 0;

	if (err && au_request_is_canceled(slot->req))
		err = -AU_ECANCELED;
	else if ((status & STATUS_CODE) == STATUS_SQ_DELETED)
		err = -AU_EOWNERDEAD;
	else if (slot->late && (status & STATUS_CODE) == STATUS_ABORT_REQUESTED)
		err = -AU_ETIMEDOUT;
	nvme_io_end(p, slot, err, status);
}

bool nvme_pair_answered(struct nvme_path *p, struct nvme_slot *slot, uint16_t status)
{
	if (slot->half & NVME_ANSWERED)
		return false;
	slot->half |= NVME_ANSWERED;
	p->halves[slot - p->slots].status = status;
	if (nvme_other_half(p, slot)->half & NVME_ANSWERED)
		pair_end(p, pair_outcome(p, slot));
	return true;
}

void nvme_pair_forgotten(struct nvme_path *p, struct nvme_slot *slot)
{
	struct nvme_slot *other = nvme_other_half(p, slot);
	struct nvme_slot *compare = slot->half & NVME_COMPARE ? slot : other;

	if (slot->tries == NVME_UNSENT)
		return;
	if ((compare->half & NVME_ANSWERED) && p->halves[compare - p->slots].status)
		pair_end(p, compare); /* then there was no write */
	else
		nvme_io_end(p, slot, -AU_EOWNERDEAD, 0);
}
