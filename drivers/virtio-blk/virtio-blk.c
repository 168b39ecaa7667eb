/* SPDX-License-Identifier: MIT */
/* Disks of virtual machines: virtio 1.1, section 5.2. */
#include <auriga/block.h>

#include "../virtio/virtio.h"

#define BLK_DEPTH_MAX	   256u
#define BLK_PIECES_MAX	   18u /* header, data, status */
#define BLK_SECTOR	   512u
#define BLK_TRANSFER_MAX   (1u << 20)
#define BLK_RANGE_MAX	   (1u << 30)
#define BLK_CLOCK_MS	   100u

#define BLK_F_SIZE_MAX	   (1ull << 1)
#define BLK_F_SEG_MAX	   (1ull << 2)
#define BLK_F_RO	   (1ull << 5)
#define BLK_F_BLK_SIZE	   (1ull << 6)
#define BLK_F_FLUSH	   (1ull << 9)
#define BLK_F_DISCARD	   (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_DISCARD = 11, BLK_WRITE_ZEROES = 13 };
enum { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2, BLK_S_NONE = 0xff };

/* struct blk_config - what of the device's configuration is of interest. */
struct blk_config {
	uint64_t capacity;
	uint32_t size_max;
	uint32_t seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
	uint8_t topology[12];
	uint32_t max_discard;
	uint32_t max_discard_seg;
	uint32_t discard_align;
	uint32_t max_zeroes;
};
_Static_assert(sizeof(struct blk_config) == 56, "as the device has it"); /* 52, and padding */

/* struct blk_wire - what the device reads and writes of a request, besides its data. */
struct blk_wire {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
	struct {
		uint64_t sector;
		uint32_t sectors;
		uint32_t flags;
	} range;
	uint8_t status;
	uint8_t pad[31];
};
_Static_assert(sizeof(struct blk_wire) == 64, "one does not straddle a line");

/**
 * struct blk_slot - a request that the device has, or is to have.
 * @since: when it was first seen, in ms; 0: not yet.
 * @flushing: its data are written: what the device has is the flush that makes them stay.
 */
struct blk_slot {
	struct au_request *req;
	uint32_t since;
	bool flushing;
};

struct blk {
	struct virtio virtio;
	struct virtio_queue queue;
	struct au_dma wire;
	uint32_t free_count;
	uint32_t unpublished; /* put in, and not shown to the device */
	bool live;
	uint16_t free[BLK_DEPTH_MAX];
	struct blk_slot slots[BLK_DEPTH_MAX];

	struct au_device *dev;
	struct au_block *block;
	uint32_t depth, pieces;
	uint32_t timeout_ms;
	bool packed;
	struct blk_config config;
	struct au_dma_limits limits;
	uint32_t shift;
	struct au_timer *clock;
	unsigned int fruitless; /* resets in a row that helped nobody */
	bool gone;		/* set from any thread */
	struct virtq_slot ring_slots[VIRTQ_SIZE_MAX];
};

/* -------------------------------------------------------------- into the queue */

static struct blk_wire *blk_wire(const struct blk *b, const struct blk_slot *slot)
{
	return (struct blk_wire *)b->wire.cpu + (slot - b->slots);
}

/* What the request is for the device. Return: bytes behind the header that it reads, too. */
static uint32_t blk_fill(const struct blk *b, const struct blk_slot *slot, struct blk_wire *wire)
{
	const struct au_request *req = slot->req;

	wire->reserved = 0;
	wire->sector = 0;
	wire->status = BLK_S_NONE;
	if (slot->flushing || req->op == AU_BLOCK_FLUSH) {
		wire->type = BLK_FLUSH;
		return 0;
	}
	if (req->op >= AU_BLOCK_READ) {
		wire->type = req->op == AU_BLOCK_READ ? BLK_IN : BLK_OUT;
		wire->sector = req->arg[0] / BLK_SECTOR;
		return 0;
	}
	wire->type = req->op == AU_BLOCK_DISCARD ? BLK_DISCARD : BLK_WRITE_ZEROES;
	wire->range.sector = req->arg[0] / BLK_SECTOR;
	wire->range.sectors = (uint32_t)(req->arg[1] / BLK_SECTOR);
	wire->range.flags = 0;
	return sizeof(wire->range);
}

static void blk_end(struct blk *b, struct blk_slot *slot, int status, uint8_t device_status);

