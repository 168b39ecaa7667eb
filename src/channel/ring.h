/* SPDX-License-Identifier: MIT */
/*
 * ring.h - single-producer single-consumer rings in memory shared by two processes that do not
 * trust each other.
 *
 * Two shapes: 64-byte entries (requests, control messages, events) and 16-byte completions.
 *
 * A ring in shared memory is a header of two cache lines and a power-of-two array of slots:
 *
 *	line 0	head		free-running count of consumed entries, written by the consumer
 *	line 1	sleeping	set by the consumer before it sleeps, cleared by whoever wakes it
 *	line 2	slots
 *
 * There is no shared tail: an entry says by itself that it is there. The last word of a 64-byte
 * entry is its free-running index plus one, so zeroed memory is empty and each lap differs; the
 * last eight bytes of a completion hold a phase bit that flips each lap. The consumer thus touches
 * one cache line per entry, and the producer reads the head only when its last reading says full.
 *
 * Zeroed memory is an empty ring: neither end initialises the shared part, so the ends may attach
 * in any order. Sizes, bases and positions live in the private struct au_ring_producer and
 * au_ring_consumer and are never read back from shared memory. What a hostile peer can do is
 * limited to: garbage in an entry (the caller checks its private copy), an impossible head
 *(-EPROTO), false or missing doorbells, and silence. Whoever pops in a loop must bound the loop.
 *
 * Each entry is published by a plain release store as soon as it is written, so the two ends work
 * at the same time. Flush, once per batch, takes back the sleeping flag by an atomic exchange and
 * says whether it was set: a batch pays for one locked instruction. Against that the consumer says
 * that it sleeps by an atomic exchange too, and then looks at the next entry once more. One of the
 * two exchanges comes first: if it is the producer's, the consumer sees what was published before
 * it; otherwise the producer sees the flag. Atomic operations, no fences: ThreadSanitizer does not
 * understand fences. (Publishing a batch at once, by its first entry or by a shared tail, measured
 * 0.6 to 0.8 of this with 8 and 32 outstanding, and as much with 128.)
 *
 * Each end belongs to one thread at a time. Nothing here blocks, allocates or calls the system.
 * A hot loop does well to work on a local copy of its struct au_ring_producer or au_ring_consumer
 * and to store it back afterwards: the compiler then keeps it in registers.
 */
#ifndef AU_CHANNEL_RING_H
#define AU_CHANNEL_RING_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/failpoint.h"

#define AU_RING_LINE	    64u

/* The most entries of one ring. Bounds what a handshake can ask for; the algorithm needs < 2^31. */
#define AU_RING_MAX_ENTRIES (1u << 16)

/* The bits of a completion's error field that carry an errno; bit 15 is the ring's phase. */
#define AU_RING_ERR_MASK    0x7fffu

/**
 * enum au_ring_shape - size of one entry in bytes
 * @AU_RING64: requests, control messages, events
 * @AU_RING16: completions
 */
enum au_ring_shape {
	AU_RING64 = 64,
	AU_RING16 = 16,
};

/* The start of a ring in shared memory. */
struct au_ring_shared {
	_Alignas(AU_RING_LINE) uint32_t head;
	_Alignas(AU_RING_LINE) uint32_t sleeping;
};

_Static_assert(sizeof(struct au_ring_shared) == 2 * AU_RING_LINE, "one line per writer's word");

/**
 * struct au_ring_entry - a 64-byte entry as the ring sees it
 * @body: 60 bytes for the caller
 * @seq: the lap word, the ring's own: the caller neither writes nor interprets it
 *
 * The caller has its own 64-byte structure whose last four bytes it leaves alone. Entries cross
 * the interface as void pointers and are copied with memcpy, which keeps strict aliasing right.
 */
struct au_ring_entry {
	uint32_t body[15];
	uint32_t seq;
};

/**
 * struct au_ring_completion - a 16-byte completion, as popped
 * @handle: whatever the request carried; hostile until looked up in a private table
 * @result: bytes transferred, or class specific
 * @err: 0 or a positive errno, at most %AU_RING_ERR_MASK; the phase bit is already removed
 * @status: the device's own status
 */
struct au_ring_completion {
	uint64_t handle;
	uint32_t result;
	uint16_t err;
	uint16_t status;
};

