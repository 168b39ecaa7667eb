/* SPDX-License-Identifier: MIT */
/*
 * A driver that the calling thread runs (poll=app): a request goes into it by a call, with the
 * application's own buffer; no ring, no atomic, no copy. What it completes is answered from
 * au_poll(), so that no done() ever runs inside the driver.
 */
#include "client/inproc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "channel/direction.h"
#include "framework/plain.h"

#define DIRECT_CLOSE_MS 2000

/**
 * struct direct - one handle.
 * @pool: where data must be for the device to reach them; none when it does not. A place for each
 *	slot, then the application's own buffers.
 * @own, @own_size: memory in which data are used where they are; all there is, NULL left out, for a
 *	driver that has no device which has to reach them.
 * @free: slots that nothing is in. A request's slot is its au_io.handle_, its tag where its au_io
 *is.
 * @plain_below: the bytes of which a plain request has less; 0: there is none, for there is a lock.
 * @ready: requests that are complete, oldest at @ready_head; as many as there are slots.
 * @copied: by slot: its data are in the slot's place in the pool, or in the last one.
 * @copies: how many are.
 * @progress: by slot, for the class: nobody else needs it here.
 * @progress_plain: for all plain requests, which no class sees.
 */
struct direct {
	struct inproc_instance *instance;
	struct au_lane *lane;
	struct auf_handle *handle;
	struct inproc_pool pool;
	uintptr_t own;
	uint64_t own_size;
	const struct au_direction *direction;
	struct auf_progress *progress;
	struct auf_progress progress_plain;
	uint16_t *free;
	struct au_io **ready;
	bool *copied;
	uint32_t free_count;
	uint32_t mask;
	uint32_t ready_head;
	uint32_t plain_below;
	uint32_t ready_tail;
	uint32_t copies;
	uint32_t buffer_size;
	bool claimed;	  /* the pool is the application's */
	bool bounce_used; /* ... but for its last place */
	bool event_new;
	bool closed;
	struct handle_lock *lock;
	struct au_event_queue events;
};

/* ---------------------------------------------------- what the framework calls */

/* Where the copy of a request's data is. */
static char *direct_copy_place(const struct direct *p, uint32_t slot)
{
	size_t at = (size_t)(p->claimed ? p->mask : slot) * p->buffer_size;

	return p->pool.base ? (char *)p->pool.base + at : NULL; /* none where buffers are empty */
}

/* What the driver left in the slot's place, for the application. */
static void __attribute__((noinline))
direct_copy_back(struct direct *p, uint32_t slot, const struct au_io *io)
{
	uint8_t way = au_direction(p->direction, io->op);
	uint32_t count = way & AU_DATA_ALL || io->result > io->length ? io->length : io->result;

	if (!p->copied[slot])
		return;
	p->copied[slot] = false;
	p->copies--;
	p->bounce_used = false;
	if ((way & AU_DATA_OUT) && io->status == 0)
		memcpy(io->data, direct_copy_place(p, slot), count);
}

static void direct_complete(struct auf_handle *handle, int status, uint32_t result,
			    uint16_t device_status, uint32_t slot, uint64_t tag)
{
	struct direct *p = auf_handle_context(handle);
	struct au_io *io = (struct au_io *)(uintptr_t)tag;

	io->status = status;
	io->result = result;
	io->device_status = device_status;
	p->ready[p->ready_tail++ & p->mask] = io;
	if (AU_RING_UNLIKELY(p->copies != 0))
		direct_copy_back(p, slot, io);
}

static void direct_event(struct auf_handle *handle, const struct au_event *event)
{
	struct direct *p = auf_handle_context(handle);

	au_event_queue_put(&p->events, event);
	p->event_new = true;
}

/* ------------------------------------------------------------------ operations */

/* Who sleeps on behalf of the lane has to look again: there may be a nearer timer. */
static void direct_kick(struct direct *p)
{
	if (p->lock && p->lock->sleeper)
		(void)eventfd_write(p->lock->kick, 1);
}

