/* SPDX-License-Identifier: MIT */
/* A disk in memory. Its blocks are retained memory: they survive the driver. */
#include <auriga/block.h>
#include <auriga/driver.h>

#define RAM_MIB	       (1u << 20)
#define RAM_BLOCK_SIZE 512u
#define RAM_DEPTH      256u

struct ram {
	uint8_t *blocks;
};

static void ram_deliver(struct au_queue *queue, struct au_request *req)
{
	const struct ram *ram = au_queue_context(queue);
	uint8_t *at = ram->blocks + req->arg[0], *data = req->data;
	uint32_t half = req->length / 2;

	switch (req->op) {
	case AU_BLOCK_READ:
		__builtin_memcpy(req->data, at, req->length);
		au_request_complete(req, 0, req->length);
		break;
	case AU_BLOCK_WRITE:
		__builtin_memcpy(at, req->data, req->length);
		au_request_complete(req, 0, req->length);
		break;
	case AU_BLOCK_COMPARE_WRITE:
		if (__builtin_memcmp(at, data, half) != 0) {
			au_request_complete(req, -AU_EILSEQ, 0);
			break;
		}
		__builtin_memcpy(at, data + half, half);
		au_request_complete(req, 0, req->length);
		break;
	case AU_BLOCK_DISCARD:
	case AU_BLOCK_WRITE_ZEROES:
		__builtin_memset(at, 0, req->arg[1]);
		au_request_complete(req, 0, 0);
		break;
	default:
		au_request_complete(req, -AU_ENOTSUP, 0);
	}
}

static int ram_prepare(struct au_device *dev)
{
	struct ram *ram = au_context(dev);
	bool fresh;
	const struct au_block_config config = {
		AU_HEAD(struct au_block_config),
		.context = ram,
		.bytes = au_param_uint(dev, "size-mib") * RAM_MIB,
		.block_size = RAM_BLOCK_SIZE,
		.max_range = 64 * RAM_MIB, /* so that others get their turn */
		.max_compare = RAM_BLOCK_SIZE,
		.flags = AU_BLOCK_CAN_DISCARD | AU_BLOCK_CAN_ZERO | AU_BLOCK_DISCARD_ZERO |
			 AU_BLOCK_CAN_COMPARE,
		.depth = RAM_DEPTH,
		.model = "Auriga memory disk",
		.serial = au_device_name(dev),
		.deliver = ram_deliver,
	};
	struct au_block *block;

	ram->blocks = au_retained(dev, &fresh);
	return au_block_add(dev, &config, &block);
}

AU_DRIVER_NOTE(AU_NAME("ram") AU_VERSION("1.0") AU_CLASS("block")
		       AU_SUMMARY("a disk in memory, whose content survives the driver")
			       AU_MATCH_VIRTUAL AU_LANES(8)
				       AU_PARAM_UINT("size-mib", 64, 1, 1048576, "size in MiB")
					       AU_RETAIN_PARAM(1, "size-mib", 1048576));

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct ram),
	.prepare = ram_prepare,
};