/* A completion in shared memory. @word: result, errno with phase, status; from low to high bits. */
struct au_ring_slot16 {
	uint64_t handle;
	uint64_t word;
};

_Static_assert(sizeof(struct au_ring_entry) == AU_RING64, "an entry is one cache line");
_Static_assert(sizeof(struct au_ring_slot16) == AU_RING16, "four completions in a cache line");
_Static_assert(sizeof(struct au_ring_completion) == AU_RING16, "same size once copied");

#define AU_RING_PHASE (1ULL << 47)

/* The fields of a completion are written and read as one word. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little endian only");

/**
 * struct au_ring_producer - private state of the writing end
 * @slots: the first slot in shared memory
 * @shared: head and sleeping flag in shared memory
 * @phase: (16-byte shape) %AU_RING_PHASE on the first lap and each second after it, else 0
 * @mask: entries minus one
 * @tail: free-running index of the next entry to write
 * @flushed: @tail at the last flush
 * @limit: @tail at which the ring is full according to the last head read
 * @error: 0, or -EPROTO once the consumer has published an impossible head
 */
struct au_ring_producer {
	unsigned char *slots;
	struct au_ring_shared *shared;
	uint64_t phase;
	uint32_t mask;
	uint32_t tail;
	uint32_t flushed;
	uint32_t limit;
	int error;
};

/**
 * struct au_ring_consumer - private state of the reading end
 * @slots: the first slot in shared memory
 * @shared: head and sleeping flag in shared memory
 * @phase: (16-byte shape) the phase of the next entry
 * @mask: entries minus one
 * @head: free-running index of the next entry to read
 * @released: the head last published
 */
struct au_ring_consumer {
	const unsigned char *slots;
	struct au_ring_shared *shared;
	uint64_t phase;
	uint32_t mask;
	uint32_t head;
	uint32_t released;
};

#define AU_RING_LIKELY(x)	    __builtin_expect(!!(x), 1)
#define AU_RING_UNLIKELY(x)	    __builtin_expect(!!(x), 0)

/* What follows may not be computed from a second reading of what was read before. */
#define AU_RING_READ_ONCE_BARRIER() __asm__ volatile("" ::: "memory")

/**
 * au_ring_entries_valid - can a ring have that many entries?
 * @entries: the number, from wherever it came
 *
 * Return: true for powers of two from 2 to %AU_RING_MAX_ENTRIES.
 */
static inline bool au_ring_entries_valid(uint32_t entries)
{
	return entries >= 2 && entries <= AU_RING_MAX_ENTRIES && (entries & (entries - 1)) == 0;
}

/**
 * au_ring_bytes - size of a ring in shared memory
 * @shape: size of an entry
 * @entries: number of entries, a power of two
 *
 * Return: bytes, a multiple of the cache line; 0 if @entries is not possible.
 */
static inline size_t au_ring_bytes(enum au_ring_shape shape, uint32_t entries)
{
	size_t bytes;

	if (!au_ring_entries_valid(entries))
		return 0;
	bytes = sizeof(struct au_ring_shared) + (size_t)shape * entries;
	return (bytes + AU_RING_LINE - 1) & ~(size_t)(AU_RING_LINE - 1);
}

static inline int au_ring_producer_init_(struct au_ring_producer *p, void *mem, uint32_t entries)
{
	if (!au_ring_entries_valid(entries) || ((uintptr_t)mem & (AU_RING_LINE - 1)) != 0)
		return -EINVAL;
	*p = (struct au_ring_producer){
		.slots = (unsigned char *)mem + sizeof(struct au_ring_shared),
		.shared = mem,
		.mask = entries - 1,
		.limit = entries,
	};
	return 0;
}

static inline int au_ring_consumer_init_(struct au_ring_consumer *c, void *mem, uint32_t entries)
{
	if (!au_ring_entries_valid(entries) || ((uintptr_t)mem & (AU_RING_LINE - 1)) != 0)
		return -EINVAL;
	*c = (struct au_ring_consumer){
		.slots = (const unsigned char *)mem + sizeof(struct au_ring_shared),
		.shared = mem,
		.phase = AU_RING_PHASE,
		.mask = entries - 1,
	};
	return 0;
}

/*
 * The cold half of a push: read the head. True if there is room. The reading is checked against
 * what was published, and may not go backwards.
 */