/* Whether the data of @io are used where they are. */
static inline bool direct_in_place(const struct direct *p, const struct au_io *io)
{
	uint64_t at = (uintptr_t)io->data - p->own;

	return at < p->own_size && io->length <= p->own_size - at;
}

/* Where the device can reach the data of @io: where they are, or a copy. */
static void *direct_place(struct direct *p, uint32_t slot, const struct au_io *io)
{
	char *place = direct_copy_place(p, slot);

	if (io->length == 0 || direct_in_place(p, io))
		return io->data;
	if (au_direction(p->direction, io->op) & AU_DATA_IN)
		memcpy(place, io->data, io->length);
	p->copied[slot] = true;
	p->copies++;
	p->bounce_used = p->claimed;
	return place;
}

static inline void direct_take(struct direct *p, uint32_t slot, struct au_io *io)
{
	p->free_count--;
	io->handle_ = slot;
	io->status = -EINPROGRESS;
}

/* What has a time-out or flags, whose data are copied, that waits for its turn, and all errors. */
static int __attribute__((noinline)) direct_submit_more(struct au_handle *h, struct au_io *io)
{
	struct direct *p = h->direct;
	uint32_t slot;
	int err;

	if (p->free_count == 0)
		return -EAGAIN;
	if (io->length > p->buffer_size)
		return handle_refused(h, io, -EMSGSIZE);
	if ((io->flags & ~p->direction->flags) != 0 || (io->length && !io->data))
		return handle_refused(h, io, -EINVAL);
	if (p->bounce_used && io->length && !direct_in_place(p, io))
		return -EAGAIN;
	slot = p->free[p->free_count - 1];
	direct_take(p, slot, io);
	p->progress[slot] = (struct auf_progress){ 0 };
	const struct auf_submit submit = {
		.op = io->op,
		.flags = io->flags,
		.length = io->length,
		.arg = { io->arg[0], io->arg[1] },
		.data = direct_place(p, slot, io),
		.timeout_ms = io->timeout_ms,
		.tag = (uintptr_t)io,
		.progress = &p->progress[slot],
	};
	err = auf_submit(p->handle, slot, &submit);
	if (err) {
		if (p->copied[slot]) {
			p->copied[slot] = p->bounce_used = false;
			p->copies--;
		}
		p->free_count++;
		io->status = err;
		return client_fail(err, "%s: %s", h->unit, strerror(-err));
	}
	if (p->lock)
		direct_kick(p);
	return 0;
}

static int direct_submit(struct au_handle *h, struct au_io *io)
{
	struct direct *p = h->direct;
	struct auf_request *r;
	uint64_t what;
	uint32_t slot;

	if (AU_RING_UNLIKELY(p->free_count == 0))
		return -EAGAIN;
	if (AU_RING_UNLIKELY(io->length >= p->plain_below ||
			     (io->length != 0 && !direct_in_place(p, io))))
		return direct_submit_more(h, io);
	memcpy(&what, &io->op, sizeof(what));
	slot = p->free[p->free_count - 1];
	r = auf_plain(p->handle, slot, what, io->arg[0], io->timeout_ms);
	if (AU_RING_UNLIKELY(!r))
		return direct_submit_more(h, io);
	direct_take(p, slot, io);
	auf_plain_go(p->handle, r, what, io->arg[0], io->arg[1], io->data, (uintptr_t)io,
		     &p->progress_plain, 0);
	return 0;
}

static int direct_flush(struct au_handle *h)
{
	return 0;
}

static int direct_cancel(struct au_handle *h, struct au_io *io)
{
	struct direct *p = h->direct;

	if (io->handle_ > p->mask || io->status != -EINPROGRESS ||
	    auf_cancel(p->handle, (uint32_t)io->handle_, (uintptr_t)io) != 0)
		return -ESRCH;
	if (p->lock) {
		direct_kick(p);
		if (p->ready_head != p->ready_tail)
			handle_lock_news(p->lock);
	}
	return 0;
}

static inline void direct_done(struct handle_lock *lock, struct au_io *io)
{
	if (!io->done)
		return;
	if (AU_RING_UNLIKELY(lock != NULL)) {
		handle_unlocked(lock);
		io->done(io);
		handle_relocked(lock);
	} else {
		io->done(io);
	}
}

