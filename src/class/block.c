/* SPDX-License-Identifier: MIT */
/*
 * The block class: what a driver gets is within its unit and its limits. Reads and writes that
 * obviously are go straight to the driver's queue; whatever else comes is looked at here.
 */
#include "auriga/block.h"

#include "auriga/driver.h"
#include "base/abi.h"
#include "base/os.h"
#include "framework/framework.h"

#include <stdio.h>
#include <string.h>

#define BLOCK_SIZE_MIN 512u
#define BLOCK_SIZE_MAX 65536u

struct au_block {
	struct au_unit *unit;
	struct au_queue *queue;
	struct au_block_config config;
	struct au_block_info info;
};

/* What needs no look: reads and writes within the unit. */
static void block_reach(struct au_block *block)
{
	const struct au_block_config *config = &block->config;
	uint32_t max = block->info.max_transfer;

	if (max > config->bytes)
		max = (uint32_t)config->bytes;
	if (config->flags & AU_BLOCK_READ_ONLY)
		max = 0;
	auf_unit_reach(block->unit, config->bytes, config->block_size - 1, config->block_size, max);
}

static int block_info(const struct au_block *block, struct au_request *req, uint32_t *result)
{
	if (req->length < au_abi_block_info.first)
		return -AU_EINVAL;
	*result = req->length < sizeof(block->info) ? req->length : sizeof(block->info);
	memcpy(req->data, &block->info, *result);
	return 0;
}

/* Whether @length bytes at @offset are whole blocks of the unit. */
static int block_range(const struct au_block *block, uint64_t offset, uint64_t length, bool write)
{
	if ((offset | length) & (block->config.block_size - 1))
		return -AU_EINVAL;
	if (offset > block->config.bytes || length > block->config.bytes - offset)
		return write ? -AU_ENOSPC : -AU_EINVAL;
	return 0;
}

/* What a request that changes something needs. */
static int block_may_write(const struct au_block *block, uint32_t ability)
{
	if (block->config.flags & AU_BLOCK_READ_ONLY)
		return -AU_EPERM;
	return (block->config.flags & ability) == ability ? 0 : -AU_ENOTSUP;
}

static int block_check_data(const struct au_block *block, const struct au_request *req,
			    uint64_t length, bool write)
{
	int err = write ? block_may_write(block, 0) : 0;

	if (!err && length > block->info.max_transfer)
		err = -AU_EINVAL;
	return err ? err : block_range(block, req->arg[0], length, write);
}

static int block_check_long(const struct au_block *block, const struct au_request *req,
			    uint32_t ability)
{
	int err = block_may_write(block, ability);

	if (!err && req->arg[1] > block->info.max_range)
		err = -AU_EINVAL;
	return err ? err : block_range(block, req->arg[0], req->arg[1], true);
}

static int block_check(const struct au_block *block, const struct au_request *req)
{
	uint32_t can = block->config.flags;
	int err;

	switch (req->op) {
	case AU_BLOCK_READ:
		return block_check_data(block, req, req->length, false);
	case AU_BLOCK_WRITE:
		return block_check_data(block, req, req->length, true);
	case AU_BLOCK_COMPARE_WRITE:
		if (req->length % 2 || req->length / 2 > block->config.max_compare)
			err = -AU_EINVAL;
		else
			err = block_check_data(block, req, req->length / 2, true);
		return can & AU_BLOCK_CAN_COMPARE ? err : -AU_ENOTSUP;
	case AU_BLOCK_VERIFY:
		err = block_check_data(block, req, req->length, false);
		return can & AU_BLOCK_CAN_VERIFY ? err : -AU_ENOTSUP;
	case AU_BLOCK_DISCARD:
		return block_check_long(block, req, AU_BLOCK_CAN_DISCARD);
	case AU_BLOCK_WRITE_ZEROES:
		return block_check_long(block, req, AU_BLOCK_CAN_ZERO);
	case AU_BLOCK_FLUSH:
		return 0;
	default:
		return -AU_ENOTSUP;
	}
}

/* Requests that leave the driver nothing to do. */
static bool block_is_nothing(const struct au_block *block, const struct au_request *req)
{
	switch (req->op) {
	case AU_BLOCK_FLUSH:
		return !(block->config.flags & AU_BLOCK_CACHE);
	case AU_BLOCK_DISCARD:
	case AU_BLOCK_WRITE_ZEROES:
		return req->arg[1] == 0;
	default:
		return req->length == 0;
	}
}

