/* SPDX-License-Identifier: MIT */
/*
 * client_end.h - the client's end of a channel.
 *
 * The table of outstanding requests is private: it outlives the rings, which are of one generation,
 * and says what is replayed when the next host attaches. The data of a request lie in the pool, in
 * the place of its slot; they are copied in at submit and out at completion, so that nothing that
 * the host does to the pool reaches the application's memory later.
 *
 * The host is not trusted: completions for requests that are not outstanding are counted and
 * ignored, and a host that breaks the rules of the rings loses this channel: its requests wait for
 * the next host.
 *
 * One thread at a time. Neither memory nor descriptors of a link are the channel's.
 */
#ifndef AU_CHANNEL_CLIENT_END_H
#define AU_CHANNEL_CLIENT_END_H

#include "auriga/auriga.h"
#include "channel/direction.h"
#include "channel/doorbell.h"
#include "channel/event_queue.h"
#include "channel/ring.h"
#include "channel/wire.h"

#define AU_CHAN_BATCH	  32u	/* submitted requests that start without a flush */
#define AU_CHAN_GRACE_MS  5000u /* how long a request that has expired waits for a host's word */
#define AU_CHAN_FREE	  UINT64_MAX

/* au_chan_slot.state */
#define AU_SLOT_SENT	  0x01u /* was put into a ring */
#define AU_SLOT_CANCEL	  0x02u /* the application wants it cancelled */
#define AU_SLOT_TOLD	  0x04u /* ... and this generation's host was told */
#define AU_SLOT_ABANDONED 0x08u /* answered without the host: free when the next one is there */

/**
 * struct au_chan_slot - one request.
 * @handle: of the request in it; AU_CHAN_FREE when there is none.
 * @io: the application's.
 * @started, @done: how far earlier generations had come.
 * @state: AU_SLOT_*.
 * @crashes: hosts that died by their own fault while the driver owned it.
 * @deadline_ms: when it expires, 0 for never.
 */
struct au_chan_slot {
	uint64_t handle;
	struct au_io *io;
	uint32_t started;
	uint32_t done;
	uint32_t state;
	uint32_t crashes;
	uint64_t deadline_ms;
};

/**
 * struct au_chan_link - the way to one host.
 * @rings: the mapped memory, laid out for the channel's depth.
 * @pool: depth times buffer_size bytes; the same at every attach.
 * @doorbell: the socket.
 * @generation: of the host.
 * @fault: the host before it died by its driver's own fault.
 */
struct au_chan_link {
	void *rings;
	void *pool;
	int doorbell;
	uint32_t generation;
	bool fault;
};

/** struct au_chan_stats - what went wrong, and was put up with. */
struct au_chan_stats {
	uint64_t stale;	    /* completions of no outstanding request */
	uint64_t replayed;  /* requests sent again */
	uint64_t poisoned;  /* requests that killed a host alone */
	uint64_t abandoned; /* requests answered without a host */
	uint64_t broken;    /* hosts that broke the rules */
	uint64_t foreign;   /* events of another generation, or that a host cannot send */
};

struct au_chan {
	/* of each request */
	struct au_ring_producer submit;
	struct au_ring_consumer complete;
	struct au_chan_slot *slots;
	uint16_t *free;
	unsigned char *pool;
	uint64_t handle; /* of the last request, slot left out */
	uint32_t free_count;
	uint32_t depth;
	uint32_t buffer_size;
	uint32_t generation;
	bool up; /* there is a host, and it keeps the rules */
	bool armed;
	const struct au_direction *direction;
	/* called around done(); NULL: the handle is one thread's */
	void (*unlock)(void *arg);
	void (*lock)(void *arg);
	void *lock_arg;
	/* the host broke the rules; called from within anything. Optional */
	void (*broken)(void *arg);
	void *broken_arg;
	/* now and then */
	struct au_ring_producer control;
	struct au_ring_consumer event;
	struct au_event_queue events;
	const struct auf_progress *progress;
	int doorbell;
	bool event_new;		/* came after the last au_chan_event_seen() */
	uint32_t events_popped; /* since the host was last told that there is room */
	uint32_t cancels;	/* that the host has to be told */
	unsigned int late;	/* completions that the next au_chan_poll() returns */
	struct au_wire_layout layout;
	struct au_chan_stats stats;
	void *idle; /* rings that stay empty, for when there are no others */
};

/**
 * au_chan_create - make the client's end, without a host.
 * @depth: a power of two, at most AU_WIRE_DEPTH_MAX.
 * @buffer_size: a multiple of 64, at most AU_WIRE_BUFFER_MAX.
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
int au_chan_create(uint32_t depth, uint32_t buffer_size, struct au_chan **chan);

/** au_chan_destroy - free it; outstanding requests are forgotten. */
void au_chan_destroy(struct au_chan *chan);

/** au_chan_set_class - say what the operations are, before the first submit. */
void au_chan_set_class(struct au_chan *chan, const char *cls);

/**
 * au_chan_attach - attach to a host, the first or a new one.
 *
 * What the host before had completed is completed first, from its rings, which must still be
 * mapped: they are not used any more when this returns. A request that killed that host alone
 * completes with -EIO. All others are sent again in their order, with what is known about how far
 * they had come; then those that were submitted in between. Calls done().
 */
