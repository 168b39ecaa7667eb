/* SPDX-License-Identifier: MIT */
#include "channel/direction.h"
#include "channel/server_end.h"

#include <stdlib.h>

#include "auriga/auriga.h"
#include "channel/doorbell.h"
#include "channel/event_queue.h"
#include "channel/ring.h"
#include "channel/wire.h"
#include "framework/plain.h"

/* Polls in a row that found nothing, until the doorbell is asked whether the client still lives. */
#define SERVER_QUIET	16384u
#define SERVER_CONTROLS 32u

_Static_assert(sizeof(struct auf_progress) == 16, "as the layout has it");
_Static_assert(offsetof(struct auf_progress, done) == 4 &&
		       offsetof(struct au_wire_submit, done) ==
			       offsetof(struct au_wire_submit, started) + 4,
	       "started and done side by side, here and there");

/*
 * What comes out of the ring, and what goes into the framework: one private copy of an entry, in
 * which the few fields that differ are replaced.
 */
union server_request {
	struct au_wire_submit wire;
	struct auf_submit submit;
};
#define SERVER_SAME(a, b)                                                                      \
	_Static_assert(offsetof(struct au_wire_submit, a) == offsetof(struct auf_submit, b) && \
			       sizeof(((struct au_wire_submit *)0)->a) ==                      \
				       sizeof(((struct auf_submit *)0)->b),                    \
		       "a request goes in as it came")
SERVER_SAME(handle, tag);
SERVER_SAME(offset, data);
SERVER_SAME(arg, arg);
SERVER_SAME(op, op);
SERVER_SAME(flags, flags);
SERVER_SAME(length, length);
SERVER_SAME(timeout_ms, timeout_ms);
SERVER_SAME(started, started);
SERVER_SAME(done, done);
_Static_assert(offsetof(struct auf_submit, progress) >= sizeof(struct au_wire_submit),
	       "what is not on the wire comes after it");
AUF_WHAT_SAME(struct au_wire_submit);
_Static_assert(offsetof(struct au_wire_submit, generation) ==
		       offsetof(struct au_wire_submit, timeout_ms) + 4,
	       "compared in one go");

struct au_chan_server {
	struct auf_source source;
	/* of each request */
	struct au_ring_consumer submit;
	struct au_ring_producer complete;
	struct auf_handle *handle;
	struct auf_progress *progress;
	uint64_t *last; /* per slot: the last handle in it */
	unsigned char *pool;
	uint64_t pool_size;
	uint64_t when; /* the generation, as it stands in an entry beside a time-out of 0 */
	uint32_t depth;
	uint32_t turn;
	uint32_t buffer_size;
	uint32_t generation;
	uint16_t flags_known;
	uint16_t flags_passed; /* on to the driver */
	bool attention;	       /* something of the slow path */
	bool muted;
	bool idle; /* it has no request here, and is not awaited */
	uint32_t early_count;
	uint32_t quiet;
	/* now and then */
	struct au_ring_consumer control;
	struct au_ring_producer event;
	uint64_t *early; /* per slot: cancelled before it came; 0: none */
	bool gone;	 /* the client */
	bool replaying;	 /* and has not said that this is all */
	bool awaited;	 /* the gate waits for that */
	bool said;	 /* that this is all */
	bool stashed;
	union server_request stash; /* the first new request, while the gate is closed */
	int broken;
	const char *why;
	struct au_event_queue events;
	struct au_chan_server_stats stats;
	struct au_chan_server_config config;
};

/* -------------------------------------------------------------------- gate */

static void gate_one_less(struct au_chan_gate *gate)
{
	/* The last of them, on whichever lane it is. */
	if (atomic_load(&gate->waiting) == 0 || atomic_fetch_sub(&gate->waiting, 1) != 1)
		return;
	if (gate->closed && gate->replayed)
		gate->replayed(gate->context);
}

void au_chan_gate_skip(struct au_chan_gate *gate)
{
	gate_one_less(gate);
}

void au_chan_gate_open(struct au_chan_gate *gate)
{
	gate->closed = false;
	AU_FAILPOINT(gate_open);
}