static void block_submit(struct au_unit *unit, struct au_request *req)
{
	struct au_block *block = auf_unit_priv(unit);
	uint32_t result = 0;
	int err;

	if (req->op == AU_BLOCK_INFO) {
		err = block_info(block, req, &result);
		au_request_complete(req, err, result);
		return;
	}
	err = block_check(block, req);
	if (err || block_is_nothing(block, req)) {
		au_request_complete(req, err, 0);
		return;
	}
	/* Without a cache everything is on the medium at once. */
	if (!(block->config.flags & AU_BLOCK_CACHE))
		req->flags &= (uint16_t)~AU_BLOCK_FUA;
	auf_queue_put(block->queue, req);
}

static void block_free(struct au_unit *unit)
{
	au_os_free(auf_unit_priv(unit));
}

static const struct auf_class block_class = {
	.name = "block",
	.submit = block_submit,
	.remove = block_free,
	.first_op = AU_BLOCK_INFO,
	.plain_op = AU_BLOCK_READ,
	.last_op = AU_BLOCK_WRITE,
	.bytes = true,
};

/* --------------------------------------------------------------- the driver's */

static bool block_size_ok(uint32_t size)
{
	return size >= BLOCK_SIZE_MIN && size <= BLOCK_SIZE_MAX && !(size & (size - 1));
}

static const char *block_wrong(const struct au_block_config *config)
{
	if (!config->deliver || !config->depth)
		return "it needs deliver() and a depth";
	if (!block_size_ok(config->block_size))
		return "the block size must be a power of two from 512 to 65536";
	if (config->bytes % config->block_size || config->bytes > INT64_MAX)
		return "its size is not a number of whole blocks";
	if (config->max_transfer % config->block_size || config->max_range % config->block_size ||
	    config->max_compare % config->block_size)
		return "its limits are not whole blocks";
	return NULL;
}

static void block_describe(struct au_block *block)
{
	const struct au_block_config *config = &block->config;
	struct au_block_info *info = &block->info;

	*info = (struct au_block_info){
		.size = sizeof(*info),
		.abi = 1,
		.bytes = config->bytes,
		.block_size = config->block_size,
		.max_transfer = config->max_transfer ? config->max_transfer
						     : UINT32_MAX & ~(config->block_size - 1),
		.flags = config->flags,
		.depth = config->depth,
		.max_range = config->max_range ? config->max_range
					       : INT64_MAX & ~(uint64_t)(config->block_size - 1),
		.max_compare = config->max_compare,
	};
	snprintf(info->model, sizeof(info->model), "%s", config->model ? config->model : "");
	snprintf(info->serial, sizeof(info->serial), "%s", config->serial ? config->serial : "");
}

static int block_queue(struct au_block *block)
{
	const struct au_queue_config config = {
		AU_HEAD(struct au_queue_config),  .kind = AU_QUEUE_PARALLEL,
		.depth = block->config.depth,	  .context = block->config.context,
		.deliver = block->config.deliver, .contexts = block->config.contexts,
	};

	return au_queue_create(block->unit, &config, &block->queue);
}

int au_block_add(struct au_device *dev, const struct au_block_config *given, struct au_block **out)
{
	struct au_block_config config;
	struct au_block *block;
	const char *wrong;
	int err = auf_take(dev, &au_abi_block_config, &config, given);

	if (err)
		return err;
	wrong = block_wrong(&config);
	if (wrong) {
		au_log(dev, AU_LOG_ERROR, "au_block_add: %s", wrong);
		return -AU_EINVAL;
	}
	block = auf_alloc(dev, sizeof(*block));
	if (!block)
		return -AU_ENOMEM;
	block->config = config;
	if (!(config.flags & AU_BLOCK_CAN_COMPARE))
		block->config.max_compare = 0;
	else if (!config.max_compare)
		block->config.max_compare = config.block_size;
	block_describe(block);
	err = auf_unit_add_at(dev, &block_class, block, config.unit, &block->unit);
	if (err) {
		au_os_free(block);
		return err;
	}
	err = block_queue(block);
	if (err) {
		au_unit_remove(block->unit);
		return err;
	}
	block_reach(block);
	*out = block;
	return 0;
}

void au_block_remove(struct au_block *block)
{
	au_unit_remove(block->unit);
}

void au_block_resize(struct au_block *block, uint64_t bytes)
{
	struct au_device *dev = au_unit_device(block->unit);

	bytes &= ~(uint64_t)(block->config.block_size - 1);
	if (bytes == block->config.bytes)
		return;
	auf_device_hold(dev);
	block->config.bytes = block->info.bytes = bytes;
	block_reach(block);
	au_unit_event(block->unit, AU_BLOCK_EVENT_RESIZED, 1, bytes, 0);
	auf_device_let_go(dev);
}

struct au_unit *au_block_unit(const struct au_block *block)
{
	return block->unit;
}

void *au_block_context(const struct au_block *block)
{
	return block->config.context;
}
