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

/* au_chan_slot.state: 0 for a request of which there is nothing more to know */
#define AU_SLOT_UNSENT	  0x01u /* no host has seen it */
#define AU_SLOT_REPLAYED  0x02u /* an earlier host has */
#define AU_SLOT_TIMED	  0x04u /* it has a deadline */
#define AU_SLOT_CANCEL	  0x08u /* the application wants it cancelled */
#define AU_SLOT_TOLD	  0x10u /* ... and this generation's host was told */
#define AU_SLOT_ABANDONED 0x20u /* answered without the host: free when the next one is there */

/**
 * enum au_chan_recovery - what becomes of requests that were outstanding when their host died.
 * @AU_CHAN_REISSUE: the next one gets them.
 * @AU_CHAN_ABORT: those that the driver had end with -EOWNERDEAD; the next one gets the others.
 * @AU_CHAN_FAIL: all of them end with -EIO, and so do those that come while there is no host.
 */
enum au_chan_recovery { AU_CHAN_REISSUE, AU_CHAN_ABORT, AU_CHAN_FAIL };

/**
 * struct au_chan_slot - one request.
 * @handle: of the request in it; AU_CHAN_FREE when there is none.
 * @io: the application's.
 * @next: of a free slot, in the list of them.
 * @index: which one it is.
 * @offset: where its data are in the pool.
 * @state: AU_SLOT_*. The members that follow are 0 unless it says otherwise.
 * @crashes: hosts that died by their own fault while the driver owned it.
 * @started, @done: how far earlier generations had come.
 * @deadline_ms: when it expires.
 */
struct au_chan_slot {
	uint64_t handle;
	union {
		struct au_io *io;
		struct au_chan_slot *next;
	};
	uint64_t index;
	uint64_t offset;
	uint32_t state;
	uint32_t crashes;
	uint32_t started;
	uint32_t done;
	uint64_t deadline_ms;
	uint64_t unused;
};
_Static_assert(sizeof(struct au_chan_slot) == 64, "found by a shift, in one cache line");

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
	uint64_t given_up;  /* requests that were not sent again */
	uint64_t broken;    /* hosts that broke the rules */
	uint64_t foreign;   /* events of another generation, or that a host cannot send */
};

