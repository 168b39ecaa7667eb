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
#include "framework/framework.h"

#define FAKE_SLOTS AU_WIRE_DEPTH_MAX

/* ------------------------------------------------- the framework, as the test wants it */

struct auf_handle {
	void *context;
	struct auf_handle_config config;
	bool busy[FAKE_SLOTS];
	struct auf_submit held[FAKE_SLOTS];
	uint64_t order[FAKE_SLOTS * 4]; /* tags, as they came */
	unsigned int submitted;
	unsigned int canceled;
	bool hold;
	bool closed;
	void (*on_closed)(void *);
	void *on_closed_context;
};

struct fake_lane {
	struct auf_source *sources[8];
};

static struct auf_handle *fake_last_handle;

int auf_handle_open(struct au_unit *unit, const struct auf_handle_config *config,
		    struct auf_handle **handle)
{
	struct auf_handle *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->config = *config;
	h->context = config->context;
	fake_last_handle = *handle = h;
	return 0;
}

void auf_handle_close(struct auf_handle *handle, void (*closed)(void *context), void *context)
{
	handle->closed = true;
	closed(context);
	free(handle);
}

static void fake_complete(struct auf_handle *h, uint32_t slot, int status, uint32_t result)
{
	assert_true(h->busy[slot]);
	h->busy[slot] = false;
	h->config.complete(h, slot, h->held[slot].tag, status, result, 7);
}

int auf_submit(struct auf_handle *handle, uint32_t slot, const struct auf_submit *submit)
{
	assert_in_range(slot, 0, handle->config.depth - 1);
	if (handle->busy[slot])
		return -EBUSY;
	handle->busy[slot] = true;
	handle->held[slot] = *submit;
	handle->order[handle->submitted++ % (FAKE_SLOTS * 4)] = submit->tag;
	if (!handle->hold)
		fake_complete(handle, slot, 0, submit->length);
	return 0;
}

int auf_cancel(struct auf_handle *handle, uint32_t slot, uint64_t tag)
{
	if (!handle->busy[slot] || handle->held[slot].tag != tag)
		return -ESRCH;
	handle->canceled++;
	fake_complete(handle, slot, -ECANCELED, 0);
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
	struct auf_handle *handle;
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