/* There is room for as many as there are slots. */
static void blk_put(struct blk *b, struct blk_slot *slot)
{
	struct blk_wire *wire = blk_wire(b, slot);
	uint64_t at = b->wire.addr + (uint64_t)(slot - b->slots) * sizeof(*wire);
	uint32_t more = blk_fill(b, slot, wire);
	struct au_dma_segment data[BLK_PIECES_MAX];
	struct virtq_piece pieces[BLK_PIECES_MAX + 2];
	unsigned int count = 0, out, in = 1;
	int segments = 0;

	pieces[count++] = (struct virtq_piece){ at, 16 + more };
	if (wire->type <= BLK_OUT)
		segments = au_dma_segments(slot->req, &b->limits, data, b->pieces - 2);
	if (virtq_unlikely(segments < 0)) { /* the class has kept to its limits */
		blk_end(b, slot, -AU_EIO, 0);
		return;
	}
	for (int i = 0; i < segments; i++)
		pieces[count++] = (struct virtq_piece){ data[i].addr, data[i].length };
	if (wire->type == BLK_IN)
		in += (unsigned int)segments;
	pieces[count++] =
		(struct virtq_piece){ at + __builtin_offsetof(struct blk_wire, status), 1 };
	out = count - in;
	if (b->queue.ring.table)
		virtq_add_table(&b->queue.ring, pieces, out, in, slot);
	else
		virtq_add(&b->queue.ring, pieces, out, in, slot);
	b->unpublished++;
}

static void blk_deliver(struct au_queue *queue, struct au_request *req)
{
	struct blk *b = au_queue_context(queue);
	struct blk_slot *slot;

	if (virtq_unlikely(b->gone || b->free_count == 0)) { /* the queue has no more than slots */
		au_request_complete(req, -AU_ENODEV, 0);
		return;
	}
	slot = &b->slots[b->free[--b->free_count]];
	*slot = (struct blk_slot){ .req = req };
	if (virtq_likely(b->live))
		blk_put(b, slot);
}

/* ------------------------------------------------------------ out of the queue */

static void blk_end(struct blk *b, struct blk_slot *slot, int status, uint8_t device_status)
{
	struct au_request *req = slot->req;

	slot->req = NULL;
	b->free[b->free_count++] = (uint16_t)(slot - b->slots);
	au_request_complete_status(req, status, status ? 0 : req->length, device_status);
}

/* The device is done with it. */
static void blk_done(struct blk *b, struct blk_slot *slot)
{
	uint8_t status = virtq_read(blk_wire(b, slot)->status);

	if (virtq_likely(status == BLK_S_OK)) {
		/* There is no such flag below: a flush behind it does the same [5.2.6.2]. */
		if (virtq_unlikely((slot->req->flags & AU_BLOCK_FUA) && !slot->flushing)) {
			slot->flushing = true;
			slot->since = 0;
			blk_put(b, slot);
			return;
		}
		blk_end(b, slot, 0, 0);
		return;
	}
	blk_end(b, slot, status == BLK_S_UNSUPP ? -AU_ENOTSUP : -AU_EIO, status);
}

static void blk_reset(struct blk *b, const char *why);

static unsigned int blk_publish(struct blk *b)
{
	if (!b->unpublished)
		return 0;
	b->unpublished = 0;
	if (virtq_publish(&b->queue.ring))
		virtio_notify(&b->queue);
	return 1;
}

static unsigned int blk_poll(void *context)
{
	struct blk *b = context;
	unsigned int count = 0, done = 0, most = b->depth;
	struct blk_slot *slot;
	uint32_t written;

	if (virtq_unlikely(!b->live))
		return 0;
	count += blk_publish(b);
	while (most-- && (slot = virtq_get(&b->queue.ring, &written))) {
		done++;
		blk_done(b, slot);
	}
	if (done)
		b->fruitless = 0;
	if (virtq_unlikely(b->queue.ring.broken != NULL))
		blk_reset(b, b->queue.ring.broken);
	return count + done + blk_publish(b);
}

static bool blk_idle(void *context)
{
	struct blk *b = context;

	if (!b->live || b->free_count == b->depth)
		return true;
	return b->virtio.irqs && !b->unpublished && virtq_arm(&b->queue.ring);
}

/* --------------------------------------------------------------------- up, down */

static int blk_bring_up(struct blk *b)
{
	const uint64_t wanted = BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_RO | BLK_F_BLK_SIZE |
				BLK_F_FLUSH | BLK_F_DISCARD | BLK_F_WRITE_ZEROES |
				VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
				(b->packed ? VIRTIO_F_RING_PACKED : 0);
	struct virtio *v = &b->virtio;
	uint32_t size = sizeof(b->config) - 4;
	int err = virtio_begin(v, wanted, 0);

	if (err)
		return err;
	__builtin_memset(&b->config, 0, sizeof(b->config));
	/* An older device has less of it; what is not offered is not read [5.2.4]. */
	if (size > v->config_size)
		size = (uint32_t)v->config_size;
	err = virtio_config(v, 0, &b->config, size);
	if (!err)
		err = virtio_queue(v, &b->queue, 0, BLK_DEPTH_MAX, b->ring_slots, BLK_PIECES_MAX);
	return err ? err : virtio_go(v);
}