struct au_chan {
	/* of each request */
	struct au_ring_producer submit;
	struct au_ring_consumer complete;
	struct au_chan_slot *slots;
	struct au_chan_slot *free;
	uint64_t handle; /* of the last request, slot left out */
	uint64_t when;	 /* generation, as it stands in an entry beside a time-out of 0 */
	uint32_t depth;
	uint32_t cancels; /* that the host has to be told */
	int doorbell;
	bool up; /* there is a host, and it keeps the rules; otherwise the submit ring is full */
	uint32_t buffer_size;
	uint32_t generation;
	bool claimed;	  /* the pool is the application's: see au_buffers() */
	bool bounce_used; /* ... but for its last place, for data that are elsewhere */
	unsigned char *pool;
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
	bool event_new; /* came after the last au_chan_event_seen() */
	bool gone_told; /* AU_EVENT_GONE, since the last attach */
	enum au_chan_recovery recovery;
	uint32_t events_popped; /* since the host was last told that there is room */
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

/** au_chan_free_slots - how many requests can be submitted now. */
uint32_t au_chan_free_slots(const struct au_chan *chan);

/** au_chan_set_class - say what the operations are, before the first submit. */
void au_chan_set_class(struct au_chan *chan, const char *cls);

/**
 * au_chan_attach - attach to a host, the first or a new one.
 *
 * What the host before had completed is completed first, from its rings, which must still be
 * mapped: they are not used any more when this returns. A request that killed that host alone
 * completes with -EIO, and one that must not be done twice, and that its driver had, with
 * -EOWNERDEAD. All others are sent again in their order, if @recovery does not say otherwise, with
 * what is known about how far they had come; then those that were submitted in between. Calls
 * done().
 */
void au_chan_attach(struct au_chan *chan, const struct au_chan_link *link);

/** au_chan_down - the host has died: what it had completed can still be polled, the rest waits. */
void au_chan_down(struct au_chan *chan);

/**
 * au_chan_lost - after au_chan_down(), when the host is dead for certain: what is not sent again
 * ends now. What lies in memory of the application's that the device may still reach does when the
 * next host attaches. Calls done(); counted by the next au_chan_poll().
 */
void au_chan_lost(struct au_chan *chan);

/**
 * au_chan_fail - complete everything outstanding with @status, for good: there will be no host.
 * Calls done().
 */
void au_chan_fail(struct au_chan *chan, int status);

/**
 * au_chan_gone - the device was pulled out: complete everything outstanding with -ENODEV, let go of
 * the host's rings, and begin anew with the next au_chan_attach(). Calls done().
 */
void au_chan_gone(struct au_chan *chan);

/** au_chan_tell_gone - AU_EVENT_GONE, unless the host has told it. @reason: enum au_gone. */
void au_chan_tell_gone(struct au_chan *chan, uint64_t reason);

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
 * longer than AU_CHAN_GRACE_MS ago, and with AU_CHAN_FAIL what came meanwhile. Calls done();
 * counted by the next au_chan_poll().
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
int au_chan_submit_more(struct au_chan *chan, struct au_io *io);
void au_chan_tell_cancels(struct au_chan *chan);
int au_chan_batch_full(struct au_chan *chan);

/** au_chan_flush - the end of a batch: wakes the host if it sleeps. */
static inline void au_chan_flush(struct au_chan *c)
{
	if (AU_RING_UNLIKELY(c->cancels != 0))
		au_chan_tell_cancels(c);
	if (au_ring_flush(&c->submit)) {
		AU_FAILPOINT_HOT(submit_flushed);
		au_doorbell_ring(c->doorbell);
	}
}

/*
 * Put a request into the ring, which has room. @what: operation, flags and length; @when: time-out
 * and generation; @past: started and done: each as it stands in an entry.
 */
static inline void au_chan_send_(struct au_chan *c, const struct au_chan_slot *s, uint64_t what,
				 uint64_t when, uint64_t past)
{
	struct au_wire_submit *e = au_ring64_next_free(&c->submit);

	e->handle = s->handle;
	e->offset = s->offset;
	e->arg[0] = s->io->arg[0];
	e->arg[1] = s->io->arg[1];
	memcpy(&e->op, &what, sizeof(what));
	memcpy(&e->timeout_ms, &when, sizeof(when));
	memcpy(&e->started, &past, sizeof(past));
	AU_FAILPOINT_HOT(submit_filled);
	au_ring64_publish(&c->submit, e);
	AU_FAILPOINT_HOT(submit_published);
}

/* Give the next free slot to a request. */
static inline struct au_chan_slot *au_chan_take_(struct au_chan *c, struct au_io *io)
{
	struct au_chan_slot *s = c->free;

	c->free = s->next;
	c->handle += AU_HANDLE_MAKE(1, 0);
	s->io = io;
	s->handle = io->handle_ = c->handle | s->index;
	io->status = -EINPROGRESS;
	return s;
}

/** au_chan_claim - the pool becomes the application's. Return: the bytes of it that are; 0: there
 * are requests outstanding. */
size_t au_chan_claim(struct au_chan *chan);

/** au_chan_simple - a request without data, time-out and flags, and there is room and a host. */
static inline bool au_chan_simple(const struct au_chan *c, const struct au_io *io)
{
	return !((io->length | io->timeout_ms | io->flags) != 0 ||
		 c->submit.tail == c->submit.limit || !c->free);
}

/** au_chan_submit_simple - submit a request that is. Return: 0. */
static inline int au_chan_submit_simple(struct au_chan *c, struct au_io *io)
{
	au_chan_send_(c, au_chan_take_(c, io), io->op, c->when, 0);
	if (AU_RING_UNLIKELY((c->submit.tail & (AU_CHAN_BATCH - 1)) == 0))
		return au_chan_batch_full(c);
	return 0;
}

/** au_chan_submit - see au_submit(). */
static inline int au_chan_submit(struct au_chan *c, struct au_io *io)
{
	return AU_RING_LIKELY(au_chan_simple(c, io)) ? au_chan_submit_simple(c, io)
						     : au_chan_submit_more(c, io);
}

#endif
