/* SPDX-License-Identifier: MIT */
#include "channel/client_end.h"

#include <stdlib.h>
#include <time.h>

#include "framework/framework.h"

/* Events of the library's own always find room. */
#define CHAN_EVENT_RESERVE 8u

/* The clock is only for time-outs in milliseconds, and for the time without a host. */
static uint64_t chan_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* No host takes requests: a submit ring that is full for ever makes each submit look twice. */
static void chan_close_submit(struct au_chan *c)
{
	c->up = false;
	au_ring64_producer_init(&c->submit, c->idle, 2);
	c->submit.tail = c->submit.flushed = c->submit.limit;
}

/* Point all rings at memory that nobody writes to. */
static void chan_idle(struct au_chan *c)
{
	unsigned char *mem = c->idle;

	memset(mem, 0, 4 * 256);
	chan_close_submit(c);
	au_ring16_consumer_init(&c->complete, mem + 256, 2);
	au_ring64_producer_init(&c->control, mem + 512, 2);
	au_ring64_consumer_init(&c->event, mem + 768, 2);
	c->doorbell = -1;
}

int au_chan_create(uint32_t depth, uint32_t buffer_size, struct au_chan **chan)
{
	struct au_wire_layout layout;
	struct au_chan *c;

	if (au_wire_layout(depth, &layout) != 0 || buffer_size % 64 != 0 ||
	    buffer_size > AU_WIRE_BUFFER_MAX)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->layout = layout;
	c->depth = depth;
	c->buffer_size = buffer_size;
	c->slots = aligned_alloc(AU_RING_LINE, depth * sizeof(*c->slots));
	c->idle = aligned_alloc(AU_RING_LINE, 4 * 256);
	if (!c->slots || !c->idle) {
		au_chan_destroy(c);
		return -ENOMEM;
	}
	for (uint32_t i = depth; i-- > 0;) {
		c->slots[i] = (struct au_chan_slot){ .handle = AU_CHAN_FREE,
						     .next = c->free,
						     .index = i,
						     .offset = (uint64_t)i * buffer_size };
		c->free = &c->slots[i];
	}
	au_chan_set_class(c, "raw");
	chan_idle(c);
	*chan = c;
	return 0;
}

void au_chan_destroy(struct au_chan *chan)
{
	if (!chan)
		return;
	free(chan->slots);
	free(chan->idle);
	free(chan);
}

void au_chan_set_class(struct au_chan *chan, const char *cls)
{
	chan->direction = au_direction_of_class(cls);
}

uint32_t au_chan_outstanding(const struct au_chan *chan)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < chan->depth; i++)
		count += chan->slots[i].handle != AU_CHAN_FREE;
	return count;
}

uint32_t au_chan_free_slots(const struct au_chan *chan)
{
	uint32_t count = 0;

	for (const struct au_chan_slot *s = chan->free; s; s = s->next)
		count++;
	return count;
}

/* The host broke the rules: nothing more of it is looked at. */
static void chan_broken(struct au_chan *c)
{
	if (!c->up)
		return;
	c->stats.broken++;
	chan_idle(c);
	if (c->broken)
		c->broken(c->broken_arg);
}

/* ---------------------------------------------------------------- requests */

static void chan_copy_in(struct au_chan *c, const struct au_chan_slot *s, const struct au_io *io)
{
	if (au_direction(c->direction, io->op) & AU_DATA_IN)
		memcpy(c->pool + s->offset, io->data, io->length);
}

static uint64_t chan_bounce(const struct au_chan *c)
{
	return (uint64_t)(c->depth - 1) * c->buffer_size;
}

/* Whether the data of @io lie in the pool, where the application has put them. */
static bool chan_in_pool(const struct au_chan *c, const struct au_io *io)
{
	size_t at = (size_t)((unsigned char *)io->data - c->pool);

	return at % 64 == 0 && at < chan_bounce(c) && io->length <= chan_bounce(c) - at;
}

/* Where the data of a request are, in a pool that is the application's. */
static void chan_place(struct au_chan *c, struct au_chan_slot *s, const struct au_io *io)
{
	if (chan_in_pool(c, io)) {
		s->offset = (uint64_t)((unsigned char *)io->data - c->pool);
		return;
	}
	s->offset = chan_bounce(c);
	c->bounce_used = true;
	chan_copy_in(c, s, io);
}

