/* SPDX-License-Identifier: MIT */
/*
 * A driver that runs on a thread of this process: the same channel as to a host, over memory of
 * this process.
 */
#include "client/inproc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "channel/server_end.h"

/**
 * struct inproc_channel - one channel.
 * @refs: the client's end and the server's: whoever is last frees the memory.
 */
struct inproc_channel {
	struct inproc_instance *instance;
	struct au_chan_server *server;
	struct au_unit *unit;
	_Atomic int refs;
	struct au_wire_layout layout;
	uint32_t buffer_size;
	bool quiet;
	void *rings;
	void *pool;
	struct inproc_pool dma; /* what @pool is, if the device is to reach it */
	int bell[2];		/* the client's, the server's */
};

static void *inproc_thread_memory(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return NULL;
	madvise(mem, size, MADV_DONTFORK);
	return mem;
}

/* Rings and pool. Return: 0, or a negative errno, and why. */
static int inproc_thread_alloc(struct inproc_channel *p, size_t size)
{
	bool reached = inproc_needs_pool(p->instance);
	int err = reached ? inproc_pool_make(&p->dma, "auriga-pool", size) : 0;

	p->rings = inproc_thread_memory(p->layout.size);
	if (!reached)
		p->pool = inproc_thread_memory(size);
	if (err || !p->rings || (!reached && !p->pool))
		return client_fail(-ENOMEM, "%s: no memory for a channel", p->instance->name);
	/* What the device cannot reach is no pool. */
	err = reached ? inproc_pool_map(&p->dma, p->instance) : 0;
	if (err)
		inproc_pool_free(&p->dma, p->instance);
	else if (reached)
		p->pool = p->dma.base;
	return err;
}

static void inproc_thread_put(struct inproc_channel *p)
{
	if (atomic_fetch_sub(&p->refs, 1) > 1)
		return;
	if (p->rings)
		munmap(p->rings, p->layout.size);
	if (p->dma.base)
		inproc_pool_free(&p->dma, p->instance);
	else if (p->pool)
		munmap(p->pool, (size_t)p->layout.depth * p->buffer_size);
	if (p->bell[0] >= 0)
		close(p->bell[0]);
	if (p->bell[1] >= 0)
		close(p->bell[1]);
	free(p);
}

/* Lane. The client is this process: it has corrupted its own memory. */
static void inproc_thread_ended(void *context, int reason, const char *text)
{
	struct inproc_channel *p = context;

	if (reason)
		au_logf(AU_LOG_ERROR, "%s: a channel of this process is broken: %s",
			p->instance->name, text);
	shutdown(p->bell[1], SHUT_RDWR);
	p->server = NULL;
}

static void inproc_thread_closed(void *context)
{
	inproc_thread_put(context);
}

struct inproc_thread_args {
	struct inproc_channel *p;
	struct au_handle *h;
	unsigned int unit;
};

/* Lane 0. */
static int inproc_thread_serve(void *arg)
{
	struct inproc_thread_args *a = arg;
	struct inproc_channel *p = a->p;
	struct au_unit *unit = auf_device_unit(p->instance->dev, a->unit);
	struct au_chan_server_config config = {
		.lane = auf_device_next_lane(p->instance->dev),
		.unit = unit,
		.rings = p->rings,
		.pool = p->pool,
		.doorbell = p->bell[1],
		.depth = p->layout.depth,
		.buffer_size = p->buffer_size,
		.generation = 1,
		.dma_offset = p->dma.dma_offset,
		.quiet = p->quiet,
		.ended = inproc_thread_ended,
		.closed = inproc_thread_closed,
		.context = p,
	};
	int err;

	if (!unit)
		return -ENOENT;
	snprintf(a->h->cls, sizeof(a->h->cls), "%s", auf_unit_class(unit)->name);
	config.cls = a->h->cls;
	auf_device_hold(p->instance->dev);
	err = au_chan_server_open(&config, &p->server);
	auf_device_let_go(p->instance->dev);
	if (err == 0)
		atomic_fetch_add(&p->refs, 1);
	return err;
}

/* Lane 0. */
static int inproc_thread_unserve(void *arg)
{
	struct inproc_channel *p = arg;

	auf_device_hold(p->instance->dev);
	if (p->server)
		au_chan_server_close(p->server);
	p->server = NULL;
	auf_device_let_go(p->instance->dev);
	return 0;
}