static bool server_gate_closed(const struct au_chan_server *s)
{
	return s->config.gate && s->config.gate->closed;
}

/* That this was all, or that nothing will come. */
static void server_replayed(struct au_chan_server *s)
{
	bool awaited = s->awaited;

	s->replaying = s->awaited = false;
	AU_FAILPOINT(replay_all);
	if (awaited)
		gate_one_less(s->config.gate);
}

/* ---------------------------------------------------------------- busy, idle */

static void server_set_idle(struct au_chan_server *s, bool idle)
{
	if (s->idle == idle)
		return;
	s->idle = idle;
	if (s->config.busy)
		atomic_fetch_add_explicit(s->config.busy, idle ? -1 : 1, memory_order_relaxed);
	if (idle)
		AU_FAILPOINT(busy_cleared);
	else
		AU_FAILPOINT(busy_set);
}

/* At leisure, for it is looked at only if this host dies. */
static void server_look_idle(struct au_chan_server *s)
{
	if (!s->awaited && !s->stashed &&
	    (uint32_t)(s->stats.requests - s->stats.stale) == s->complete.tail)
		server_set_idle(s, true);
}

/* ------------------------------------------------------------ closing, ends */

/* Nothing is told the client any more; to completions the ring looks full. */
static void server_mute(struct au_chan_server *s)
{
	s->muted = true;
	s->complete.limit = s->complete.tail;
}

static void server_free(void *context)
{
	struct au_chan_server *s = context;
	void (*closed)(void *) = s->config.closed;
	void *closed_context = s->config.context;

	free(s->last);
	free(s->early);
	free(s);
	if (closed)
		closed(closed_context);
}

void au_chan_server_close(struct au_chan_server *server)
{
	struct au_chan_gate *gate = server->awaited ? server->config.gate : NULL;

	AU_FAILPOINT(close_begin);
	auf_lane_remove(server->config.lane, &server->source);
	/* What is muted has requests that will be replayed elsewhere. */
	if (!server->muted)
		server_set_idle(server, true);
	server_mute(server);
	AU_FAILPOINT(close_muted);
	server->replaying = server->awaited = false;
	auf_handle_close(server->handle, server_free, server);
	if (gate)
		gate_one_less(gate);
}

static void server_end(struct au_chan_server *s, int reason, const char *text)
{
	void (*ended)(void *, int, const char *) = s->config.ended;
	void *context = s->config.context;

	if (ended)
		ended(context, reason, text);
	au_chan_server_close(s);
}

/* Noted where the channel cannot be closed at once; the next poll does it. */
static void server_break(struct au_chan_server *s, const char *why)
{
	if (!s->broken)
		s->why = why;
	s->broken = -EPROTO;
	s->attention = true;
}

/* ------------------------------------------------- what the framework calls */

static void __attribute__((noinline))
server_complete_slowly(struct au_chan_server *s, int status, uint32_t result,
		       uint16_t device_status, uint64_t tag)
{
	if (!s->muted &&
	    au_ring16_push(&s->complete, tag, result, (uint16_t)-status, device_status) != 0)
		server_break(s, "completions are not taken from the ring");
}

static void server_complete(struct auf_handle *handle, int status, uint32_t result,
			    uint16_t device_status, uint32_t slot, uint64_t tag)
{
	struct au_chan_server *s = auf_handle_context(handle);

	AU_FAILPOINT_HOT(complete_begin);
	/* It has no room as far as is known, or is muted. */
	if (AU_RING_UNLIKELY(s->complete.tail == s->complete.limit))
		server_complete_slowly(s, status, result, device_status, tag);
	else
		au_ring16_put(&s->complete, tag, result, (uint16_t)-status, device_status);
	AU_FAILPOINT_HOT(complete_put);
}

