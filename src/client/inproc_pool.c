/* SPDX-License-Identifier: MIT */
/*
 * Memory of this process that a device of this process can reach: a driver's arena, and the pools
 * of handles. A device is given nothing but such memory.
 */
#include "client/inproc.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/recorder.h"

int inproc_pool_make(struct inproc_pool *pool, const char *name, size_t size)
{
	pool->size = (size + 4095) & ~(size_t)4095;
	pool->fd = au_memfd_sealed(name, pool->size);
	if (pool->fd < 0)
		return pool->fd;
	pool->base = mmap(NULL, pool->size, PROT_READ | PROT_WRITE, MAP_SHARED, pool->fd, 0);
	if (pool->base == MAP_FAILED) {
		int err = -errno;

		pool->base = NULL;
		close(pool->fd);
		pool->fd = -1;
		return err;
	}
	/* A child would see what the device does to it. */
	madvise(pool->base, pool->size, MADV_DONTFORK);
	return 0;
}

struct inproc_pool_call {
	struct inproc_pool *pool;
	struct inproc_instance *inst;
};

/* Lane. */
static int inproc_pool_reach(void *arg)
{
	struct inproc_pool_call *call = arg;
	struct inproc_pool *pool = call->pool;
	int err = auf_dma_map(call->inst->dev, pool->fd, pool->base, pool->size, &pool->iova);

	if (err == 0)
		pool->dma_offset = pool->iova - (uint64_t)(uintptr_t)pool->base;
	return err;
}

/* Lane. */
static int inproc_pool_leave(void *arg)
{
	struct inproc_pool_call *call = arg;

	auf_dma_unmap(call->inst->dev, call->pool->iova);
	return 0;
}

bool inproc_needs_pool(const struct inproc_instance *inst)
{
	return inst->note.dma_bits && strcmp(inst->address, "virtual") != 0;
}

int inproc_pool_map(struct inproc_pool *pool, struct inproc_instance *inst)
{
	struct inproc_pool_call call = { pool, inst };
	int err = auf_lane_call(inst->lane, inproc_pool_reach, &call);

	if (err == -ENOSPC)
		return client_fail(err,
				   "%s: %zu bytes of buffers are more than its device can still "
				   "reach (%u-bit addresses): use fewer, or smaller ones",
				   inst->name, pool->size, inst->note.dma_bits);
	return err ? client_fail(err, "%s: its device cannot reach its buffers: %s", inst->name,
				 strerror(-err))
		   : 0;
}

void inproc_pool_free(struct inproc_pool *pool, struct inproc_instance *inst)
{
	struct inproc_pool_call call = { pool, inst };

	if (pool->iova)
		auf_lane_call(inst->lane, inproc_pool_leave, &call);
	if (pool->base)
		munmap(pool->base, pool->size);
	if (pool->base)
		close(pool->fd);
	*pool = (struct inproc_pool){ .fd = -1 };
}