static unsigned int direct_turn(struct au_handle *h, unsigned int max)
{
	struct direct *p = h->direct;
	struct handle_lock *lock = p->lock;
	unsigned int count = 0;

	if (max == 0 || max > p->mask + 1)
		max = p->mask + 1;
	if (auf_lane_poll(p->lane) != 0 && lock && lock->waiters)
		handle_lock_news(lock); /* it may have been another handle's work */
	while (count < max && p->ready_head != p->ready_tail) {
		struct au_io *io = p->ready[p->ready_head++ & p->mask];

		p->free[p->free_count++] = (uint16_t)io->handle_;
		count++;
		direct_done(lock, io);
		if (AU_RING_UNLIKELY(h->close_later))
			break;
	}
	return count;
}

static bool direct_arm(struct au_handle *h, int *timeout_ms)
{
	struct direct *p = h->direct;

	*timeout_ms = -1;
	return p->ready_head == p->ready_tail && !p->event_new && auf_lane_arm(p->lane, timeout_ms);
}

static void direct_disarm(struct au_handle *h)
{
	auf_lane_disarm(h->direct->lane);
}

static void direct_ready(struct au_handle *h, enum handle_fd what, uint32_t events)
{
	eventfd_t count;

	/* The lane's descriptors are looked at by its next turn. */
	if (what == HANDLE_FD_KICK)
		(void)eventfd_read(h->direct->lock->kick, &count);
}

static bool direct_event_next(struct au_handle *h, struct au_event *event)
{
	return au_event_queue_get(&h->direct->events, event);
}

static bool direct_event_seen(struct au_handle *h)
{
	bool seen = h->direct->event_new;

	h->direct->event_new = false;
	return seen;
}

/* Without a device that has to reach them any memory is as good. */
static void *direct_buffers(struct au_handle *h, size_t *size)
{
	struct direct *p = h->direct;

	if (p->mask == 0 || (!p->claimed && p->free_count != p->mask + 1))
		return NULL;
	if (!p->pool.base &&
	    inproc_pool_make(&p->pool, "auriga-pool", (size_t)(p->mask + 1) * p->buffer_size) != 0)
		return NULL;
	p->claimed = true;
	if (p->pool.iova) {
		p->own = (uintptr_t)p->pool.base;
		p->own_size = (uint64_t)p->mask * p->buffer_size;
	}
	*size = (size_t)p->mask * p->buffer_size;
	return p->pool.base;
}

static uint32_t direct_generation(const struct au_handle *h)
{
	return h->direct->instance->gone ? 0 : 1;
}

/* ------------------------------------------------------------ opening, closing */

static void direct_free(struct direct *p)
{
	free(p->copied);
	free(p->progress);
	free(p->free);
	free(p->ready);
	free(p);
}

static void direct_closed(void *context)
{
	((struct direct *)context)->closed = true;
}

/*
 * Outstanding requests point into the application's memory: before this returns, the driver must
 * have let go of them. One that does not is taken down first, if this is the last handle.
 */
static void direct_close(struct au_handle *h)
{
	struct direct *p = h->direct;
	struct inproc_instance *inst = p->instance;
	struct handle_lock *lock = p->lock;
	uint64_t end = handle_now_ns() + DIRECT_CLOSE_MS * 1000000ull;

	if (lock)
		pthread_mutex_lock(&lock->mutex);
	auf_handle_close(p->handle, direct_closed, p);
	while (!p->closed && handle_now_ns() < end)
		auf_lane_poll(p->lane);
	if (lock)
		pthread_mutex_unlock(&lock->mutex);
	if (p->closed)
		inproc_pool_free(&p->pool, inst);
	inproc_put(inst);
	/* Still not: a driver that is shared and holds on to it. Better leaked than used. */
	if (p->closed)
		direct_free(p);
}

static void direct_forked(struct au_handle *h)
{
	struct inproc_instance *inst = h->direct->instance;

	if (inst->claim >= 0)
		close(inst->claim);
	inst->claim = -1;
}

