/* SPDX-License-Identifier: MIT */
/**
 * DOC: The block class: disks
 *
 * Three parts: what both sides share, the application's functions, and the driver's. Offsets and
 * lengths are bytes, multiples of the unit's block size. A driver gets requests that lie within the
 * unit and its limits, and keeps them until they are done; order between requests that are
 * outstanding together is nobody's promise, as on any disk. Recovery is the class': when a driver
 * dies, what was outstanding is submitted again, which for blocks does no harm.
 */
#ifndef AURIGA_BLOCK_H
#define AURIGA_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef AU_API
#define AU_API __attribute__((visibility("default")))
#endif

/* ------------------------------------------------------------------ shared */

/* Operations, for au_submit(). Where one has an offset it is arg[0]. */
enum au_block_op {
	AU_BLOCK_INFO = 1,	    /* data: struct au_block_info */
	AU_BLOCK_FLUSH = 2,	    /* what was complete before is on the medium after */
	AU_BLOCK_DISCARD = 3,	    /* arg[1]: bytes. Their content is not wanted any more */
	AU_BLOCK_WRITE_ZEROES = 4,  /* arg[1]: bytes */
	AU_BLOCK_COMPARE_WRITE = 5, /* data: what must be there, then as much to write: see below */
	AU_BLOCK_VERIFY = 6,	    /* data: what must be there: -EILSEQ if something else is */
	AU_BLOCK_READ = 16,	    /* data: where to; result: bytes */
	AU_BLOCK_WRITE = 17,	    /* data: what; result: bytes */
};

/** AU_BLOCK_FUA - au_io.flags, for writes: it is on the medium when it is complete. */
#define AU_BLOCK_FUA	      0x0100

/* What a unit can do: au_block_info.flags, au_block_config.flags. */
#define AU_BLOCK_READ_ONLY    0x0001 /* writes are refused with -EPERM */
#define AU_BLOCK_CACHE	      0x0002 /* it has a volatile write cache: FLUSH and FUA matter */
#define AU_BLOCK_CAN_DISCARD  0x0004
#define AU_BLOCK_CAN_ZERO     0x0008
#define AU_BLOCK_CAN_COMPARE  0x0010 /* COMPARE_WRITE */
#define AU_BLOCK_DISCARD_ZERO 0x0020 /* discarded blocks read as zeroes */
#define AU_BLOCK_CAN_VERIFY   0x0040

/*
 * AU_BLOCK_COMPARE_WRITE compares and writes in one go: nobody else's request comes in between, of
 * whatever client or host of the device. It ends with 0: it was written; -EILSEQ: something else
 * was there, and still is; -EOPNOTSUPP: the unit cannot do it (see AU_BLOCK_CAN_COMPARE);
 * -EOWNERDEAD: the driver died, or its device was reset, while they had it, and it may have been
 * written or not. It is never done again by itself, since a second one finds what the first wrote:
 * read, and decide. Any other error is what a write ends with, and as uncertain as that.
 */

/**
 * struct au_block_info - a unit's geometry and limits.
 * @size: sizeof(struct au_block_info).
 * @abi: 1.
 * @bytes: of the unit.
 * @block_size: of one block, a power of two.
 * @max_transfer: bytes of one request's data at most.
 * @flags: AU_BLOCK_READ_ONLY and the following.
 * @depth: requests that the device works on at once.
 * @max_range: bytes of one DISCARD or WRITE_ZEROES at most.
 * @model, @serial: texts, from the device.
 * @max_compare: bytes that one COMPARE_WRITE compares and writes at most, half of its data; 0: it
 *	cannot.
 */
struct au_block_info {
	uint32_t size;
	uint32_t abi;
	uint64_t bytes;
	uint32_t block_size;
	uint32_t max_transfer;
	uint32_t flags;
	uint32_t depth;
	uint64_t max_range;
	char model[48];
	char serial[32];
	uint32_t max_compare;
	uint32_t reserved;
};

/* Events of the class. */
enum au_block_event {
	AU_BLOCK_EVENT_RESIZED = 0x100, /* arg[0]: bytes now */
	AU_BLOCK_EVENT_HEALTH = 0x101,	/* arg[0]: the device's own code: ask auriga info */
};

/* ------------------------------------------------------------- application */

struct au_handle;

/** au_block_info - geometry and limits; set @info's size and abi before. */
AU_API int au_block_info(struct au_handle *h, struct au_block_info *info);
/**
 * au_block_read - read @length bytes at @offset, in as many requests as it takes, and wait.
 * Return: 0; -EINVAL: not whole blocks, or not within the unit; -EIO: the medium.
 */
