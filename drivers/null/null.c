/* SPDX-License-Identifier: MIT */
/* A disk that completes each request at once and keeps nothing: what is measured is the rest. */
#include <auriga/block.h>
#include <auriga/driver.h>

#define NULL_MIB (1u << 20)

static void null_deliver(struct au_queue *queue, struct au_request *req)
{
	au_request_complete(req, 0, req->length);
}

static int null_prepare(struct au_device *dev)
{
	const struct au_block_config config = {
		AU_HEAD(struct au_block_config),
		.bytes = au_param_uint(dev, "size-mib") * NULL_MIB,
		.block_size = 512,
		.flags = AU_BLOCK_CAN_DISCARD | AU_BLOCK_CAN_ZERO,
		.depth = 1024,
		.model = "Auriga null disk",
		.serial = au_device_name(dev),
		.deliver = null_deliver,
	};
	struct au_block *block;

	return au_block_add(dev, &config, &block);
}

AU_DRIVER_NOTE(AU_NAME("null") AU_VERSION("1.0") AU_CLASS("block")
		       AU_SUMMARY("a disk that does nothing at once; for measuring")
			       AU_MATCH_VIRTUAL AU_LANES(8)
				       AU_PARAM_UINT("size-mib", 1024, 1, 1073741824,
						     "size in MiB"));

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = null_prepare,
};