static const struct handle_ops direct_ops = {
	.submit = direct_submit,
	.flush = direct_flush,
	.cancel = direct_cancel,
	.turn = direct_turn,
	.arm = direct_arm,
	.disarm = direct_disarm,
	.ready = direct_ready,
	.event = direct_event_next,
	.event_seen = direct_event_seen,
	.generation = direct_generation,
	.buffers = direct_buffers,
	.close = direct_close,
	.forked = direct_forked,
};

/* Before the unit is opened: a device needs its data where it can reach them. */
static int direct_pool(struct direct *p, const struct au_open_options *options)
{
	struct inproc_instance *inst = p->instance;
	int err;

	if (!inproc_needs_pool(inst)) {
		p->own = 1;
		p->own_size = UINT64_MAX - 1;
		return 0;
	}
	err = inproc_pool_make(&p->pool, "auriga-pool",
			       (size_t)options->depth * options->buffer_size);
	if (err)
		return client_fail(err, "%s: no memory for buffers: %s", inst->name,
				   strerror(-err));
	return inproc_pool_map(&p->pool, inst);
}

static int direct_open_unit(struct au_handle *h, struct direct *p,
			    const struct inproc_target *target,
			    const struct au_open_options *options)
{
	const struct auf_handle_config config = {
		.depth = options->depth,
		.quiet = options->flags & AU_OPEN_QUIET,
		.complete = direct_complete,
		.event = direct_event,
		.dma_offset = p->pool.dma_offset,
		.context = p,
	};
	struct au_unit *unit = auf_device_unit(p->instance->dev, target->unit);
	int err;

	if (!unit)
		return inproc_no_unit(p->instance, target->unit);
	snprintf(h->cls, sizeof(h->cls), "%s", auf_unit_class(unit)->name);
	p->direction = au_direction_of_class(h->cls);
	err = auf_handle_open(unit, &config, &p->handle);
	return err ? client_fail(err, "%s: cannot open unit %u: %s", p->instance->name,
				 target->unit, strerror(-err))
		   : 0;
}

int inproc_direct_open(struct au_handle *h, struct inproc_instance *instance,
		       const struct inproc_target *target, const struct au_open_options *options)
{
	struct direct *p = calloc(1, sizeof(*p));
	uint32_t depth = options->depth;
	int err = 0;

	if (!p) {
		inproc_put(instance);
		return client_fail(-ENOMEM, "%s: no memory", instance->name);
	}
	*p = (struct direct){ .instance = instance,
			      .lane = instance->lane,
			      .mask = depth - 1,
			      .free_count = depth,
			      .buffer_size = options->buffer_size,
			      .plain_below = instance->shared ? 0 : options->buffer_size + 1,
			      .pool.fd = -1,
			      .lock = instance->shared ? &instance->lock : NULL,
			      .progress = calloc(depth, sizeof(*p->progress)),
			      .copied = calloc(depth, sizeof(*p->copied)),
			      .free = calloc(depth, sizeof(*p->free)),
			      .ready = calloc(depth, sizeof(*p->ready)) };
	h->direct = p;
	h->ops = &direct_ops;
	h->lock = p->lock;
	h->spin_ns = h->spin_max_ns = 0;
	if (!p->progress || !p->copied || !p->free || !p->ready)
		err = client_fail(-ENOMEM, "%s: no memory", instance->name);
	for (uint32_t i = 0; err == 0 && i < depth; i++)
		p->free[i] = (uint16_t)(depth - 1 - i);
	if (err == 0)
		err = handle_watch(h, auf_lane_fd(instance->lane), HANDLE_FD_LANE);
	if (err == 0 && p->lock)
		err = handle_watch(h, p->lock->kick, HANDLE_FD_KICK);
	if (err == 0) {
		if (p->lock)
			pthread_mutex_lock(&p->lock->mutex);
		err = direct_pool(p, options);
		if (!err)
			err = direct_open_unit(h, p, target, options);
		if (p->lock)
			pthread_mutex_unlock(&p->lock->mutex);
	}
	if (err) {
		inproc_pool_free(&p->pool, instance);
		direct_free(p);
		inproc_put(instance);
	}
	return err;
}
