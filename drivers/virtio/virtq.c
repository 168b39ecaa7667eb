/* SPDX-License-Identifier: MIT */
/* virtq.c: of virtqueues, what is not done with each buffer. */
#include "virtq.h"

#define VIRTQ_ALIGN 4096u /* the parts of a queue do not share a page of the device's */

static uint32_t virtq_align(uint32_t bytes)
{
	return (bytes + VIRTQ_ALIGN - 1) & ~(VIRTQ_ALIGN - 1);
}

uint32_t virtq_bytes(bool packed, uint16_t size, uint32_t offsets[3])
{
	uint32_t driver =
		packed ? sizeof(struct virtq_event) : sizeof(struct virtq_avail) + size * 2u + 2u;
	uint32_t device = packed ? sizeof(struct virtq_event)
				 : sizeof(struct virtq_used) +
					   size * (uint32_t)sizeof(struct virtq_used_elem) + 2u;

	offsets[0] = 0;
	offsets[1] = virtq_align(size * (uint32_t)sizeof(struct virtq_desc));
	offsets[2] = offsets[1] + virtq_align(driver);
	return offsets[2] + virtq_align(device);
}

void virtq_init(struct virtq *q, bool packed, bool event_idx, uint16_t size, void *memory,
		struct virtq_slot *slots)
{
	uint32_t offsets[3];
	char *at = memory;

	virtq_bytes(packed, size, offsets);
	*q = (struct virtq){
		.packed = packed,
		.event_idx = event_idx,
		.size = size,
		.room = size,
		.avail_wrap = VIRTQ_PACKED_AVAIL,
		.used_wrap = true,
		.slots = slots,
	};
	if (packed) {
		q->ring.ring = (struct virtq_packed *)at;
		q->ring.driver = (struct virtq_event *)(at + offsets[1]);
		q->ring.device = (struct virtq_event *)(at + offsets[2]);
	} else {
		q->split.desc = (struct virtq_desc *)at;
		q->split.avail = (struct virtq_avail *)(at + offsets[1]);
		q->split.done = (struct virtq_used *)(at + offsets[2]);
	}
	for (uint16_t i = 0; i < size; i++)
		slots[i] = (struct virtq_slot){ .next = (uint16_t)(i + 1) };
}

void *virtq_take(struct virtq *q)
{
	for (uint16_t i = 0; i < q->size; i++) {
		void *token = q->slots[i].token;

		q->slots[i].token = NULL;
		if (token)
			return token;
	}
	return NULL;
}

void *virtq_break(struct virtq *q, const char *how)
{
	q->broken = how;
	return NULL;
}

/* The table of @slot, as the pieces of a split buffer. Return: how much may be written. */
static uint32_t virtq_split_fill_table(const struct virtq *q, uint16_t slot,
				       const struct virtq_piece *pieces, unsigned int out,
				       unsigned int count)
{
	struct virtq_desc *table = (struct virtq_desc *)q->tables.cpu + slot * q->table;
	uint32_t room = 0;
	unsigned int i;

	for (i = 0; i < out; i++)
		table[i] = (struct virtq_desc){ pieces[i].addr, pieces[i].len, VIRTQ_DESC_NEXT,
						(uint16_t)(i + 1) };
	for (; i < count; i++) {
		table[i] = (struct virtq_desc){ pieces[i].addr, pieces[i].len,
						VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE,
						(uint16_t)(i + 1) };
		room += pieces[i].len;
	}
	table[count - 1].flags &= (uint16_t)~VIRTQ_DESC_NEXT;
	return room;
}

/* The same for a packed one: its pieces are in their order [2.7.7]. */
static uint32_t virtq_packed_fill_table(const struct virtq *q, uint16_t slot,
					const struct virtq_piece *pieces, unsigned int out,
					unsigned int count)
{
	struct virtq_packed *table = (struct virtq_packed *)q->tables.cpu + slot * q->table;
	uint32_t room = 0;
	unsigned int i;

	for (i = 0; i < out; i++)
		table[i] = (struct virtq_packed){ pieces[i].addr, pieces[i].len, 0, 0 };
	for (; i < count; i++) {
		table[i] =
			(struct virtq_packed){ pieces[i].addr, pieces[i].len, 0, VIRTQ_DESC_WRITE };
		room += pieces[i].len;
	}
	return room;
}

bool virtq_add_table(struct virtq *q, const struct virtq_piece *pieces, unsigned int out,
		     unsigned int in, void *token)
{
	unsigned int count = out + in;
	uint16_t slot = q->free;
	struct virtq_piece table;
	uint32_t room;

	if (q->room == 0 || out > q->table || in > q->table || count > q->table)
		return false;
	table.addr = q->tables.addr + slot * q->table * (uint32_t)sizeof(struct virtq_desc);
	table.len = count * (uint32_t)sizeof(struct virtq_desc);
	if (q->packed) {
		room = virtq_packed_fill_table(q, slot, pieces, out, count);
		virtq_packed_add(q, &table, 1, 0, token, VIRTQ_DESC_INDIRECT);
	} else {
		room = virtq_split_fill_table(q, slot, pieces, out, count);
		virtq_split_add(q, &table, 1, 0, token, VIRTQ_DESC_INDIRECT);
	}
	q->slots[slot].room = room;
	return true;
}
