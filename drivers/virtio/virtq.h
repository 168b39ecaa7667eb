/* SPDX-License-Identifier: MIT */
/**
 * DOC: Virtqueues, split and packed
 *
 * A queue takes buffers (one or more pieces of memory, first those that the device reads, then
 * those that it writes) and gives them back in whatever order the device is done with them. What is
 * put in becomes visible to the device with virtq_publish(), all at once: one store, and at most
 * one notification, however many there are.
 *
 * The device is trusted no more than a client is. The rings are written, and what it writes there
 * is read once and checked; everything that is needed later is kept in private memory. A device
 * that breaks a rule breaks the queue: @broken says how, nothing more comes from it, and what is
 * outstanding is the owner's to take back with virtq_take(), after the device has been reset.
 *
 * One thread at a time. [n]: virtio 1.1 section.
 */
#ifndef VIRTQ_H
#define VIRTQ_H

#include <auriga/driver.h>

#define VIRTQ_SIZE_MAX	    1024u

#define virtq_likely(x)	    __builtin_expect(!!(x), 1)
#define virtq_unlikely(x)   __builtin_expect(!!(x), 0)

/* ---------------------------------------------------------------- on the wire */

#define VIRTQ_DESC_NEXT	    1u
#define VIRTQ_DESC_WRITE    2u
#define VIRTQ_DESC_INDIRECT 4u

/** struct virtq_desc - of a split queue [2.6.5], and of indirect tables. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

#define VIRTQ_AVAIL_NO_INTERRUPT 1u
#define VIRTQ_USED_NO_NOTIFY	 1u

/** struct virtq_avail - what the driver offers [2.6.6]; behind it, the used event. */
struct virtq_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[];
};

/** struct virtq_used - what the device is done with [2.6.8]; behind it, the avail event. */
struct virtq_used {
	uint16_t flags;
	uint16_t idx;
	struct virtq_used_elem {
		uint32_t id;
		uint32_t len;
	} ring[];
};

#define VIRTQ_PACKED_AVAIL (1u << 7)
#define VIRTQ_PACKED_USED  (1u << 15)