/* Whether the data of the request in @s are the application's own: nothing is copied. */
static bool chan_placed(const struct au_chan *c, const struct au_chan_slot *s)
{
	return c->claimed && s->offset != chan_bounce(c);
}

static void chan_unplace(struct au_chan *c, const struct au_chan_slot *s)
{
	if (c->claimed && s->io->length != 0 && s->offset == chan_bounce(c))
		c->bounce_used = false;
}

size_t au_chan_claim(struct au_chan *chan)
{
	if (chan->depth < 2 || (!chan->claimed && au_chan_outstanding(chan) != 0))
		return 0;
	chan->claimed = true;
	return chan_bounce(chan);
}

int au_chan_submit_more(struct au_chan *chan, struct au_io *io)
{
	struct au_chan_slot *s;

	if (!chan->free)
		return -EAGAIN;
	if (io->length > chan->buffer_size)
		return -EMSGSIZE;
	if ((io->flags & ~chan->direction->flags) != 0 || (io->length != 0 && !io->data))
		return -EINVAL;
	if (chan->claimed && io->length != 0 && chan->bounce_used && !chan_in_pool(chan, io))
		return -EAGAIN;
	s = au_chan_take_(chan, io);
	if (io->length != 0 && chan->claimed)
		chan_place(chan, s, io);
	else if (io->length != 0 && chan->pool)
		chan_copy_in(chan, s, io);
	if (io->timeout_ms != 0) {
		s->state = AU_SLOT_TIMED;
		s->deadline_ms = chan_now_ms() + io->timeout_ms;
	}
	if (!au_ring_room(&chan->submit)) {
		s->state |= AU_SLOT_UNSENT;
		/* A host that keeps the rules always leaves room, see au_wire_layout(). */
		chan_broken(chan);
		return 0;
	}
	au_chan_send_(chan, s, io->op | (uint32_t)io->flags << 16 | (uint64_t)io->length << 32,
		      chan->when | io->timeout_ms, 0);
	return (chan->submit.tail & (AU_CHAN_BATCH - 1)) == 0 ? au_chan_batch_full(chan) : 0;
}

int au_chan_batch_full(struct au_chan *chan)
{
	au_chan_flush(chan);
	return 0;
}

static void chan_copy_out(struct au_chan *c, struct au_io *io, const struct au_chan_slot *s)
{
	uint8_t direction = au_direction(c->direction, io->op);
	uint32_t count = io->result;

	if (direction & AU_DATA_ALL)
		count = io->status == 0 ? io->length : 0;
	if (count > io->length)
		count = io->length;
	if (direction & AU_DATA_BYTES)
		io->result = count;
	if ((direction & AU_DATA_OUT) && !chan_placed(c, s))
		memcpy(io->data, c->pool + s->offset, count);
	chan_unplace(c, s);
}

static inline void chan_free_slot(struct au_chan *c, struct au_chan_slot *s)
{
	s->handle = AU_CHAN_FREE;
	s->next = c->free;
	c->free = s;
}

/* Forget what is out of the ordinary about a request. */
static void __attribute__((noinline)) chan_reset_slot(struct au_chan *c, struct au_chan_slot *s)
{
	if ((s->state & (AU_SLOT_CANCEL | AU_SLOT_TOLD)) == AU_SLOT_CANCEL)
		c->cancels--;
	s->state = 0;
	s->crashes = 0;
	s->started = 0;
	s->done = 0;
	s->deadline_ms = 0;
}

static void __attribute__((noinline)) chan_done_unlocked(struct au_chan *c, struct au_io *io)
{
	c->unlock(c->lock_arg);
	io->done(io);
	c->lock(c->lock_arg);
}

static inline void chan_done(struct au_chan *c, struct au_io *io)
{
	if (!io->done)
		return;
	if (AU_RING_UNLIKELY(c->unlock != NULL))
		chan_done_unlocked(c, io);
	else
		io->done(io);
}

/* Complete what is in a slot without a word from the host. */
static void chan_complete_here(struct au_chan *c, struct au_chan_slot *s, int status, bool reuse)
{
	struct au_io *io = s->io;

	io->status = status;
	io->result = 0;
	io->device_status = 0;
	chan_unplace(c, s);
	chan_reset_slot(c, s);
	if (reuse) {
		chan_free_slot(c, s);
	} else {
		s->handle = AU_CHAN_FREE;
		s->io = NULL;
		s->state = AU_SLOT_ABANDONED;
		c->stats.abandoned++;
	}
	c->late++;
	chan_done(c, io);
}

