/* SPDX-License-Identifier: MIT */
/* virtq_split.h: split virtqueues [2.6]. Part of virtq.h. */
#ifndef VIRTQ_SPLIT_H
#define VIRTQ_SPLIT_H

/* Where the other side says when it wants to hear: behind the rings [2.6.6], [2.6.8]. */
static inline uint16_t *virtq_split_used_event(const struct virtq *q)
{
	return &q->split.avail->ring[q->size];
}

static inline uint16_t *virtq_split_avail_event(const struct virtq *q)
{
	return (uint16_t *)&q->split.done->ring[q->size];
}

/* An entry of the free list, filled in. Return: its index. */
static inline uint16_t virtq_split_fill(struct virtq *q, uint16_t at,
					const struct virtq_piece *piece, uint16_t flags)
{
	struct virtq_desc *desc = &q->split.desc[at];

	desc->addr = piece->addr;
	desc->len = piece->len;
	desc->flags = flags;
	desc->next = q->slots[at].next;
	return q->slots[at].next;
}

static inline bool virtq_split_add(struct virtq *q, const struct virtq_piece *pieces,
				   unsigned int out, unsigned int in, void *token, uint16_t extra)
{
	unsigned int count = out + in;
	uint16_t head = q->free, at = head;
	struct virtq_slot *slot = &q->slots[head];
	uint32_t room = 0;

	if (virtq_unlikely(count > q->room))
		return false;
	for (unsigned int i = 0; i < count; i++) {
		uint16_t flags = i + 1 < count ? extra | VIRTQ_DESC_NEXT : extra;

		if (i >= out) {
			flags |= VIRTQ_DESC_WRITE;
			room += pieces[i].len;
		}
		at = virtq_split_fill(q, at, &pieces[i], flags);
	}
	q->free = at;
	q->room -= (uint16_t)count;
	slot->token = token;
	slot->room = room;
	slot->count = (uint16_t)count;
	q->split.avail->ring[q->next++ & (q->size - 1)] = head;
	return true;
}

static inline bool virtq_split_publish(struct virtq *q)
{
	uint16_t old = q->published, now = q->next;

	if (now == old)
		return false;
	q->published = now;
	au_dma_wmb();
	virtq_write(q->split.avail->idx, now);
	au_dma_mb();
	if (q->event_idx)
		return virtq_passed(virtq_read(*virtq_split_avail_event(q)), now, old);
	return !(virtq_read(q->split.done->flags) & VIRTQ_USED_NO_NOTIFY);
}

static inline bool virtq_split_ready(const struct virtq *q)
{
	return virtq_read(q->split.done->idx) != q->used;
}

static inline void *virtq_split_get(struct virtq *q, uint32_t *written)
{
	uint16_t ahead = (uint16_t)(virtq_read(q->split.done->idx) - q->used), head, last;
	const struct virtq_used_elem *elem;
	struct virtq_slot *slot;
	uint32_t id, len;
	void *token;

	if (ahead == 0 || q->broken)
		return NULL;
	au_dma_rmb();
	elem = &q->split.done->ring[q->used & (q->size - 1)];
	id = virtq_read(elem->id);
	len = virtq_read(elem->len);
	if (virtq_unlikely(ahead > q->size || id >= q->size))
		return virtq_break(q, "it gave back what there is not");
	slot = &q->slots[id];
	token = slot->token;
	/* Slots in the middle of a buffer, and free ones, have none. */
	if (virtq_unlikely(!token))
		return virtq_break(q, "it gave back what it did not have");
	if (virtq_unlikely(len > slot->room))
		return virtq_break(q, "it wrote more than there was room for");
	slot->token = NULL;
	head = last = (uint16_t)id;
	for (unsigned int i = 1; i < slot->count; i++)
		last = q->slots[last].next;
	q->slots[last].next = q->free;
	q->free = head;
	q->room += slot->count;
	q->used++;
	*written = len;
	return token;
}

static inline bool virtq_split_arm(struct virtq *q)
{
	if (q->event_idx)
		virtq_write(*virtq_split_used_event(q), q->used);
	else
		virtq_write(q->split.avail->flags, 0);
	au_dma_mb();
	return !virtq_split_ready(q);
}

static inline void virtq_split_disarm(struct virtq *q)
{
	if (q->event_idx) /* it has been passed already: not again for a long time */
		virtq_write(*virtq_split_used_event(q), (uint16_t)(q->used - 1));
	else
		virtq_write(q->split.avail->flags, VIRTQ_AVAIL_NO_INTERRUPT);
}

#endif
