/* SPDX-License-Identifier: MIT */
/**
 * DOC: The way in for plain requests
 *
 * A request is plain when nothing has to be looked up, timed or waited for: no flags, no time-out,
 * an operation that goes straight to the default queue, data within what the class allows, and a
 * queue that delivers at once. Those who send many have this inlined; what it declines goes to
 * auf_submit(), which knows about everything.
 */
#ifndef AU_FRAMEWORK_PLAIN_H
#define AU_FRAMEWORK_PLAIN_H

#include "framework/internal.h"

#include <string.h>

/* Operation, flags and length of a request are eight bytes, the same wherever it is. */
#define AUF_WHAT_OP(what)     ((uint16_t)(what))
#define AUF_WHAT_FLAGS(what)  ((uint32_t)(what)&0xffff0000u)
#define AUF_WHAT_LENGTH(what) ((uint32_t)((what) >> 32))
#define AUF_WHAT_SAME(type)                                                      \
	_Static_assert(offsetof(type, flags) == offsetof(type, op) + 2 &&        \
			       offsetof(type, length) == offsetof(type, op) + 4, \
		       "eight bytes alike")
AUF_WHAT_SAME(struct au_request);
AUF_WHAT_SAME(struct au_io);
AUF_WHAT_SAME(struct auf_submit);

/**
 * auf_plain - the free place of a request at @slot, if the request is plain for its unit; NULL.
 * @odd: 0, or what else is not plain about it.
 */
static inline struct auf_request *auf_plain(const struct auf_handle *handle, uint32_t slot,
					    uint64_t what, uint64_t at, uint32_t odd)
{
	const struct au_unit *unit = handle->unit;
	struct auf_request *r;

	if (unlikely(slot >= handle->open))
		return NULL;
	r = handle->slots[slot];
	if (unlikely(r->word | odd | AUF_WHAT_FLAGS(what)) ||
	    unlikely(AUF_WHAT_OP(what) - unit->plain_from > unit->plain_span) ||
	    (unit->bounded && unlikely(!auf_unit_reaches(unit, at, AUF_WHAT_LENGTH(what)))))
		return NULL;
	return r;
}

/** auf_plain_fill - what the driver sees of it, and where it came from. */
static inline void auf_plain_fill(const struct auf_handle *handle, struct auf_request *r,
				  uint64_t what, uint64_t arg0, uint64_t arg1, void *data,
				  uint64_t tag, struct auf_progress *progress)
{
	memcpy(&r->pub.op, &what, sizeof(what));
	r->pub.arg[0] = arg0;
	r->pub.arg[1] = arg1;
	r->pub.data = data;
	r->pub.dma = (uint64_t)(uintptr_t)data + handle->dma_offset;
	r->tag = tag;
	r->progress = progress;
}

/**
 * auf_plain_go - hand in a request for which auf_plain() found @r.
 * @progress: set by this.
 * @mark: for @progress->tag.
 */
static inline void auf_plain_go(const struct auf_handle *handle, struct auf_request *r,
				uint64_t what, uint64_t arg0, uint64_t arg1, void *data,
				uint64_t tag, struct auf_progress *progress, uint32_t mark)
{
	struct au_queue *queue = handle->first;

	auf_plain_fill(handle, r, what, arg0, arg1, data, tag, progress);
	/* The mark last: until then the words are about the slot's request before. */
	atomic_store_explicit(&progress->both, 0, memory_order_relaxed);
	if (auf_queue_free(queue)) {
		atomic_store_explicit(&progress->flags, AUF_OWNED, memory_order_relaxed);
		AU_FAILPOINT_HOT(take_progress);
		atomic_store_explicit(&progress->tag, mark, memory_order_release);
		AU_FAILPOINT_HOT(take_tagged);
		auf_queue_deliver(queue, r);
	} else {
		atomic_store_explicit(&progress->flags, 0, memory_order_relaxed);
		AU_FAILPOINT_HOT(take_progress);
		atomic_store_explicit(&progress->tag, mark, memory_order_release);
		AU_FAILPOINT_HOT(take_tagged);
		auf_queue_accept(queue, r);
	}
}

#endif