/* Take at most @max completions, and give the entries back. */
static unsigned int chan_reap(struct au_chan *c, unsigned int max)
{
	struct au_ring_completion done;
	unsigned int popped = 0, stale = 0;

	/* The caller may be a done() that another reap is calling: see au_wire_entries(). */
	au_ring_release(&c->complete);
	for (; popped < max && au_ring16_pop(&c->complete, &done); popped++) {
		uint32_t slot = AU_HANDLE_SLOT(done.handle);
		struct au_chan_slot *s;
		struct au_io *io;

		if (AU_RING_UNLIKELY(slot >= c->depth || c->slots[slot].handle != done.handle)) {
			stale++;
			continue;
		}
		s = &c->slots[slot];
		AU_FAILPOINT_HOT(reap_taken);
		io = s->io;
		io->status = -(int)done.err;
		io->result = done.result;
		io->device_status = done.status;
		if (AU_RING_UNLIKELY(io->length != 0))
			chan_copy_out(c, io, s);
		AU_FAILPOINT_HOT(reap_copied);
		if (AU_RING_UNLIKELY(s->state != 0))
			chan_reset_slot(c, s);
		chan_free_slot(c, s);
		chan_done(c, io);
	}
	au_ring_release(&c->complete);
	AU_FAILPOINT_HOT(reap_released);
	c->stats.stale += stale;
	return popped - stale;
}

/* ------------------------------------------------------------------ events */

/* Take at most @max; those for which there is no place are counted. Returns how many came. */
static uint32_t chan_pop_events(struct au_chan *c, uint32_t max)
{
	struct au_wire_event e;
	uint32_t popped = 0;

	for (; popped < max && au_ring64_pop(&c->event, &e); popped++) {
		const struct au_event event = { .kind = e.kind,
						.flags = e.flags,
						.count = e.count,
						.arg = { e.arg[0], e.arg[1] } };

		if (e.generation != c->generation || e.kind == AU_EVENT_DOWN ||
		    e.kind == AU_EVENT_RESTARTED || e.kind == AU_EVENT_BACK ||
		    (e.kind == AU_EVENT_GONE && c->gone_told)) {
			c->stats.foreign++;
			continue;
		}
		c->gone_told |= e.kind == AU_EVENT_GONE;
		au_event_queue_put_keeping(&c->events, &event, CHAN_EVENT_RESERVE);
		c->event_new = true;
	}
	return popped;
}

static void chan_take_events(struct au_chan *c)
{
	uint32_t popped = 0;

	/* What has no place yet stays in the ring. */
	while (au_event_queue_room(&c->events) > CHAN_EVENT_RESERVE &&
	       popped < AU_WIRE_EVENT_ENTRIES && chan_pop_events(c, 1) != 0)
		popped++;
	if (popped == 0)
		return;
	au_ring_release(&c->event);
	/*
	 * A host that found its ring full has no other way to learn that there is room. It did
	 * after a whole ring of events; half of one is never too late to tell.
	 */
	c->events_popped += popped;
	if (c->events_popped >= AU_WIRE_EVENT_ENTRIES / 2) {
		c->events_popped = 0;
		if (c->up)
			au_doorbell_ring(c->doorbell);
	}
}

/* The last look into the ring of a host that has gone: what has no place is lost, and that is told.
 */
static void chan_take_last_events(struct au_chan *c)
{
	/* A ring that is full may not have been all that there was to say. */
	if (chan_pop_events(c, AU_WIRE_EVENT_ENTRIES) == AU_WIRE_EVENT_ENTRIES)
		au_event_queue_lost(&c->events, 1);
}

void au_chan_event(struct au_chan *chan, uint16_t kind, uint64_t arg0)
{
	au_event_queue_put(&chan->events,
			   &(struct au_event){ .kind = kind, .count = 1, .arg = { arg0 } });
	chan->event_new = true;
}

void au_chan_tell_gone(struct au_chan *chan, uint64_t reason)
{
	if (!chan->gone_told)
		au_chan_event(chan, AU_EVENT_GONE, reason);
	chan->gone_told = true;
}

bool au_chan_event_next(struct au_chan *chan, struct au_event *event)
{
	if (au_ring64_ready(&chan->event))
		chan_take_events(chan);
	return au_event_queue_get(&chan->events, event);
}

bool au_chan_event_seen(struct au_chan *chan)
{
	bool seen = chan->event_new;

	chan->event_new = false;
	return seen;
}

