/* SPDX-License-Identifier: MIT */
/* virtq_packed.h: packed virtqueues [2.7]. Part of virtq.h. */
#ifndef VIRTQ_PACKED_H
#define VIRTQ_PACKED_H

#define VIRTQ_PACKED_BITS (VIRTQ_PACKED_AVAIL | VIRTQ_PACKED_USED)

/*
 * The flags of the first entry that was put in since virtq_publish() are held back: until it is
 * available, so is nothing behind it [2.7.21]. The others are written at once.
 */
static inline void virtq_packed_flags(struct virtq *q, uint16_t at, uint16_t flags)
{
	if (at == q->published)
		q->hidden = flags;
	else
		virtq_write(q->ring.ring[at].flags, flags);
}

static inline bool virtq_packed_add(struct virtq *q, const struct virtq_piece *pieces,
				    unsigned int out, unsigned int in, void *token, uint16_t extra)
{
	unsigned int count = out + in;
	uint16_t id = q->free;
	struct virtq_slot *slot = &q->slots[id];
	uint32_t room = 0;

	if (virtq_unlikely(count > q->room))
		return false;
	for (unsigned int i = 0; i < count; i++) {
		struct virtq_packed *entry = &q->ring.ring[q->next];
		uint16_t flags = q->avail_wrap | extra, at = q->next;

		if (i + 1 < count)
			flags |= VIRTQ_DESC_NEXT;
		if (i >= out) {
			flags |= VIRTQ_DESC_WRITE;
			room += pieces[i].len;
		}
		entry->addr = pieces[i].addr;
		entry->len = pieces[i].len;
		entry->id = id; /* counts in the last one */
		virtq_packed_flags(q, at, flags);
		if (virtq_unlikely(++q->next == q->size)) {
			q->next = 0;
			q->avail_wrap ^= VIRTQ_PACKED_BITS;
		}
	}
	q->free = slot->next;
	q->room -= (uint16_t)count;
	slot->token = token;
	slot->room = room;
	slot->count = (uint16_t)count;
	return true;
}

/* Whether the device asks to be told about what is between @old and q->next. */
static inline bool virtq_packed_wanted(const struct virtq *q, uint16_t old)
{
	struct virtq_event *event = q->ring.device;
	uint16_t off_wrap, at, now = q->next;
	uint16_t how = virtq_read(event->flags) & 3;

	if (how != VIRTQ_EVENT_DESC)
		return how == VIRTQ_EVENT_ENABLE;
	off_wrap = virtq_read(event->off_wrap);
	at = off_wrap & 0x7fff;
	/* As counters: what lies in the other round is a whole queue away. */
	if (now <= old)
		old = (uint16_t)(old - q->size);
	if ((off_wrap >> 15 != 0) != ((q->avail_wrap & VIRTQ_PACKED_AVAIL) != 0))
		at = (uint16_t)(at - q->size);
	return virtq_passed(at, now, old);
}

static inline bool virtq_packed_publish(struct virtq *q)
{
	uint16_t old = q->published;

	/* Nothing, or a whole queue: then there is no room. */
	if (q->next == old && !q->hidden)
		return false;
	au_dma_wmb();
	virtq_write(q->ring.ring[old].flags, q->hidden);
	q->hidden = 0;
	q->published = q->next;
	au_dma_mb();
	return virtq_packed_wanted(q, old);
}

static inline bool virtq_packed_ready(const struct virtq *q)
{
	uint16_t flags = virtq_read(q->ring.ring[q->used].flags);
	bool avail = flags & VIRTQ_PACKED_AVAIL, used = flags & VIRTQ_PACKED_USED;

	return avail == used && used == q->used_wrap;
}

static inline void *virtq_packed_get(struct virtq *q, uint32_t *written)
{
	const struct virtq_packed *entry = &q->ring.ring[q->used];
	struct virtq_slot *slot;
	uint32_t len;
	uint16_t id;
	void *token;

	if (!virtq_packed_ready(q) || q->broken)
		return NULL;
	au_dma_rmb();
	id = virtq_read(entry->id);
	len = virtq_read(entry->len);
	if (virtq_unlikely(id >= q->size))
		return virtq_break(q, "it gave back what there is not");
	slot = &q->slots[id];
	token = slot->token;
	if (virtq_unlikely(!token))
		return virtq_break(q, "it gave back what it did not have");
	if (virtq_unlikely(len > slot->room))
		return virtq_break(q, "it wrote more than there was room for");
	slot->token = NULL;
	slot->next = q->free;
	q->free = id;
	q->room += slot->count;
	q->used += slot->count;
	if (virtq_unlikely(q->used >= q->size)) {
		q->used -= q->size;
		q->used_wrap = !q->used_wrap;
	}
	*written = len;
	return token;
}

static inline bool virtq_packed_arm(struct virtq *q)
{
	if (q->event_idx) {
		virtq_write(q->ring.driver->off_wrap, (uint16_t)(q->used | q->used_wrap << 15));
		au_dma_wmb();
		virtq_write(q->ring.driver->flags, VIRTQ_EVENT_DESC);
	} else {
		virtq_write(q->ring.driver->flags, VIRTQ_EVENT_ENABLE);
	}
	au_dma_mb();
	return !virtq_packed_ready(q);
}

static inline void virtq_packed_disarm(struct virtq *q)
{
	virtq_write(q->ring.driver->flags, VIRTQ_EVENT_DISABLE);
}

#endif
