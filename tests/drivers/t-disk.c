/* SPDX-License-Identifier: MIT */
/*
 * A disk in retained memory with whatever limits a test wants. With "resize" each flush halves its
 * size, or brings it back; with "slow-ms" it keeps requests for so long.
 */
#include <auriga/block.h>
#include <auriga/driver.h>

#define DISK_MIB (1u << 20)

struct disk {
	uint8_t *blocks;
	struct au_block *block;
	uint64_t bytes;
	uint32_t bad_from;
	bool resize;
	bool half;
	uint32_t slow_ms;
	struct au_timer *timer, *answer;
	struct au_report *report;
	struct au_request *first, **end; /* kept, linked by driver[0] */
};

static void disk_flush(struct disk *disk, struct au_request *req)
{
	if (disk->resize) {
		disk->half = !disk->half;
		au_block_resize(disk->block, disk->half ? disk->bytes / 2 : disk->bytes);
	}
	au_request_complete(req, 0, 0);
}

static void disk_compare(struct au_request *req, uint8_t *at)
{
	bool write = req->op == AU_BLOCK_COMPARE_WRITE;
	uint32_t length = write ? req->length / 2 : req->length;

	if (__builtin_memcmp(at, req->data, length) != 0) {
		au_request_complete(req, -AU_EILSEQ, 0);
		return;
	}
	if (write)
		__builtin_memcpy(at, (uint8_t *)req->data + length, length);
	au_request_complete(req, 0, req->length);
}

static void disk_do(struct disk *disk, struct au_request *req)
{
	uint8_t *at = disk->blocks + req->arg[0];

	if (disk->bad_from && req->op != AU_BLOCK_FLUSH && req->arg[0] >= disk->bad_from) {
		au_request_complete(req, -AU_EIO, 0);
		return;
	}
	switch (req->op) {
	case AU_BLOCK_READ:
		__builtin_memcpy(req->data, at, req->length);
		break;
	case AU_BLOCK_WRITE:
		__builtin_memcpy(at, req->data, req->length);
		break;
	case AU_BLOCK_VERIFY:
	case AU_BLOCK_COMPARE_WRITE:
		disk_compare(req, at);
		return;
	case AU_BLOCK_DISCARD:
	case AU_BLOCK_WRITE_ZEROES:
		__builtin_memset(at, 0, req->arg[1]);
		break;
	case AU_BLOCK_FLUSH:
		disk_flush(disk, req);
		return;
	default:
		au_request_complete(req, -AU_ENOTSUP, 0);
		return;
	}
	au_request_complete(req, 0, req->length);
}

/* All that came since the last time, so that some are always kept. */
static void disk_due(struct au_timer *timer, void *context)
{
	struct disk *disk = context;
	struct au_request *req = disk->first;

	disk->first = NULL;
	disk->end = &disk->first;
	while (req) {
		struct au_request *next = req->driver[0];

		disk_do(disk, req);
		req = next;
	}
}

static void disk_deliver(struct au_queue *queue, struct au_request *req)
{
	struct disk *disk = au_queue_context(queue);

	if (!disk->slow_ms) {
		disk_do(disk, req);
		return;
	}
	if (!disk->first)
		au_timer_start(disk->timer, disk->slow_ms, false);
	req->driver[0] = NULL;
	*disk->end = req;
	disk->end = (struct au_request **)&req->driver[0];
}