AU_API int au_block_read(struct au_handle *h, uint64_t offset, void *data, size_t length);
/** au_block_write - the same for writing. @flags: 0 or AU_BLOCK_FUA. -ENOSPC: behind the end. */
AU_API int au_block_write(struct au_handle *h, uint64_t offset, const void *data, size_t length,
			  uint16_t flags);
/** au_block_flush - wait until everything that was complete before is on the medium. */
AU_API int au_block_flush(struct au_handle *h);
/** au_block_discard - @length bytes at @offset are not wanted any more. */
AU_API int au_block_discard(struct au_handle *h, uint64_t offset, uint64_t length);
/** au_block_write_zeroes - zeroes, without sending them where the device can. */
AU_API int au_block_write_zeroes(struct au_handle *h, uint64_t offset, uint64_t length,
				 uint16_t flags);

/**
 * au_block_compare_and_write - write @length bytes of @data if what is there equals @expected, in
 * one request: at most what au_block_info.max_compare says, and half of the handle's buffer_size.
 * @flags: 0 or AU_BLOCK_FUA.
 * Return: as AU_BLOCK_COMPARE_WRITE ends; -EINVAL: more than one request can; -EMSGSIZE: open it
 * with a larger buffer_size.
 */
AU_API int au_block_compare_and_write(struct au_handle *h, uint64_t offset, const void *expected,
				      const void *data, size_t length, uint16_t flags);
/**
 * au_block_verify - whether @data is what is at @offset, without reading it where the device can.
 * Return: 0; -EILSEQ: it is not; -EOPNOTSUPP: it cannot.
 */
AU_API int au_block_verify(struct au_handle *h, uint64_t offset, const void *data, size_t length);

/* ------------------------------------------------------------------ driver */

struct au_block;
struct au_device;
struct au_queue;
struct au_request;
struct au_unit;

/**
 * struct au_block_config - a block unit.
 * @size: sizeof(struct au_block_config).
 * @abi: AU_ABI.
 * @context: returned by au_queue_context() of the unit's queue, and au_block_context().
 * @bytes: of the unit, whole blocks.
 * @block_size: a power of two, 512 to 65536.
 * @max_transfer: bytes of one READ or WRITE at most; 0: no limit.
 * @max_range: bytes of one DISCARD or WRITE_ZEROES at most; 0: no limit.
 * @flags: AU_BLOCK_READ_ONLY and the following. Only what is claimed here is delivered; FLUSH, and
 *	AU_BLOCK_FUA in a request's flags, only with AU_BLOCK_CACHE.
 * @depth: requests that the driver owns at most.
 * @model, @serial: for people; copied. May be NULL.
 * @deliver: a request becomes the driver's, on the lane. It is within the unit and the limits, and
 *	of whole blocks; it is completed with the bytes of its data as result.
 * @unit: its number among the device's units, from 1, for media that come and go and must be found
 *	in the same place in each life of the device; 0: the next free one.
 * @max_compare: bytes that one COMPARE_WRITE compares at most; 0: one block. With
 *	AU_BLOCK_CAN_COMPARE: delivered with both halves of its data behind one another.
 * @contexts: with several lanes: one for each, for au_queue_context(), see au_queue_config.
 */
struct au_block_config {
	uint32_t size;
	uint32_t abi;
	void *context;
	uint64_t bytes;
	uint32_t block_size;
	uint32_t max_transfer;
	uint64_t max_range;
	uint32_t flags;
	uint32_t depth;
	const char *model;
	const char *serial;
	void (*deliver)(struct au_queue *queue, struct au_request *req);
	uint32_t unit;
	uint32_t max_compare;
	void *const *contexts;
};

/** au_block_add - add a block unit to the device. In prepare(), or later, when a medium appears. */
AU_API int au_block_add(struct au_device *dev, const struct au_block_config *config,
			struct au_block **block);
/** au_block_remove - take it away: what it holds completes with -ENODEV, clients are told. */
AU_API void au_block_remove(struct au_block *block);
/** au_block_resize - the medium has changed its size: clients are told. */
AU_API void au_block_resize(struct au_block *block, uint64_t bytes);
/** au_block_unit - the unit that it is, for au_unit_event(). */
AU_API struct au_unit *au_block_unit(const struct au_block *block);
/** au_block_context - the @context of its configuration. */
AU_API void *au_block_context(const struct au_block *block);

#ifdef __cplusplus
}
#endif

#endif
