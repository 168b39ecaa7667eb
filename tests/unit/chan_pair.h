/* SPDX-License-Identifier: MIT */
/*
 * chan_pair.h - both ends of a channel over one memory, with a framework below the host's end that
 * does what the test says: it answers at once, or holds what it gets.
 *
 * Included once, by a test program.
 */
#ifndef AU_TESTS_CHAN_PAIR_H
#define AU_TESTS_CHAN_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "channel/client_end.h"
#include "channel/server_end.h"
#include "framework/internal.h"

#define FAKE_SLOTS AU_WIRE_DEPTH_MAX

/* ------------------------------------------------- the framework, as the test wants it */

struct fake_handle {
	struct auf_handle real; /* first; with a unit and a queue, for plain requests */
	struct au_unit unit;
	struct au_queue queue;
	struct auf_request requests[FAKE_SLOTS];
	struct auf_request *slots[FAKE_SLOTS];
	bool busy[FAKE_SLOTS];
	struct auf_submit held[FAKE_SLOTS];
	uint64_t order[FAKE_SLOTS * 4]; /* tags, as they came */
	unsigned int submitted;
	unsigned int plain; /* of them */
	unsigned int canceled;
	bool hold;
	bool closed;
	void (*on_closed)(void *);
	void *on_closed_context;
};

struct fake_lane {
	struct auf_source *sources[8];
};

static struct fake_handle *fake_last_handle;

static void fake_complete(struct fake_handle *h, uint32_t slot, int status, uint32_t result)
{
	assert_true(h->busy[slot]);
	h->busy[slot] = false;
	h->requests[slot].word = REQ_FREE;
	h->real.complete(&h->real, status, result, 7, slot, h->held[slot].tag);
}

static void fake_take(struct fake_handle *h, uint32_t slot, const struct auf_submit *submit)
{
	h->busy[slot] = true;
	h->requests[slot].word = REQ_OWNED;
	h->held[slot] = *submit;
	h->order[h->submitted++ % (FAKE_SLOTS * 4)] = submit->tag;
	if (!h->hold)
		fake_complete(h, slot, 0, submit->length);
}

/* What came past auf_submit(). */
static void fake_deliver(struct au_queue *queue, struct au_request *req)
{
	struct fake_handle *h = AU_CONTAINER(queue, struct fake_handle, queue);
	const struct auf_request *r = auf_request(req);
	const struct auf_submit submit = {
		.tag = r->tag,
		.data = req->data,
		.arg = { req->arg[0], req->arg[1] },
		.op = req->op,
		.flags = req->flags,
		.length = req->length,
		.progress = r->progress,
	};

	h->plain++;
	/* Whether the driver has it is the test's to say: host_progress(). */
	r->progress->flags = 0;
	fake_take(h, r->slot, &submit);
}

void auf_queue_pump(struct au_queue *queue)
{
	fail();
}

void auf_queue_accept(struct au_queue *queue, struct auf_request *r)
{
	fail();
}

int auf_handle_open(struct au_unit *unit, const struct auf_handle_config *config,
		    struct auf_handle **handle)
{
	struct fake_handle *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->real.context = config->context;
	h->real.open = h->real.depth = config->depth;
	h->real.complete = config->complete;
	h->real.config = *config;
	h->real.slots = h->slots;
	h->real.unit = &h->unit;
	h->unit.first = h->real.first = &h->queue;
	h->unit.plain_span = UINT32_MAX;
	h->queue.bound = UINT32_MAX;
	h->queue.deliver = fake_deliver;
	for (uint32_t i = 0; i < config->depth; i++) {
		h->slots[i] = &h->requests[i];
		h->requests[i].handle = &h->real;
		h->requests[i].slot = i;
	}
	fake_last_handle = h;
	*handle = &h->real;
	return 0;
}

void auf_handle_close(struct auf_handle *handle, void (*closed)(void *context), void *context)
{
	struct fake_handle *h = (struct fake_handle *)handle;

	h->closed = true;
	closed(context);
	free(h);
}

int auf_submit(struct auf_handle *handle, uint32_t slot, const struct auf_submit *submit)
{
	struct fake_handle *h = (struct fake_handle *)handle;

	assert_in_range(slot, 0, handle->depth - 1);
	if (h->busy[slot])
		return -EBUSY;
	fake_take(h, slot, submit);
	return 0;
}

int auf_cancel(struct auf_handle *handle, uint32_t slot, uint64_t tag)
{
	struct fake_handle *h = (struct fake_handle *)handle;

	if (!h->busy[slot] || h->held[slot].tag != tag)
		return -ESRCH;
	h->canceled++;
	fake_complete(h, slot, -ECANCELED, 0);
	return 0;
}