static bool server_push_event(struct au_chan_server *s, const struct au_event *event)
{
	struct au_wire_event *e = au_ring64_push(&s->event);

	if (!e) {
		if (au_ring_error(&s->event) == -EPROTO)
			server_break(s, "the head of the event ring is impossible");
		return false;
	}
	memset(e, 0, offsetof(struct au_wire_event, seq));
	e->kind = event->kind;
	e->flags = event->flags;
	e->count = event->count;
	e->arg[0] = event->arg[0];
	e->arg[1] = event->arg[1];
	e->generation = s->generation;
	au_ring64_publish(&s->event, e);
	AU_FAILPOINT(event_put);
	return true;
}

static void server_event(struct auf_handle *handle, const struct au_event *event)
{
	struct au_chan_server *s = auf_handle_context(handle);
	uint32_t dropped = s->events.dropped;

	if (s->muted)
		return;
	s->stats.events++;
	/* The order is kept: past the queue only when there is none. */
	if (au_event_queue_empty(&s->events) && server_push_event(s, event))
		return;
	au_event_queue_put(&s->events, event);
	s->stats.events_dropped += s->events.dropped - dropped;
}

static void server_push_events(struct au_chan_server *s)
{
	struct au_event event;

	while (!au_event_queue_empty(&s->events)) {
		/* Taking an event out of the queue cannot be undone. */
		if (!au_ring_room(&s->event)) {
			if (au_ring_error(&s->event) == -EPROTO)
				server_break(s, "the head of the event ring is impossible");
			return;
		}
		if (au_event_queue_get(&s->events, &event))
			server_push_event(s, &event);
	}
}

/* Publish what is done: at most one doorbell, and none when the client is awake. */
static inline void server_flush(struct au_chan_server *s)
{
	bool wake = au_ring_flush(&s->complete);

	if (AU_RING_UNLIKELY(!au_event_queue_empty(&s->events)))
		server_push_events(s);
	wake |= au_ring_flush(&s->event);
	if (AU_RING_UNLIKELY(wake)) {
		AU_FAILPOINT_HOT(complete_flushed);
		au_doorbell_ring(s->source.fd);
	}
}

static void server_flush_now(struct auf_handle *handle)
{
	struct au_chan_server *s = auf_handle_context(handle);

	if (!s->muted)
		server_flush(s);
}

/* ---------------------------------------------------- what the client sends */

static bool server_refuse(struct au_chan_server *s, const char *why)
{
	server_break(s, why);
	return false;
}

/* A request with data or flags: what is wrong with it, or NULL. */
static const char *server_check(const struct au_chan_server *s, const struct au_wire_submit *e)
{
	if ((e->flags & ~s->flags_known) != 0)
		return "a request has flags that are not known here";
	if (e->length > s->buffer_size)
		return "a request is longer than a buffer";
	if (e->length != 0 && e->offset > s->pool_size - e->length)
		return "a request's data are not in the pool";
	if (e->length != 0 && e->offset % 64 != 0)
		return "a request's data are not aligned";
	return NULL;
}

static void server_early_cancel(struct au_chan_server *s, uint32_t slot)
{
	uint64_t handle = s->early[slot];

	if (handle == 0 || handle > s->last[slot])
		return;
	s->early[slot] = 0;
	s->early_count--;
	if (handle == s->last[slot])
		auf_cancel(s->handle, slot, handle);
}

/* The same for all that were taken in one go. */
static void __attribute__((noinline)) server_early_cancels(struct au_chan_server *s)
{
	for (uint32_t slot = 0; slot < s->depth && s->early_count != 0; slot++)
		server_early_cancel(s, slot);
}