static inline bool au_ring_refresh_(struct au_ring_producer *p)
{
	uint32_t entries = p->mask + 1;
	uint32_t seen = p->limit - entries;
	uint32_t head;

	if (p->error)
		return false;
	head = __atomic_load_n(&p->shared->head, __ATOMIC_ACQUIRE);
	if (head - seen > p->tail - seen) {
		p->error = -EPROTO;
		return false;
	}
	p->limit = head + entries;
	return p->tail != p->limit;
}

/**
 * au_ring_error - why did a push fail?
 * @p: the writing end
 *
 * Return: -EAGAIN if the ring is full (flush, then wait for the consumer); -EPROTO if the consumer
 * has published an impossible head: the channel must be ended. -EPROTO stays.
 */
static inline int au_ring_error(const struct au_ring_producer *p)
{
	return p->error ? p->error : -EAGAIN;
}

/**
 * au_ring_room - is there room for one more?
 * @p: the writing end
 *
 * Return: true if the next push succeeds; otherwise see au_ring_error(). Both shapes.
 */
static inline bool au_ring_room(struct au_ring_producer *p)
{
	return AU_RING_LIKELY(p->tail != p->limit) || au_ring_refresh_(p);
}

/**
 * au_ring_flush - the end of a batch
 * @p: the writing end
 *
 * Nothing happens if there is nothing new. Both shapes. Taking the flag back makes it one doorbell
 * per sleep, however many batches follow until the consumer has woken up.
 *
 * Return: true if the consumer sleeps and the caller must send a doorbell.
 */
static inline bool au_ring_flush(struct au_ring_producer *p)
{
	if (p->flushed == p->tail)
		return false;
	p->flushed = p->tail;
	return __atomic_exchange_n(&p->shared->sleeping, 0, __ATOMIC_SEQ_CST) != 0;
}

/**
 * au_ring_release - give consumed entries back to the producer
 * @c: the reading end
 *
 * Once per batch. Both shapes.
 */
static inline void au_ring_release(struct au_ring_consumer *c)
{
	if (c->released == c->head)
		return;
	c->released = c->head;
	__atomic_store_n(&c->shared->head, c->head, __ATOMIC_RELEASE);
}

/**
 * au_ring_disarm - the consumer is awake
 * @c: the reading end
 *
 * After each wake-up, whatever caused it. Both shapes.
 */
static inline void au_ring_disarm(struct au_ring_consumer *c)
{
	if (__atomic_load_n(&c->shared->sleeping, __ATOMIC_RELAXED) != 0)
		__atomic_store_n(&c->shared->sleeping, 0, __ATOMIC_RELAXED);
}

/* 64-byte entries */

/**
 * au_ring64_producer_init - attach the writing end
 * @p: private state to fill
 * @mem: au_ring_bytes() of shared memory, cache-line aligned, zeroed before either end attached;
 *	 it must stay mapped (and its file sealed against shrinking) as long as the end is used
 * @entries: number of entries
 *
 * Return: 0, or -EINVAL for an impossible number or a misaligned address.
 */
static inline int au_ring64_producer_init(struct au_ring_producer *p, void *mem, uint32_t entries)
{
	return au_ring_producer_init_(p, mem, entries);
}

/**
 * au_ring64_consumer_init - attach the reading end
 * @c: private state to fill
 * @mem: as for au_ring64_producer_init()
 * @entries: number of entries
 *
 * Return: 0, or -EINVAL for an impossible number or a misaligned address.
 */
static inline int au_ring64_consumer_init(struct au_ring_consumer *c, void *mem, uint32_t entries)
{
	return au_ring_consumer_init_(c, mem, entries);
}

/**
 * au_ring64_next_free - the next slot to fill, when there is known to be room
 * @p: the writing end, whose @tail is not @limit
 */
static inline void *au_ring64_next_free(const struct au_ring_producer *p)
{
	return p->slots + (size_t)(p->tail & p->mask) * AU_RING64;
}

/**
 * au_ring64_push - the next slot to fill
 * @p: the writing end
 *
 * The caller fills the 60 bytes of the slot (they hold an old entry, or what the peer wrote there:
 * write, do not read), whatever the last four become, and then calls au_ring64_publish().
 *
 * Return: the slot in shared memory; NULL if there is none, see au_ring_error().
 */