int auf_lane_add(struct au_lane *lane, struct auf_source *src)
{
	struct fake_lane *l = (void *)lane;

	for (unsigned int i = 0; i < 8; i++) {
		if (!l->sources[i]) {
			l->sources[i] = src;
			return 0;
		}
	}
	return -ENOSPC;
}

void auf_lane_remove(struct au_lane *lane, struct auf_source *src)
{
	struct fake_lane *l = (void *)lane;

	for (unsigned int i = 0; i < 8; i++) {
		if (l->sources[i] == src)
			l->sources[i] = NULL;
	}
}

/* One turn of the lane. */
static unsigned int fake_turn(struct fake_lane *l)
{
	unsigned int done = 0;

	for (unsigned int i = 0; i < 8; i++) {
		if (l->sources[i])
			done += l->sources[i]->poll(l->sources[i], 128);
	}
	return done;
}

/* ------------------------------------------------------------------- a host, a channel */

struct host {
	struct fake_lane lane;
	struct au_chan_server *server;
	struct fake_handle *handle;
	unsigned char *rings;
	size_t rings_size;
	_Atomic uint16_t busy;
	int bell[2]; /* the client's end, the host's */
	uint32_t generation;
	int reason; /* of its end */
	char why[128];
	unsigned int ended, closed;
};

struct pair {
	struct au_chan *chan;
	struct host *host;
	unsigned char *pool;
	uint32_t depth, buffer_size;
	bool hold; /* for hosts that start */
	bool lost; /* they do not wait for it */
};

static void host_ended(void *context, int reason, const char *text)
{
	struct host *host = context;

	host->reason = reason;
	host->ended++;
	snprintf(host->why, sizeof(host->why), "%s", text);
}

static void host_closed(void *context)
{
	struct host *host = context;

	host->closed++;
	host->server = NULL;
	host->handle = NULL;
}

static struct host *host_start(struct pair *pair, uint32_t generation, bool replaying,
			       struct au_chan_gate *gate)
{
	struct host *host = calloc(1, sizeof(*host));
	struct au_wire_layout layout;
	struct au_chan_server_config config;

	assert_non_null(host);
	assert_int_equal(au_wire_layout(pair->depth, &layout), 0);
	host->rings_size = layout.size;
	host->rings =
		mmap(NULL, layout.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(host->rings, MAP_FAILED);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, host->bell), 0);
	host->generation = generation;
	config = (struct au_chan_server_config){
		.lane = (void *)&host->lane,
		.gate = gate,
		.rings = host->rings,
		.pool = pair->pool,
		.doorbell = host->bell[1],
		.depth = pair->depth,
		.buffer_size = pair->buffer_size,
		.generation = generation,
		.replaying = replaying,
		.awaited = replaying && !pair->lost,
		.busy = &host->busy,
		.ended = host_ended,
		.closed = host_closed,
		.context = host,
	};
	assert_int_equal(au_chan_server_open(&config, &host->server), 0);
	host->handle = fake_last_handle;
	host->handle->hold = pair->hold;
	return host;
}

/* Free what a host had; its process is dead. */
static void host_kill(struct host *host)
{
	if (host->server)
		au_chan_server_close(host->server);
	assert_int_equal(host->closed, 1);
	munmap(host->rings, host->rings_size);
	close(host->bell[0]);
	close(host->bell[1]);
	free(host);
}

static void pair_attach(struct pair *pair, struct host *host, bool fault)
{
	struct au_chan_link link = { .rings = host->rings,
				     .pool = pair->pool,
				     .doorbell = host->bell[0],
				     .generation = host->generation,
				     .fault = fault };

	au_chan_attach(pair->chan, &link);
	if (pair->host)
		host_kill(pair->host);
	pair->host = host;
}

static struct pair *pair_new(uint32_t depth, uint32_t buffer_size)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	assert_non_null(pair);
	pair->depth = depth;
	pair->buffer_size = buffer_size;
	pair->pool = mmap(NULL, (size_t)depth * buffer_size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(pair->pool, MAP_FAILED);
	assert_int_equal(au_chan_create(depth, buffer_size, &pair->chan), 0);
	pair_attach(pair, host_start(pair, 1, false, NULL), false);
	return pair;
}

static void pair_free(struct pair *pair)
{
	au_chan_destroy(pair->chan);
	if (pair->host)
		host_kill(pair->host);
	munmap(pair->pool, (size_t)pair->depth * pair->buffer_size);
	free(pair);
}

/* What the host's driver writes while it works on the request in @slot. */
static __attribute__((unused)) void host_progress(struct host *host, uint32_t slot,
						  uint32_t started, uint32_t done, uint32_t flags)
{
	struct auf_progress *p = host->handle->held[slot].progress;

	p->started = started;
	p->done = done;
	p->flags = flags;
}

static uint32_t slot_of(const struct au_io *io)
{
	return AU_HANDLE_SLOT(io->handle_);
}

#endif