/* Check one request, which is a private copy, and hand it in. False: the channel must end. */
static inline bool server_take(struct au_chan_server *s, union server_request *r)
{
	const struct au_wire_submit *e = &r->wire;
	uint32_t slot = AU_HANDLE_SLOT(e->handle);
	uint64_t offset = 0;
	bool suspect = false;
	struct auf_progress *p;
	int err;

	if (AU_RING_UNLIKELY(slot >= s->depth))
		return server_refuse(s, "a request names a slot that there is not");
	if (AU_RING_UNLIKELY((e->flags | e->length) != 0)) {
		const char *wrong = server_check(s, e);

		if (wrong)
			return server_refuse(s, wrong);
		suspect = (e->flags & AU_WIRE_SUSPECT) != 0;
		offset = e->length != 0 ? e->offset : 0;
		r->submit.flags = e->flags & s->flags_passed;
	}
	if (AU_RING_UNLIKELY(e->generation != s->generation)) {
		s->stats.stale++;
		return true;
	}
	s->last[slot] = e->handle;
	AU_FAILPOINT_HOT(take_seen);
	/* The tag last: until then the words are about the slot's request before. */
	p = &s->progress[slot];
	memcpy(p, &e->started, sizeof(p->started) + sizeof(p->done));
	atomic_store_explicit(&p->flags, 0, memory_order_relaxed);
	AU_FAILPOINT_HOT(take_progress);
	atomic_store_explicit(&p->tag, (uint32_t)(e->handle >> 16), memory_order_release);
	AU_FAILPOINT_HOT(take_tagged);
	r->submit.data = s->pool + offset;
	r->submit.suspect = suspect;
	r->submit.progress = p;
	err = auf_submit(s->handle, slot, &r->submit);
	AU_FAILPOINT_HOT(take_done);
	if (AU_RING_UNLIKELY(err != 0)) {
		if (err == -EBUSY)
			return server_refuse(s, "a request came in a slot that is still in use");
		server_complete(s->handle, err, 0, 0, slot, r->submit.tag);
	}
	if (AU_RING_UNLIKELY(s->early_count != 0))
		server_early_cancel(s, slot);
	return true;
}

/* A word of an entry, which the client can change meanwhile: it is read once. */
static inline uint64_t server_read(const void *word)
{
	return __atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED);
}

/*
 * Hand a plain request in from where it lies in the ring. False: nothing has happened, and whatever
 * is the matter with it server_take() finds out, on a copy.
 */
static inline bool server_take_plain(struct au_chan_server *s, const struct au_wire_submit *e)
{
	uint64_t handle = server_read(&e->handle), what = server_read(&e->op);
	uint64_t arg0 = server_read(&e->arg[0]), offset = 0;
	uint32_t slot = AU_HANDLE_SLOT(handle), length = AUF_WHAT_LENGTH(what);
	struct auf_request *r;

	if (AU_RING_UNLIKELY(server_read(&e->timeout_ms) != s->when))
		return false;
	if (length != 0) {
		offset = server_read(&e->offset);
		if (AU_RING_UNLIKELY(length > s->buffer_size || offset > s->pool_size - length ||
				     offset % 64 != 0))
			return false;
	}
	r = auf_plain(s->handle, slot, what, arg0, 0);
	if (AU_RING_UNLIKELY(!r))
		return false;
	s->last[slot] = handle;
	AU_FAILPOINT_HOT(take_seen);
	auf_plain_go(s->handle, r, what, arg0, server_read(&e->arg[1]), s->pool + offset, handle,
		     &s->progress[slot], (uint32_t)(handle >> 16));
	AU_FAILPOINT_HOT(take_done);
	return true;
}

static void server_cancel(struct au_chan_server *s, uint64_t handle)
{
	uint32_t slot = AU_HANDLE_SLOT(handle);

	if (slot >= s->depth) {
		server_break(s, "a cancellation names a slot that there is not");
	} else if (handle == s->last[slot]) {
		auf_cancel(s->handle, slot, handle);
	} else if (handle > s->last[slot]) {
		/* It overtook its request. */
		s->early_count += s->early[slot] == 0;
		s->early[slot] = handle;
	}
}

static void server_controls(struct au_chan_server *s)
{
	struct au_wire_control e;

	for (unsigned int n = 0; n < SERVER_CONTROLS && au_ring64_pop(&s->control, &e); n++) {
		if (e.generation != s->generation)
			s->stats.stale++;
		else if (e.kind == AU_WIRE_CANCEL)
			server_cancel(s, e.handle);
		else if (e.kind != AU_WIRE_REPLAYED)
			server_break(s, "a control message is not known here");
		else if (s->replaying)
			s->said = s->attention = true;
	}
	au_ring_release(&s->control);
	AU_FAILPOINT(control_taken);
}