static inline void *au_ring64_push(struct au_ring_producer *p)
{
	return AU_RING_LIKELY(au_ring_room(p)) ? au_ring64_next_free(p) : NULL;
}

/**
 * au_ring64_publish - let the consumer see an entry
 * @p: the writing end
 * @slot: what the last au_ring64_push() returned, filled
 *
 * A consumer that sleeps hears of it by the doorbell that a flush asks for.
 */
static inline void au_ring64_publish(struct au_ring_producer *p, void *slot)
{
	__atomic_store_n(&((struct au_ring_entry *)slot)->seq, ++p->tail, __ATOMIC_RELEASE);
}

static inline const struct au_ring_entry *au_ring64_next_(const struct au_ring_consumer *c)
{
	return (const void *)(c->slots + (size_t)(c->head & c->mask) * AU_RING64);
}

/**
 * au_ring64_ready - is there an entry?
 * @c: the reading end
 *
 * Return: true if the next au_ring64_pop() succeeds, unless the peer plays tricks.
 */
static inline bool au_ring64_ready(const struct au_ring_consumer *c)
{
	return __atomic_load_n(&au_ring64_next_(c)->seq, __ATOMIC_ACQUIRE) == c->head + 1;
}

/**
 * au_ring64_pop - copy the next entry
 * @c: the reading end
 * @out: 64 bytes of private memory; nothing written if there is no entry
 *
 * The slot is read once. Check the copy, then use the copy. The producer gets the slot back at the
 * next au_ring_release().
 *
 * Return: true if there was an entry.
 */
static inline bool au_ring64_pop(struct au_ring_consumer *c, void *out)
{
	const struct au_ring_entry *slot = au_ring64_next_(c);
	uint32_t next = c->head + 1;

	if (__atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) != next)
		return false;
	memcpy(out, slot, AU_RING64);
	AU_RING_READ_ONCE_BARRIER();
	c->head = next;
	return true;
}

/**
 * au_ring64_peek - the next entry where it lies
 * @c: the reading end
 * @entry: gets where it is in shared memory
 *
 * The producer can write to it meanwhile: each word of it that is used is read once, atomically.
 * au_ring64_skip() follows, or au_ring64_pop() for a copy.
 *
 * Return: true if there was an entry.
 */
static inline bool au_ring64_peek(const struct au_ring_consumer *c, const void **entry)
{
	const struct au_ring_entry *slot = au_ring64_next_(c);
	uint32_t next = c->head + 1;

	*entry = slot;
	return __atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) == next;
}

/**
 * au_ring64_skip - have done with the entry that au_ring64_peek() found
 * @c: the reading end
 */
static inline void au_ring64_skip(struct au_ring_consumer *c)
{
	c->head++;
}

/**
 * au_ring64_arm - say that the consumer is going to sleep
 * @c: the reading end
 *
 * Releases the head too. Sleep on the doorbell only if this returns true, and call
 * au_ring_disarm() afterwards. A doorbell may come when nothing is there.
 *
 * Return: true if the ring is empty and the next flush will ask for a doorbell; false if there is
 * an entry, and the flag is taken back.
 */
static inline bool au_ring64_arm(struct au_ring_consumer *c)
{
	au_ring_release(c);
	__atomic_exchange_n(&c->shared->sleeping, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&au_ring64_next_(c)->seq, __ATOMIC_ACQUIRE) != c->head + 1)
		return true;
	au_ring_disarm(c);
	return false;
}

/* 16-byte completions */

/**
 * au_ring16_producer_init - attach the writing end; as au_ring64_producer_init()
 * @p: private state to fill
 * @mem: au_ring_bytes() of shared memory
 * @entries: number of entries
 *
 * Return: 0, or -EINVAL.
 */
static inline int au_ring16_producer_init(struct au_ring_producer *p, void *mem, uint32_t entries)
{
	return au_ring_producer_init_(p, mem, entries);
}

/**
 * au_ring16_consumer_init - attach the reading end; as au_ring64_consumer_init()
 * @c: private state to fill
 * @mem: au_ring_bytes() of shared memory
 * @entries: number of entries
 *
 * Return: 0, or -EINVAL.
 */
static inline int au_ring16_consumer_init(struct au_ring_consumer *c, void *mem, uint32_t entries)
{
	return au_ring_consumer_init_(c, mem, entries);
}