static void inproc_thread_close(struct au_handle *h)
{
	struct inproc_channel *p = h->channel;
	struct inproc_instance *inst = p->instance;

	auf_lane_call(inst->lane, inproc_thread_unserve, p);
	inproc_thread_put(p);
	inproc_put(inst);
}

static void inproc_thread_forked(struct au_handle *h)
{
	struct inproc_channel *p = h->channel;

	close(p->bell[0]);
	close(p->bell[1]);
	if (p->instance->claim >= 0)
		close(p->instance->claim);
	p->instance->claim = -1;
}

static void inproc_thread_ready(struct au_handle *h, enum handle_fd what, uint32_t events)
{
	if (what != HANDLE_FD_DOORBELL || au_doorbell_drain(h->channel->bell[0]))
		return;
	handle_unwatch(h, h->channel->bell[0]);
	handle_dead(h, -EIO);
	au_chan_fail(h->chan, -EIO);
}

static const struct handle_ops inproc_thread_ops = {
	.submit = chan_handle_submit,
	.flush = chan_handle_flush,
	.cancel = chan_handle_cancel,
	.turn = chan_handle_turn,
	.arm = chan_handle_arm,
	.disarm = chan_handle_disarm,
	.ready = inproc_thread_ready,
	.event = chan_handle_event,
	.event_seen = chan_handle_event_seen,
	.generation = chan_handle_generation,
	.buffers = chan_handle_buffers,
	.close = inproc_thread_close,
	.forked = inproc_thread_forked,
};

static int inproc_thread_chan(struct au_handle *h, struct inproc_channel *p)
{
	int err = au_chan_create(p->layout.depth, p->buffer_size, &h->chan);

	if (err)
		return err;
	au_chan_set_class(h->chan, h->cls);
	if (h->lock) {
		h->chan->unlock = handle_unlocked;
		h->chan->lock = handle_relocked;
		h->chan->lock_arg = h->lock;
	}
	au_chan_attach(h->chan, &(struct au_chan_link){ .rings = p->rings,
							.pool = p->pool,
							.doorbell = p->bell[0],
							.generation = 1 });
	return handle_watch(h, p->bell[0], HANDLE_FD_DOORBELL);
}

int inproc_thread_open(struct au_handle *h, struct inproc_instance *instance,
		       const struct inproc_target *target, const struct au_open_options *options)
{
	struct inproc_channel *p = calloc(1, sizeof(*p));
	struct inproc_thread_args args = { .p = p, .h = h, .unit = target->unit };
	int err = 0;

	if (!p) {
		inproc_put(instance);
		return client_fail(-ENOMEM, "%s: no memory", instance->name);
	}
	p->instance = instance;
	p->refs = 1;
	p->bell[0] = p->bell[1] = -1;
	p->buffer_size = options->buffer_size;
	p->quiet = options->flags & AU_OPEN_QUIET;
	h->channel = p;
	h->ops = &inproc_thread_ops;
	au_wire_layout(options->depth, &p->layout);
	err = inproc_thread_alloc(p, (size_t)options->depth * options->buffer_size);
	if (err == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->bell) != 0)
		err = client_fail(-errno, "%s: cannot make a doorbell: %m", instance->name);
	if (err == 0 && (options->flags & AU_OPEN_SHARED)) {
		err = handle_lock_init(&h->own_lock);
		if (err == 0)
			err = handle_watch(h, h->own_lock.kick, HANDLE_FD_KICK);
		h->lock = &h->own_lock;
	}
	if (err == 0) {
		err = auf_lane_call(instance->lane, inproc_thread_serve, &args);
		if (err == -ENOENT)
			inproc_no_unit(instance, target->unit);
		else if (err)
			client_say("%s: cannot open unit %u: %s", instance->name, target->unit,
				   strerror(-err));
	}
	if (err == 0) {
		err = inproc_thread_chan(h, p);
		if (err)
			client_say("%s: cannot set up a channel: %s", instance->name,
				   strerror(-err));
	}
	if (err) {
		au_chan_destroy(h->chan);
		auf_lane_call(instance->lane, inproc_thread_unserve, p);
		inproc_thread_put(p);
		inproc_put(instance);
	}
	return err;
}