/* ------------------------------------------------------------ cancellation */

static int chan_tell(struct au_chan *c, uint32_t kind, uint64_t handle)
{
	struct au_wire_control *e = au_ring64_push(&c->control);

	if (!e)
		return au_ring_error(&c->control);
	memset(e, 0, offsetof(struct au_wire_control, seq));
	e->handle = handle;
	e->kind = kind;
	e->generation = c->generation;
	au_ring64_publish(&c->control, e);
	AU_FAILPOINT(cancel_told);
	return 0;
}

static void chan_flush_control(struct au_chan *c)
{
	if (au_ring_flush(&c->control))
		au_doorbell_ring(c->doorbell);
}

void au_chan_tell_cancels(struct au_chan *chan)
{
	if (!chan->up)
		return;
	for (uint32_t i = 0; i < chan->depth && chan->cancels > 0; i++) {
		struct au_chan_slot *s = &chan->slots[i];
		int err;

		if ((s->state & (AU_SLOT_CANCEL | AU_SLOT_TOLD)) != AU_SLOT_CANCEL ||
		    s->handle == AU_CHAN_FREE)
			continue;
		err = chan_tell(chan, AU_WIRE_CANCEL, s->handle);
		if (err == -EPROTO) {
			chan_broken(chan);
			return;
		}
		if (err != 0)
			break; /* the ring is full: with the next flush */
		s->state |= AU_SLOT_TOLD;
		chan->cancels--;
	}
	chan_flush_control(chan);
}

int au_chan_cancel(struct au_chan *chan, struct au_io *io)
{
	uint32_t slot = AU_HANDLE_SLOT(io->handle_);
	struct au_chan_slot *s;

	if (slot >= chan->depth)
		return -ESRCH;
	s = &chan->slots[slot];
	if (s->handle != io->handle_ || s->io != io)
		return -ESRCH;
	if (s->state & AU_SLOT_CANCEL)
		return 0;
	s->state |= AU_SLOT_CANCEL;
	chan->cancels++;
	if (chan->up && chan_tell(chan, AU_WIRE_CANCEL, s->handle) == 0) {
		s->state |= AU_SLOT_TOLD;
		chan->cancels--;
		chan_flush_control(chan);
	}
	/* What could not be told now is told with a later flush. */
	au_chan_flush(chan);
	return 0;
}

/* --------------------------------------------------- hosts come and hosts go */

void au_chan_down(struct au_chan *chan)
{
	/* It may have said that its device has gone. */
	chan_take_last_events(chan);
	chan_close_submit(chan);
}

/* What the old host's progress words say about @s; they are read once. */
static uint32_t chan_read_progress(const struct au_chan *c, struct au_chan_slot *s)
{
	const struct auf_progress *p;

	if (!c->progress || (s->state & AU_SLOT_UNSENT))
		return 0;
	p = &c->progress[s->index];
	/* Another request's words, of an earlier use of the slot. */
	if (atomic_load_explicit(&p->tag, memory_order_acquire) != (uint32_t)(s->handle >> 16))
		return 0;
	s->started = atomic_load_explicit(&p->started, memory_order_relaxed);
	s->done = atomic_load_explicit(&p->done, memory_order_relaxed);
	return atomic_load_explicit(&p->flags, memory_order_relaxed);
}

static int chan_compare(const void *a, const void *b)
{
	const struct au_chan_slot *const *x = a, *const *y = b;

	return (*x)->handle < (*y)->handle ? -1 : (*x)->handle > (*y)->handle;
}

/*
 * How a request ends that is not sent again; 0: it is. @flags: what the dead host's progress says.
 * What its driver has never had, nobody can have begun.
 */
static int chan_verdict(const struct au_chan *c, const struct au_chan_slot *s, uint32_t flags)
{
	bool once = au_direction(c->direction, s->io->op) & AU_DATA_ONCE;

	if (s->state & AU_SLOT_UNSENT)
		return 0;
	if (c->recovery == AU_CHAN_FAIL)
		return -EIO;
	return (flags & AUF_OWNED) && (once || c->recovery == AU_CHAN_ABORT) ? -EOWNERDEAD : 0;
}