/**
 * au_ring16_put - write and publish a completion, when there is known to be room
 * @p: the writing end, whose @tail is not @limit; see au_ring16_push()
 */
static inline void au_ring16_put(struct au_ring_producer *p, uint64_t handle, uint32_t result,
				 uint16_t err, uint16_t status)
{
	uint32_t tail = p->tail;
	uint32_t index = tail & p->mask;
	struct au_ring_slot16 *slot;
	uint64_t word = result;

	if (index == 0)
		p->phase ^= AU_RING_PHASE;
	slot = (void *)(p->slots + (size_t)index * AU_RING16);
	if (AU_RING_UNLIKELY((err | status) != 0))
		word |= (uint64_t)(err & AU_RING_ERR_MASK) << 32 | (uint64_t)status << 48;
	__atomic_store_n(&slot->handle, handle, __ATOMIC_RELAXED);
	AU_FAILPOINT_HOT(complete_half);
	__atomic_store_n(&slot->word, word | p->phase, __ATOMIC_RELEASE);
	p->tail = tail + 1;
}

/**
 * au_ring16_push - write and publish a completion
 * @p: the writing end
 * @handle: the request's handle
 * @result: bytes transferred, or class specific
 * @err: 0 or a positive errno; cut to %AU_RING_ERR_MASK
 * @status: the device's own status
 *
 * A consumer that sleeps hears of it by the doorbell that a flush asks for.
 *
 * Return: 0; -EAGAIN if the ring is full (flush before waiting), or -EPROTO, see au_ring_error().
 */
static inline int au_ring16_push(struct au_ring_producer *p, uint64_t handle, uint32_t result,
				 uint16_t err, uint16_t status)
{
	if (AU_RING_UNLIKELY(!au_ring_room(p)))
		return au_ring_error(p);
	au_ring16_put(p, handle, result, err, status);
	return 0;
}

static inline const struct au_ring_slot16 *au_ring16_next_(const struct au_ring_consumer *c)
{
	return (const void *)(c->slots + (size_t)(c->head & c->mask) * AU_RING16);
}

static inline bool au_ring16_is_new_(const struct au_ring_consumer *c, uint64_t word)
{
	return ((word ^ c->phase) & AU_RING_PHASE) == 0;
}

/**
 * au_ring16_ready - is there a completion?
 * @c: the reading end
 *
 * Return: true if the next au_ring16_pop() succeeds, unless the peer plays tricks.
 */
static inline bool au_ring16_ready(const struct au_ring_consumer *c)
{
	return au_ring16_is_new_(c, __atomic_load_n(&au_ring16_next_(c)->word, __ATOMIC_ACQUIRE));
}

/**
 * au_ring16_pop - copy the next completion
 * @c: the reading end
 * @out: private memory; nothing written if there is no completion
 *
 * Return: true if there was a completion.
 */
static inline bool au_ring16_pop(struct au_ring_consumer *c, struct au_ring_completion *out)
{
	const struct au_ring_slot16 *slot = au_ring16_next_(c);
	uint64_t word = __atomic_load_n(&slot->word, __ATOMIC_ACQUIRE);
	uint32_t next = c->head + 1;

	if (!au_ring16_is_new_(c, word))
		return false;
	out->handle = __atomic_load_n(&slot->handle, __ATOMIC_RELAXED);
	out->result = (uint32_t)word;
	out->err = (uint16_t)(word >> 32) & AU_RING_ERR_MASK;
	out->status = (uint16_t)(word >> 48);
	c->head = next;
	if ((next & c->mask) == 0)
		c->phase ^= AU_RING_PHASE;
	return true;
}

/**
 * au_ring16_arm - say that the consumer is going to sleep; as au_ring64_arm()
 * @c: the reading end
 *
 * Return: true if the ring is empty and the next flush will ask for a doorbell.
 */
static inline bool au_ring16_arm(struct au_ring_consumer *c)
{
	au_ring_release(c);
	__atomic_exchange_n(&c->shared->sleeping, 1, __ATOMIC_SEQ_CST);
	if (!au_ring16_is_new_(c, __atomic_load_n(&au_ring16_next_(c)->word, __ATOMIC_ACQUIRE)))
		return true;
	au_ring_disarm(c);
	return false;
}

#endif