static uint64_t blk_bytes(const struct blk *b)
{
	uint64_t sectors = b->config.capacity;

	if (sectors > (uint64_t)INT64_MAX / BLK_SECTOR)
		sectors = 0;
	return sectors * BLK_SECTOR & ~((1ull << b->shift) - 1);
}

/* Limits, none of which is taken for granted. */
static int blk_limits(struct blk *b)
{
	const struct blk_config *c = &b->config;
	uint64_t features = b->virtio.features;
	uint32_t size = features & BLK_F_BLK_SIZE ? c->blk_size : BLK_SECTOR, data;

	if (size < 512 || size > 65536 || (size & (size - 1))) {
		au_log(b->dev, AU_LOG_ERROR, "blocks of %u bytes: 512 to 65536 can be used", size);
		return -AU_EIO;
	}
	b->shift = (uint32_t)__builtin_ctz(size);
	data = features & BLK_F_SEG_MAX ? c->seg_max : 1;
	if (data == 0 || data > BLK_PIECES_MAX - 2)
		data = data ? BLK_PIECES_MAX - 2 : 1;
	b->pieces = data + 2;
	/* 0 is taken for: no limit. */
	b->limits.segment_size = features & BLK_F_SIZE_MAX ? c->size_max & ~(size - 1) : 0;
	b->depth = b->queue.ring.size / (b->queue.ring.table ? 1 : b->pieces);
	if (b->depth == 0) {
		b->pieces = 3;
		b->depth = b->queue.ring.size / 3;
	}
	if (b->depth > BLK_DEPTH_MAX)
		b->depth = BLK_DEPTH_MAX;
	return b->depth ? 0 : -AU_EIO;
}

static uint64_t blk_range(const struct blk *b)
{
	uint64_t least = BLK_RANGE_MAX, bytes;

	if (b->virtio.features & BLK_F_DISCARD) {
		bytes = (uint64_t)b->config.max_discard * BLK_SECTOR;
		least = bytes < least ? bytes : least;
	}
	if (b->virtio.features & BLK_F_WRITE_ZEROES) {
		bytes = (uint64_t)b->config.max_zeroes * BLK_SECTOR;
		least = bytes < least ? bytes : least;
	}
	return least & ~((1ull << b->shift) - 1);
}

static int blk_add(struct blk *b)
{
	uint64_t features = b->virtio.features, range = blk_range(b), transfer = BLK_TRANSFER_MAX;
	struct au_block_config config = {
		AU_HEAD(struct au_block_config),
		.context = b,
		.bytes = blk_bytes(b),
		.block_size = 1u << b->shift,
		.flags = (features & BLK_F_RO ? AU_BLOCK_READ_ONLY : 0) |
			 (features & BLK_F_FLUSH ? AU_BLOCK_CACHE : 0),
		.depth = b->depth,
		.model = "virtio disk",
		.deliver = blk_deliver,
	};

	if (b->limits.segment_size && transfer > (uint64_t)b->limits.segment_size * (b->pieces - 2))
		transfer = (uint64_t)b->limits.segment_size * (b->pieces - 2);
	config.max_transfer = (uint32_t)transfer & ~(config.block_size - 1);
	if (range) {
		config.flags |= (features & BLK_F_DISCARD ? AU_BLOCK_CAN_DISCARD : 0) |
				(features & BLK_F_WRITE_ZEROES ? AU_BLOCK_CAN_ZERO : 0);
		config.max_range = range;
	}
	if (config.max_transfer == 0) {
		au_log(b->dev, AU_LOG_ERROR, "it moves less than a block at once");
		return -AU_EIO;
	}
	for (uint32_t i = 0; i < b->depth; i++)
		b->free[i] = (uint16_t)i;
	b->free_count = b->depth;
	return au_block_add(b->dev, &config, &b->block);
}

/* Everything that is outstanding, once more: the device has forgotten it. */
static void blk_resubmit(struct blk *b)
{
	b->unpublished = 0;
	/* What ends may bring others, into slots that are put in below. */
	for (uint32_t i = 0; i < b->depth; i++)
		if (b->slots[i].req && au_request_is_canceled(b->slots[i].req))
			blk_end(b, &b->slots[i], -AU_ECANCELED, 0);
	b->live = true;
	for (uint32_t i = 0; i < b->depth; i++) {
		b->slots[i].since = 0;
		if (b->slots[i].req)
			blk_put(b, &b->slots[i]);
	}
}

static void blk_fail(struct blk *b, int status)
{
	b->live = false;
	for (uint32_t i = 0; i < b->depth; i++)
		if (b->slots[i].req)
			blk_end(b, &b->slots[i], status, 0);
}