/* ----------------------------------------------------------------- polling */

/*
 * While the gate is closed: replayed requests are taken until the client says that these were all.
 * The first new one, which would get ahead of another client's replay, is put aside.
 */
static unsigned int server_replay(struct au_chan_server *s, unsigned int budget)
{
	union server_request r;
	unsigned int count = 0;

	server_set_idle(s, false);
	while (count < budget && !s->stashed && au_ring64_pop(&s->submit, &r.wire)) {
		count++;
		if (!(r.wire.flags & AU_WIRE_REPLAY)) {
			s->stash = r;
			s->stashed = true;
			break;
		}
		s->stats.replayed++;
		if (!server_take(s, &r))
			return count;
		AU_FAILPOINT(replay_taken);
	}
	s->stats.requests += count;
	au_ring_release(&s->submit);
	if (au_ring64_ready(&s->control))
		server_controls(s);
	/* What was sent before it was said is visible now. */
	if (s->said && (s->stashed || !au_ring64_ready(&s->submit)))
		server_replayed(s);
	return count;
}

static unsigned int server_poll_slowly(struct au_chan_server *s, unsigned int budget)
{
	unsigned int count = 0;

	if (s->broken) {
		server_end(s, s->broken, s->why);
		return 1;
	}
	if (s->gone) {
		server_end(s, 0, "the client has gone");
		return 1;
	}
	if (s->muted)
		return 0;
	if (server_gate_closed(s)) {
		if (s->replaying)
			count = server_replay(s, budget);
		server_flush(s);
		return count;
	}
	if (s->replaying && s->said)
		server_replayed(s);
	s->attention = false;
	if (s->stashed) {
		s->stashed = false;
		count = 1;
		server_take(s, &s->stash);
		server_flush(s);
	}
	return count;
}

static void server_look_at_doorbell(struct au_chan_server *s)
{
	s->quiet = 0;
	if (!au_doorbell_drain(s->source.fd))
		s->gone = s->attention = true;
}

static unsigned int server_take_all(struct au_chan_server *s, unsigned int budget)
{
	union server_request r;
	unsigned int count = 0;
	const void *e;

	for (; count < budget && au_ring64_peek(&s->submit, &e); count++) {
		if (AU_RING_LIKELY(server_take_plain(s, e))) {
			au_ring64_skip(&s->submit);
			continue;
		}
		if (!au_ring64_pop(&s->submit, &r.wire))
			break;
		if (!server_take(s, &r))
			return count + 1;
	}
	return count;
}

static unsigned int server_poll(struct auf_source *source, unsigned int budget)
{
	struct au_chan_server *s = (struct au_chan_server *)source;
	unsigned int count = 0;

	if (budget > s->turn)
		budget = s->turn;
	if (AU_RING_UNLIKELY(s->attention)) {
		count = server_poll_slowly(s, budget);
		/* It may be closed, and gone. */
		if (count != 0 || s->attention)
			return count;
	}
	/* Before the driver can have one. */
	if (AU_RING_UNLIKELY(s->idle) && au_ring64_ready(&s->submit))
		server_set_idle(s, false);
	count = server_take_all(s, budget);
	if (count != 0) {
		if (AU_RING_UNLIKELY(s->early_count != 0))
			server_early_cancels(s);
		s->stats.requests += count;
		au_ring_release(&s->submit);
		AU_FAILPOINT_HOT(take_released);
		s->quiet = 0;
	} else if (AU_RING_UNLIKELY(++s->quiet == SERVER_QUIET)) {
		server_look_at_doorbell(s);
		server_look_idle(s);
	}
	if (AU_RING_UNLIKELY(au_ring64_ready(&s->control)))
		server_controls(s);
	server_flush(s);
	return count;
}