void au_chan_lost(struct au_chan *chan)
{
	if (chan->recovery == AU_CHAN_REISSUE)
		return;
	chan->late += chan_reap(chan, chan->layout.entries);
	for (uint32_t i = 0; i < chan->depth; i++) {
		struct au_chan_slot *s = &chan->slots[i];
		int status;

		if (s->handle == AU_CHAN_FREE || (s->io->length != 0 && chan_placed(chan, s)))
			continue;
		status = chan_verdict(chan, s, chan_read_progress(chan, s));
		if (!status)
			continue;
		chan->stats.given_up++;
		chan_complete_here(chan, s, status, true);
	}
}

/*
 * Decide about each outstanding request: free what was answered without a host, end what killed
 * the host alone or is not sent again, and list the others in the order of their submission.
 */
static uint32_t chan_sort_out(struct au_chan *c, bool fault, struct au_chan_slot **list)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < c->depth; i++) {
		struct au_chan_slot *s = &c->slots[i];
		uint32_t flags;
		int status;

		if (s->handle == AU_CHAN_FREE) {
			if (s->state & AU_SLOT_ABANDONED) {
				s->state = 0;
				chan_free_slot(c, s);
			}
			continue;
		}
		flags = chan_read_progress(c, s);
		if (fault && (flags & AUF_SOLO)) {
			c->stats.poisoned++;
			chan_complete_here(c, s, -EIO, true);
			continue;
		}
		status = chan_verdict(c, s, flags);
		if (status) {
			c->stats.given_up++;
			chan_complete_here(c, s, status, true);
			continue;
		}
		if (fault && (flags & AUF_OWNED))
			s->crashes++;
		if (!(s->state & AU_SLOT_UNSENT))
			s->state |= AU_SLOT_REPLAYED;
	}
	/* Only now: done() may have submitted more. */
	for (uint32_t i = 0; i < c->depth; i++) {
		if (c->slots[i].handle != AU_CHAN_FREE)
			list[count++] = &c->slots[i];
	}
	qsort(list, count, sizeof(*list), chan_compare);
	return count;
}

static void chan_open_rings(struct au_chan *c, const struct au_chan_link *link)
{
	unsigned char *mem = link->rings;

	au_ring64_producer_init(&c->submit, mem + c->layout.submit, c->layout.entries);
	au_ring16_consumer_init(&c->complete, mem + c->layout.complete, c->layout.entries);
	au_ring64_producer_init(&c->control, mem + c->layout.control, AU_WIRE_CONTROL_ENTRIES);
	au_ring64_consumer_init(&c->event, mem + c->layout.event, AU_WIRE_EVENT_ENTRIES);
	c->progress = (const void *)(mem + c->layout.progress);
	c->pool = link->pool;
	c->doorbell = link->doorbell;
	c->generation = link->generation;
	c->when = (uint64_t)link->generation << 32;
	c->events_popped = 0;
	c->gone_told = false;
	c->up = true;
}

/* Send one that is outstanding; the pool's content is renewed, since hosts could write to it. */
static bool chan_send_again(struct au_chan *c, struct au_chan_slot *s, uint64_t now_ms)
{
	const struct au_io *io = s->io;
	uint32_t timeout_ms = 0, flags = 0;

	if (io->length != 0 && !chan_placed(c, s))
		chan_copy_in(c, s, io);
	if (s->state & AU_SLOT_TIMED)
		timeout_ms = s->deadline_ms > now_ms ? (uint32_t)(s->deadline_ms - now_ms) : 1;
	if (s->state & AU_SLOT_REPLAYED)
		flags = s->crashes >= 2 ? AU_WIRE_REPLAY | AU_WIRE_SUSPECT : AU_WIRE_REPLAY;
	if (!au_ring_room(&c->submit)) {
		chan_broken(c);
		return false;
	}
	au_chan_send_(c, s, io->op | (flags | io->flags) << 16 | (uint64_t)io->length << 32,
		      c->when | timeout_ms, s->started | (uint64_t)s->done << 32);
	s->state &= ~AU_SLOT_UNSENT;
	c->stats.replayed += flags != 0;
	return true;
}