static int blk_d0_entry(struct au_device *dev, enum au_power from)
{
	struct blk *b = au_context(dev);
	const uint32_t depth = b->depth, shift = b->shift, pieces = b->pieces;
	const uint32_t size = b->limits.segment_size;
	int err = blk_bring_up(b);

	if (!err)
		err = blk_limits(b);
	if (!err && !b->block)
		err = blk_add(b);
	else if (!err && (b->depth != depth || b->shift != shift || b->pieces != pieces ||
			  b->limits.segment_size != size))
		err = -AU_EIO; /* not the device it was */
	else if (!err)
		au_block_resize(b->block, blk_bytes(b));
	if (err) {
		if (!b->virtio.gone)
			virtio_stop(&b->virtio);
		return err;
	}
	blk_resubmit(b);
	return 0;
}

static int blk_d0_exit(struct au_device *dev, enum au_power to)
{
	struct blk *b = au_context(dev);

	b->live = false;
	virtio_stop(&b->virtio);
	blk_fail(b, -AU_ENODEV);
	return 0;
}

static int blk_io_start(struct au_device *dev)
{
	struct blk *b = au_context(dev);

	au_timer_start(b->clock, BLK_CLOCK_MS, true);
	return 0;
}

/* ----------------------------------------------------- when it does not go well */

/* There is no way to take back one command: all of them are, and come again. */
static void blk_reset(struct blk *b, const char *why)
{
	b->live = false;
	au_log(b->dev, AU_LOG_WARN, "device reset: %s; %u requests are outstanding", why,
	       b->depth - b->free_count);
	if (b->fruitless++ < 3 && blk_bring_up(b) == 0)
		blk_resubmit(b);
	else if (!b->virtio.gone)
		au_device_failed(b->dev, "resets do not help");
}

static void blk_clock(struct au_timer *timer, void *context)
{
	struct blk *b = context;
	uint32_t now = (uint32_t)au_now_ms(b->dev) | 1;

	blk_poll(b); /* an interrupt may have been lost */
	if (!b->live || b->free_count == b->depth)
		return;
	for (uint32_t i = 0; i < b->depth; i++) {
		struct blk_slot *slot = &b->slots[i];

		if (!slot->req)
			continue;
		if (!slot->since)
			slot->since = now;
		if (now - slot->since > b->timeout_ms) {
			blk_reset(b, "a request is late");
			return;
		}
	}
}

static void blk_news(void *context)
{
	struct blk *b = context;
	uint64_t capacity;

	if (b->virtio.needs_reset) {
		blk_reset(b, "it asks for it");
	} else if (b->block && virtio_config(&b->virtio, 0, &capacity, sizeof(capacity)) == 0) {
		b->config.capacity = capacity;
		au_block_resize(b->block, blk_bytes(b));
	}
}

static void blk_serve(void *context)
{
	blk_poll(context);
}

static void blk_surprise(struct au_device *dev)
{
	struct blk *b = au_context(dev);

	__atomic_store_n(&b->gone, true, __ATOMIC_RELAXED);
}

static int blk_prepare(struct au_device *dev)
{
	struct blk *b = au_context(dev);
	const struct au_poller_config poller = { AU_HEAD(struct au_poller_config), .context = b,
						 .poll = blk_poll, .idle = blk_idle };
	struct au_poller *handle;
	int err;

	b->dev = dev;
	b->packed = au_param_uint(dev, "packed");
	b->timeout_ms = (uint32_t)au_param_uint(dev, "timeout-ms");
	err = virtio_prepare(&b->virtio, dev);
	if (!err)
		err = au_dma_alloc(dev, BLK_DEPTH_MAX * sizeof(struct blk_wire), 4096, &b->wire);
	if (!err && !au_param_uint(dev, "polled"))
		err = virtio_irqs(&b->virtio, b, blk_news, blk_serve);
	err = err ? err : au_poller_create(dev, &poller, &handle);
	return err ? err : au_timer_create(dev, blk_clock, b, &b->clock);
}

AU_DRIVER_NOTE(AU_NAME("virtio-blk") AU_VERSION("1.0") AU_CLASS("block") AU_SUMMARY(
	"disks of virtual machines") AU_MATCH_PCI(0x1af4, 0x1042) AU_MATCH_PCI(0x1af4, 0x1001)
		       AU_DMA(64, 0x40000) AU_PARAM_BOOL("packed", 1, "packed queues, if it can")
			       AU_PARAM_BOOL("polled", 0, "without interrupts")
				       AU_PARAM_UINT("timeout-ms", 30000, 50, 600000,
						     "how long a request may take"));

AU_DRIVER = {
	AU_HEAD(struct au_driver),	  .context_size = sizeof(struct blk),
	.prepare = blk_prepare,		  .d0_entry = blk_d0_entry,
	.d0_exit = blk_d0_exit,		  .io_start = blk_io_start,
	.surprise_removed = blk_surprise,
};