void au_chan_attach(struct au_chan *chan, const struct au_chan_link *link);

/** au_chan_down - the host has died: what it had completed can still be polled, the rest waits. */
void au_chan_down(struct au_chan *chan);

/**
 * au_chan_fail - complete everything outstanding with @status, for good: there will be no host.
 * Calls done().
 */
void au_chan_fail(struct au_chan *chan, int status);

/** au_chan_forget - complete nothing any more: nobody waits for it. */
void au_chan_forget(struct au_chan *chan);

/** au_chan_outstanding - requests that are not complete. */
uint32_t au_chan_outstanding(const struct au_chan *chan);

/**
 * au_chan_poll - complete what is done, and take events.
 * @max: at most so many; 0: at most as many as the channel is deep.
 *
 * Return: how many were completed. Calls done().
 */
unsigned int au_chan_poll(struct au_chan *chan, unsigned int max);

/**
 * au_chan_tick - now and then while there is no host: answer what has expired, or was cancelled,
 * longer than AU_CHAN_GRACE_MS ago. Calls done(); counted by the next au_chan_poll().
 */
void au_chan_tick(struct au_chan *chan);

/** au_chan_cancel - see au_cancel(). */
int au_chan_cancel(struct au_chan *chan, struct au_io *io);

/** au_chan_arm - before sleeping on the doorbell. Return: true when nothing is pending. */
bool au_chan_arm(struct au_chan *chan);

/** au_chan_disarm - after sleeping. Does not drain the doorbell. */
void au_chan_disarm(struct au_chan *chan);

/** au_chan_event - an event of the library's own. */
void au_chan_event(struct au_chan *chan, uint16_t kind, uint64_t arg0);

/** au_chan_event_next - take the oldest event. */
bool au_chan_event_next(struct au_chan *chan, struct au_event *event);

/** au_chan_event_seen - whether an event came since this was last asked. */
bool au_chan_event_seen(struct au_chan *chan);

/* The slow halves of the functions below. */
void au_chan_copy_in(struct au_chan *chan, const struct au_io *io, uint32_t slot);
void au_chan_broken(struct au_chan *chan);
void au_chan_set_deadline(struct au_chan_slot *s, uint32_t timeout_ms);
void au_chan_tell_cancels(struct au_chan *chan);

/** au_chan_flush - publish what was submitted. */
static inline void au_chan_flush(struct au_chan *c)
{
	if (AU_RING_UNLIKELY(c->cancels != 0))
		au_chan_tell_cancels(c);
	if (au_ring64_flush(&c->submit))
		au_doorbell_ring(c->doorbell);
}

/* Write the entry of slot @s; false when the host left no room, and is given up. */
static inline bool au_chan_push(struct au_chan *c, struct au_chan_slot *s, uint16_t flags,
				uint32_t timeout_ms)
{
	struct au_wire_submit *e = au_ring64_push(&c->submit);
	const struct au_io *io = s->io;

	if (AU_RING_UNLIKELY(!e))
		return false;
	e->handle = s->handle;
	e->offset = (uint64_t)AU_HANDLE_SLOT(s->handle) * c->buffer_size;
	e->arg[0] = io->arg[0];
	e->arg[1] = io->arg[1];
	e->length = io->length;
	e->op = io->op;
	e->flags = flags;
	e->timeout_ms = timeout_ms;
	e->generation = c->generation;
	e->started = s->started;
	e->done = s->done;
	return true;
}

/**
 * au_chan_submit - see au_submit().
 */
static inline int au_chan_submit(struct au_chan *c, struct au_io *io)
{
	struct au_chan_slot *s;
	uint32_t slot;

	if (AU_RING_UNLIKELY(c->free_count == 0))
		return -EAGAIN;
	if (AU_RING_UNLIKELY(io->length != 0)) {
		if (io->length > c->buffer_size)
			return -EMSGSIZE;
		if (!io->data)
			return -EINVAL;
		au_chan_copy_in(c, io, c->free[c->free_count - 1]);
	}
	slot = c->free[--c->free_count];
	s = &c->slots[slot];
	c->handle += AU_HANDLE_MAKE(1, 0);
	s->handle = c->handle | slot;
	s->io = io;
	s->started = 0;
	s->done = 0;
	s->state = 0;
	s->crashes = 0;
	io->handle_ = s->handle;
	io->status = -EINPROGRESS;
	s->deadline_ms = 0;
	if (AU_RING_UNLIKELY(io->timeout_ms != 0))
		au_chan_set_deadline(s, io->timeout_ms);
	if (AU_RING_UNLIKELY(!c->up))
		return 0;
	if (AU_RING_UNLIKELY(!au_chan_push(c, s, 0, io->timeout_ms))) {
		au_chan_broken(c);
		return 0;
	}
	s->state = AU_SLOT_SENT;
	if ((c->submit.tail & (AU_CHAN_BATCH - 1)) == 0)
		au_chan_flush(c);
	return 0;
}

#endif