static bool server_arm(struct auf_source *source)
{
	struct au_chan_server *s = (struct au_chan_server *)source;

	server_flush(s);
	if (s->broken || s->gone)
		return false;
	if (s->muted || (server_gate_closed(s) && !s->replaying))
		return true;
	if (s->stashed && !server_gate_closed(s))
		return false;
	if (s->said && s->replaying)
		return false;
	if (!au_ring64_arm(&s->submit))
		return false;
	if (!au_ring64_arm(&s->control)) {
		au_ring_disarm(&s->submit);
		return false;
	}
	server_look_idle(s);
	return true;
}

static void server_disarm(struct auf_source *source)
{
	struct au_chan_server *s = (struct au_chan_server *)source;

	au_ring_disarm(&s->submit);
	au_ring_disarm(&s->control);
	server_look_at_doorbell(s);
}

/* ----------------------------------------------------------------- opening */

int au_chan_server_open(const struct au_chan_server_config *config, struct au_chan_server **server)
{
	const struct auf_handle_config handle_config = {
		.depth = config->depth,
		.lane = config->lane,
		.quiet = config->quiet,
		.replaying = config->replaying,
		.dma_offset = config->dma_offset,
		.complete = server_complete,
		.flush = server_flush_now,
		.event = server_event,
	};
	struct auf_handle_config with_context = handle_config;
	struct au_wire_layout layout;
	struct au_chan_server *s;
	unsigned char *mem = config->rings;
	int err;

	if (au_wire_layout(config->depth, &layout) != 0 || config->buffer_size % 64 != 0 ||
	    config->buffer_size > AU_WIRE_BUFFER_MAX)
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->last = calloc(config->depth, sizeof(*s->last));
	s->early = calloc(config->depth, sizeof(*s->early));
	if (!s->last || !s->early) {
		err = -ENOMEM;
		goto fail;
	}
	s->config = *config;
	s->depth = config->depth;
	s->turn = config->depth < AU_CHAN_TURN ? config->depth : AU_CHAN_TURN;
	s->buffer_size = config->buffer_size;
	s->pool = config->pool;
	s->pool_size = (uint64_t)config->depth * config->buffer_size;
	s->generation = config->generation;
	s->when = (uint64_t)config->generation << 32;
	s->flags_known = au_direction_of_class(config->cls ? config->cls : "raw")->flags;
	s->flags_passed = s->flags_known | AU_WIRE_REPLAY;
	s->flags_known |= config->replaying ? AU_WIRE_REPLAY | AU_WIRE_SUSPECT : 0;
	s->replaying = config->replaying;
	s->idle = true;
	s->attention = config->gate && config->gate->closed;
	au_ring64_consumer_init(&s->submit, mem + layout.submit, layout.entries);
	au_ring16_producer_init(&s->complete, mem + layout.complete, layout.entries);
	au_ring64_consumer_init(&s->control, mem + layout.control, AU_WIRE_CONTROL_ENTRIES);
	au_ring64_producer_init(&s->event, mem + layout.event, AU_WIRE_EVENT_ENTRIES);
	s->progress = (void *)(mem + layout.progress);
	with_context.context = s;
	err = auf_handle_open(config->unit, &with_context, &s->handle);
	if (err != 0)
		goto fail;
	AU_FAILPOINT(open_handle);
	s->source = (struct auf_source){ .poll = server_poll,
					 .arm = server_arm,
					 .disarm = server_disarm,
					 .fd = config->doorbell };
	err = auf_lane_add(config->lane, &s->source);
	if (err != 0) {
		s->config.closed = NULL;
		auf_handle_close(s->handle, server_free, s);
		return err;
	}
	*server = s;
	AU_FAILPOINT(open_done);
	if (!config->replaying || !config->gate)
		return 0;
	s->awaited = config->awaited;
	if (s->awaited)
		server_set_idle(s, false);
	else
		gate_one_less(config->gate);
	return 0;
fail:
	free(s->last);
	free(s->early);
	free(s);
	return err;
}

void au_chan_server_mute(struct au_chan_server *server)
{
	server_flush(server);
	server_mute(server);
	server->attention = true;
}

struct au_chan_server_stats au_chan_server_stats(const struct au_chan_server *server)
{
	return server->stats;
}