void au_chan_attach(struct au_chan *chan, const struct au_chan_link *link)
{
	struct au_chan_slot *list[AU_WIRE_DEPTH_MAX];
	uint64_t now_ms = chan_now_ms();
	bool first = chan->generation == 0;
	bool replayed = false;
	uint32_t count;

	chan_close_submit(chan);
	/* The old ring holds at most depth completions that are ours; the rest is not worth more.
	 */
	chan->late += chan_reap(chan, chan->layout.entries);
	chan_take_last_events(chan);
	AU_FAILPOINT(attach_reaped);
	count = chan_sort_out(chan, link->fault, list);
	AU_FAILPOINT(attach_sorted);
	chan_open_rings(chan, link);
	AU_FAILPOINT(attach_opened);
	chan->cancels = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (list[i]->state & AU_SLOT_CANCEL) {
			list[i]->state &= ~AU_SLOT_TOLD;
			chan->cancels++;
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		/* In the order of submission, so those that no host has seen come last. */
		if ((list[i]->state & AU_SLOT_UNSENT) && !replayed && !first) {
			chan_tell(chan, AU_WIRE_REPLAYED, 0);
			replayed = true;
		}
		if (!chan_send_again(chan, list[i], now_ms))
			return;
		AU_FAILPOINT(attach_sent);
	}
	if (!replayed && !first)
		chan_tell(chan, AU_WIRE_REPLAYED, 0);
	AU_FAILPOINT(attach_told);
	chan_flush_control(chan);
	au_chan_flush(chan);
	AU_FAILPOINT(attach_flushed);
}

void au_chan_fail(struct au_chan *chan, int status)
{
	chan_close_submit(chan);
	chan->late += chan_reap(chan, chan->layout.entries);
	chan_take_last_events(chan);
	for (uint32_t i = 0; i < chan->depth; i++) {
		if (chan->slots[i].handle != AU_CHAN_FREE)
			chan_complete_here(chan, &chan->slots[i], status, true);
	}
}

void au_chan_gone(struct au_chan *chan)
{
	au_chan_fail(chan, -ENODEV);
	/* Whatever its host still writes is nobody's. */
	chan_idle(chan);
	chan->progress = NULL;
	chan->generation = 0;
	chan->cancels = 0;
}

void au_chan_forget(struct au_chan *chan)
{
	chan_close_submit(chan);
	chan->late = 0;
	for (uint32_t i = 0; i < chan->depth; i++)
		chan->slots[i].handle = AU_CHAN_FREE;
}

void au_chan_tick(struct au_chan *chan)
{
	uint64_t now_ms = chan_now_ms();

	if (chan->up)
		return;
	for (uint32_t i = 0; i < chan->depth; i++) {
		struct au_chan_slot *s = &chan->slots[i];
		bool sent = !(s->state & AU_SLOT_UNSENT);
		uint64_t grace = sent ? AU_CHAN_GRACE_MS : 0;
		int status = s->state & AU_SLOT_CANCEL ? -ECANCELED : -ETIMEDOUT;

		if (s->handle == AU_CHAN_FREE)
			continue;
		if (!sent && chan->recovery == AU_CHAN_FAIL) {
			chan->stats.given_up++;
			chan_complete_here(chan, s, -EIO, true);
			continue;
		}
		/* A cancelled request expires where it stands. */
		if ((s->state & (AU_SLOT_CANCEL | AU_SLOT_TIMED)) == AU_SLOT_CANCEL) {
			s->state |= AU_SLOT_TIMED;
			s->deadline_ms = now_ms;
		}
		if ((s->state & AU_SLOT_TIMED) && now_ms >= s->deadline_ms + grace)
			chan_complete_here(chan, s, status, !sent);
	}
}

/* ----------------------------------------------------------------- polling */

unsigned int au_chan_poll(struct au_chan *chan, unsigned int max)
{
	unsigned int count;

	if (max == 0 || max > chan->depth)
		max = chan->depth;
	au_chan_flush(chan);
	count = chan_reap(chan, max);
	if (AU_RING_UNLIKELY(au_ring64_ready(&chan->event)))
		chan_take_events(chan);
	if (AU_RING_UNLIKELY(chan->late != 0)) {
		count += chan->late;
		chan->late = 0;
	}
	if (count != 0)
		au_chan_flush(chan);
	return count;
}

bool au_chan_arm(struct au_chan *chan)
{
	au_chan_flush(chan);
	if (chan->late != 0 || chan->event_new)
		return false;
	if (!au_ring16_arm(&chan->complete))
		return false;
	/* With no room for more events there is nothing to wake up for. */
	if (au_event_queue_room(&chan->events) > CHAN_EVENT_RESERVE &&
	    !au_ring64_arm(&chan->event)) {
		au_ring_disarm(&chan->complete);
		return false;
	}
	return true;
}

void au_chan_disarm(struct au_chan *chan)
{
	au_ring_disarm(&chan->complete);
	au_ring_disarm(&chan->event);
}