/** struct virtq_packed - of a packed queue [2.7.13]. The device writes over it when it is done. */
struct virtq_packed {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

#define VIRTQ_EVENT_ENABLE  0u
#define VIRTQ_EVENT_DISABLE 1u
#define VIRTQ_EVENT_DESC    2u

/** struct virtq_event - when a packed queue wants to hear [2.7.14]. */
struct virtq_event {
	uint16_t off_wrap;
	uint16_t flags;
};

_Static_assert(sizeof(struct virtq_desc) == 16 && sizeof(struct virtq_packed) == 16, "wire format");
_Static_assert(sizeof(struct virtq_used_elem) == 8 && sizeof(struct virtq_event) == 4,
	       "wire format");

/* ------------------------------------------------------------------- the queue */

/** struct virtq_piece - a piece of memory, for the device. */
struct virtq_piece {
	uint64_t addr;
	uint32_t len;
};

/**
 * struct virtq_slot - what is known about a buffer, where the device cannot write.
 * @token: the owner's; NULL: the slot is free.
 * @room: how much the device may have written at most.
 * @count: entries of the ring that it takes.
 * @next: of a free slot: the next one; of a split buffer's entry: the next one of it.
 */
struct virtq_slot {
	void *token;
	uint32_t room;
	uint16_t count;
	uint16_t next;
};

/**
 * struct virtq - a queue.
 * @packed, @event_idx: what was negotiated.
 * @size: entries; a power of two when split.
 * @room: entries that are free.
 * @free: the first free slot.
 * @next: where the next entry goes: split: counts up for ever; packed: an index.
 * @published: @next when the device was last shown something.
 * @used: what is taken back next: as @next.
 * @hidden: packed: flags of the first entry that the device has not been shown.
 * @avail_wrap, @used_wrap: packed: the flags of an entry that is available in this round; whether
 *	used ones have their bits set in this round.
 * @broken: which rule the device has broken; NULL: none.
 * @tables: memory for indirect descriptors, @table of them per slot; 0: none.
 */
struct virtq {
	bool packed;
	bool event_idx;
	uint16_t size;
	uint16_t room;
	uint16_t free;
	uint16_t next;
	uint16_t published;
	uint16_t used;
	uint16_t hidden;
	uint16_t avail_wrap;
	bool used_wrap;
	union {
		struct {
			struct virtq_desc *desc;
			struct virtq_avail *avail;
			struct virtq_used *done;
		} split;
		struct {
			struct virtq_packed *ring;
			struct virtq_event *driver;
			struct virtq_event *device;
		} ring;
	};
	struct virtq_slot *slots;
	const char *broken;
	struct au_dma tables;
	uint16_t table;
};

/**
 * virtq_bytes - how much memory the rings of a queue take, all in one.
 * @offsets: where its three parts lie: descriptors, driver's part, device's part.
 */
uint32_t virtq_bytes(bool packed, uint16_t size, uint32_t offsets[3]);

/**
 * virtq_init - an empty queue.
 * @memory: virtq_bytes() of them, zeroed, aligned to 16; nobody else looks at them yet.
 * @slots: @size of them.
 */
void virtq_init(struct virtq *q, bool packed, bool event_idx, uint16_t size, void *memory,
		struct virtq_slot *slots);

/** virtq_take - one of the buffers that the device still has, after it was reset; NULL: none. */
void *virtq_take(struct virtq *q);

/** virtq_break - the device has broken a rule. Return: NULL, for virtq_get(). */
void *virtq_break(struct virtq *q, const char *how);

/* Whether a counter that went from @old to @now passed @event [2.6.7.1]. */
static inline bool virtq_passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

#define virtq_read(p)	  __atomic_load_n(&(p), __ATOMIC_RELAXED)
#define virtq_write(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELAXED)

#include "virtq_packed.h"
#include "virtq_split.h"

/**
 * virtq_add - put a buffer into the queue.
 * @pieces: @out that the device reads, then @in that it writes; at least one in all.
 * @token: not NULL; given back by virtq_get().
 * Return: false: there is no room for it now.
 */
static inline bool virtq_add(struct virtq *q, const struct virtq_piece *pieces, unsigned int out,
			     unsigned int in, void *token)
{
	return q->packed ? virtq_packed_add(q, pieces, out, in, token, 0)
			 : virtq_split_add(q, pieces, out, in, token, 0);
}

/**
 * virtq_add_table - the same through an indirect table, so that it takes one entry [2.6.5.3].
 * Return: false: there is no room, or it has more pieces than a table.
 */
bool virtq_add_table(struct virtq *q, const struct virtq_piece *pieces, unsigned int out,
		     unsigned int in, void *token);

/** virtq_publish - show the device all that was put in. Return: whether it wants to be notified. */
static inline bool virtq_publish(struct virtq *q)
{
	return q->packed ? virtq_packed_publish(q) : virtq_split_publish(q);
}

/**
 * virtq_get - a buffer that the device is done with.
 * @written: how many bytes it says it wrote: never more than there was room for.
 * Return: its token; NULL: there is none, or the queue is broken.
 */
static inline void *virtq_get(struct virtq *q, uint32_t *written)
{
	return q->packed ? virtq_packed_get(q, written) : virtq_split_get(q, written);
}

/** virtq_ready - whether virtq_get() would give one. */
static inline bool virtq_ready(const struct virtq *q)
{
	return q->packed ? virtq_packed_ready(q) : virtq_split_ready(q);
}

/**
 * virtq_arm - interrupts, please, when there is something.
 * Return: false: there is something already, look again.
 */
static inline bool virtq_arm(struct virtq *q)
{
	return q->packed ? virtq_packed_arm(q) : virtq_split_arm(q);
}

/** virtq_disarm - no interrupts, please. */
static inline void virtq_disarm(struct virtq *q)
{
	if (q->packed)
		virtq_packed_disarm(q);
	else
		virtq_split_disarm(q);
}

#endif