/* "report": 1: at once, 2: with the next timer, 3: never, 4: more than it may say. */
static void disk_report(struct au_device *dev, struct au_report *report)
{
	struct disk *disk = au_context(dev);
	unsigned int kind = (unsigned int)au_param_uint(dev, "report");

	au_report_number(report, "bytes", (int64_t)disk->bytes);
	au_report_number(report, "below_zero", -1);
	au_report_text(report, "text", "a\tb");
	for (unsigned int i = 0; kind == 4 && i < 200; i++) {
		char key[] = "n00";

		key[1] = (char)('0' + i / 10 % 10);
		key[2] = (char)('0' + i % 10);
		au_report_text(
			report, key,
			"0123456789012345678901234567890123456789012345678901234567890123456789"
			"01234567890123456789");
	}
	if (kind == 4) {
		au_report_number(report, "Bad key", 1);
		au_report_number(report, "", 1);
	}
	disk->report = report;
	if (kind != 2 && kind != 3)
		au_report_done(report);
	else if (kind == 2)
		au_timer_start(disk->answer, 50, false);
}

static void disk_answer(struct au_timer *timer, void *context)
{
	struct disk *disk = context;

	au_report_done(disk->report);
}

static int disk_prepare(struct au_device *dev)
{
	struct disk *disk = au_context(dev);
	uint32_t flags = AU_BLOCK_CACHE;
	bool fresh;

	if (au_param_uint(dev, "read-only"))
		flags |= AU_BLOCK_READ_ONLY;
	if (au_param_uint(dev, "ranges"))
		flags |= AU_BLOCK_CAN_DISCARD | AU_BLOCK_CAN_ZERO | AU_BLOCK_DISCARD_ZERO;
	if (au_param_uint(dev, "compare"))
		flags |= AU_BLOCK_CAN_COMPARE | AU_BLOCK_CAN_VERIFY;
	const struct au_block_config config = {
		AU_HEAD(struct au_block_config),
		.context = disk,
		.bytes = au_param_uint(dev, "size-mib") * DISK_MIB,
		.block_size = (uint32_t)au_param_uint(dev, "block-size"),
		.max_transfer = (uint32_t)au_param_uint(dev, "max-transfer"),
		.max_range = DISK_MIB,
		.flags = flags,
		.depth = (uint32_t)au_param_uint(dev, "depth"),
		.model = "Auriga test disk",
		.serial = au_device_name(dev),
		.deliver = disk_deliver,
	};

	disk->bytes = config.bytes;
	disk->bad_from = (uint32_t)au_param_uint(dev, "bad-from");
	disk->resize = au_param_uint(dev, "resize") != 0;
	disk->blocks = au_retained(dev, &fresh);
	disk->slow_ms = (uint32_t)au_param_uint(dev, "slow-ms");
	disk->end = &disk->first;
	if (au_timer_create(dev, disk_due, disk, &disk->timer) != 0 ||
	    au_timer_create(dev, disk_answer, disk, &disk->answer) != 0)
		return -AU_ENOMEM;
	return au_block_add(dev, &config, &disk->block);
}

AU_DRIVER_NOTE(
	AU_NAME("t-disk") AU_VERSION("1.0") AU_CLASS("block") AU_SUMMARY(
		"test disk") AU_MATCH_VIRTUAL AU_PARAM_UINT("size-mib", 16, 1, 1024, "size in MiB")
		AU_PARAM_UINT("block-size", 512, 512, 65536, "bytes of a block") AU_PARAM_UINT(
			"max-transfer", 0, 0, 1048576,
			"of a request") AU_PARAM_UINT("depth", 8, 1, 1024, "requests")
			AU_PARAM_UINT("bad-from", 0, 0, 1048576, "medium is bad from here on")
				AU_PARAM_BOOL("read-only", 0,
					      "no writes") AU_PARAM_BOOL("ranges", 1,
									 "discard and write zeroes")
					AU_PARAM_BOOL("resize", 0, "a flush resizes") AU_PARAM_BOOL(
						"compare", 0, "compare and write, verify")
						AU_PARAM_UINT("report", 1, 1, 4, "how it reports")
							AU_PARAM_UINT("slow-ms", 0, 0, 10000,
								      "how long it takes")
								AU_RETAIN_PARAM(1, "size-mib",
										1048576));

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct disk),
	.prepare = disk_prepare,
	.report = disk_report,
};
