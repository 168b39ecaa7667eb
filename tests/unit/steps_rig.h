/* SPDX-License-Identifier: MIT */
/*
 * steps_rig.h - a device, a host and a client as processes that end at a failpoint, over memory
 * that outlives them.
 *
 * Included once, by a test program.
 */
#ifndef TESTS_UNIT_STEPS_RIG_H
#define TESTS_UNIT_STEPS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "auriga/auriga.h"
#include "auriga/raw.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/note.h"
#include "channel/client_end.h"
#include "channel/doorbell.h"
#include "channel/server_end.h"
#include "framework/framework.h"

#define DEPTH	 8u
#define BUFFER	 128u
#define REQUESTS 24u
#define PAUSE	 8u  /* after so many requests nobody does anything for a while */
#define RESTART	 12u /* after so many completions the host is restarted in order */
#define HITS	 48u /* of one failpoint, at most */
#define DIED	 99
#define WRONG	 98
#define LIMIT_MS 20000u

#define EVENT	 0x0123u

/* --------------------------------------------------------- what all processes share */

/**
 * struct shared - what outlives hosts and clients: the device, and who is to do what.
 * @disk: what the device holds. @writes: how often each was written.
 */
struct shared {
	unsigned char disk[REQUESTS][BUFFER];
	_Atomic unsigned int writes[REQUESTS];
	_Atomic bool stop, restart;
	_Atomic uint16_t busy;
};

static struct shared *shared;
static unsigned char *pool;

/* Where this process ends. */
static struct {
	enum au_failpoint point;
	unsigned int hit;
} target;

static void at_failpoint(enum au_failpoint point)
{
	if (point == target.point && --target.hit == 0)
		_exit(DIED);
}

/* From here on this process, a child, is watched; @point 0: it does not die. */
static void arm(enum au_failpoint point, unsigned int hit)
{
	target.point = point;
	target.hit = hit;
	au_failpoint_fn = at_failpoint;
	au_failpoint_armed = 1;
}

static void *share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/** struct line - rings of one generation, with a doorbell. */
struct line {
	unsigned char *rings;
	size_t size;
	int bell[2]; /* the client's end, the host's */
	uint32_t generation;
};

static void line_make(struct line *l, uint32_t generation)
{
	struct au_wire_layout layout;

	assert_int_equal(au_wire_layout(DEPTH, &layout), 0);
	l->size = layout.size;
	l->rings = share(layout.size);
	l->generation = generation;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, l->bell), 0);
}

static void line_free(struct line *l)
{
	if (l->rings)
		munmap(l->rings, l->size);
	for (unsigned int i = 0; i < 2; i++)
		if (l->bell[i] >= 0)
			close(l->bell[i]);
	*l = (struct line){ .bell = { -1, -1 } };
}

/* ------------------------------------------------------------------- the driver */

static struct {
	struct au_request *held[DEPTH * 4];
	unsigned int count;
	struct au_timer *timer;
	struct au_unit *unit;
} drv;

static void drv_write(const struct au_request *req)
{
	memcpy(shared->disk[req->arg[0]], req->data, req->length);
	shared->writes[req->arg[0]]++;
	for (uint32_t i = 0; i < req->length; i++)
		((unsigned char *)req->data)[i] ^= 0x5a;
}

static void drv_drop(const struct au_request *req)
{
	for (unsigned int i = 0; i < drv.count; i++)
		if (drv.held[i] == req)
			drv.held[i] = drv.held[--drv.count];
}

static void drv_cancel(struct au_request *req)
{
	drv_drop(req);
	au_request_complete(req, -AU_ECANCELED, 0);
}

static void drv_due(struct au_timer *timer, void *context)
{
	while (drv.count) {
		struct au_request *req = drv.held[0];

		drv_drop(req);
		if (au_request_clear_cancelable(req))
			continue;
		drv_write(req);
		au_request_complete(req, 0, req->length);
	}
}

/* Some at once, some after a while. */
static void drv_deliver(struct au_queue *queue, struct au_request *req)
{
	if (req->arg[0] >= REQUESTS || req->length != BUFFER) {
		au_request_complete(req, -AU_EINVAL, 0);
		return;
	}
	if (req->arg[0] % 5 == 0)
		au_unit_event(drv.unit, EVENT, 1, req->arg[0], 0);
	if (req->arg[0] % 3 == 0) {
		if (au_request_set_cancelable(req, drv_cancel)) {
			au_request_complete(req, -AU_ECANCELED, 0);
			return;
		}
		drv.held[drv.count++] = req;
		au_timer_start(drv.timer, 1, false);
		return;
	}
	drv_write(req);
	au_request_complete(req, 0, req->length);
}

static int drv_prepare(struct au_device *dev)
{
	const struct au_unit_config unit = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue = { AU_HEAD(struct au_queue_config),
					       .kind = AU_QUEUE_PARALLEL, .depth = 3,
					       .deliver = drv_deliver };
	struct au_queue *q;
	int err = au_timer_create(dev, drv_due, NULL, &drv.timer);

	drv.count = 0;
	if (!err)
		err = au_unit_add(dev, &unit, &drv.unit);
	return err ? err : au_queue_create(drv.unit, &queue, &q);
}

static int drv_d0(struct au_device *dev, enum au_power power)
{
	return 0;
}

static void drv_io(struct au_device *dev)
{
}

static int drv_io_start(struct au_device *dev)
{
	return 0;
}

static const struct au_driver driver = { AU_HEAD(struct au_driver), .context_size = 64,
					 .prepare = drv_prepare,    .release = drv_io,
					 .d0_entry = drv_d0,	    .d0_exit = drv_d0,
					 .io_start = drv_io_start,  .io_stop = drv_io };
static const char note_text[] = "abi 1\nname steps\nversion 1.0\nclass raw\nsummary for tests\n"
				"match virtual\n";

/* --------------------------------------------------------------------- the host */

static struct host {
	struct au_lane *lane;
	struct au_device *dev;
	struct au_chan_gate gate;
	unsigned int ended, closed;
	int reason;
} host;

#define MUST(what)                                                                 \
	do {                                                                       \
		if (!(what)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
			_exit(WRONG);                                              \
		}                                                                  \
	} while (0)

static void host_replayed(void *context)
{
	au_chan_gate_open(&host.gate);
	auf_device_open_gate(host.dev);
}

static void host_ended(void *context, int reason, const char *text)
{
	host.ended++;
	host.reason = reason;
}

static void host_closed(void *context)
{
	host.closed++;
}

static void host_up(bool hold)
{
	struct auf_device_config config = { .name = "steps0",
					    .driver = &driver,
					    .generation = 1,
					    .from = hold ? AU_POWER_FAILED : AU_POWER_OFF,
					    .hold_gate = hold };
	struct au_note note;
	char error[256] = "";

	memset(&host, 0, sizeof(host));
	host.gate.replayed = host_replayed;
	host.gate.closed = hold;
	host.gate.waiting = hold;
	MUST(au_note_parse(note_text, sizeof(note_text), "steps", &note, error, sizeof(error)) ==
	     0);
	MUST(auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &host.lane) == 0);
	config.note = &note;
	config.lane = host.lane;
	MUST(auf_device_create(&config, &host.dev, error, sizeof(error)) == 0);
	MUST(auf_device_start(host.dev) == 0);
}

static struct au_chan_server *host_open(const struct line *l, bool replaying)
{
	const struct au_chan_server_config config = { .lane = host.lane,
						      .unit = drv.unit,
						      .gate = &host.gate,
						      .rings = l->rings,
						      .pool = pool,
						      .doorbell = l->bell[1],
						      .depth = DEPTH,
						      .buffer_size = BUFFER,
						      .generation = l->generation,
						      .replaying = replaying,
						      .awaited = replaying,
						      .busy = &shared->busy,
						      .ended = host_ended,
						      .closed = host_closed };
	struct au_chan_server *server;

	MUST(au_chan_server_open(&config, &server) == 0);
	return server;
}

static void host_turn(unsigned int *turns)
{
	struct pollfd p = { .fd = auf_lane_fd(host.lane), .events = POLLIN };
	int timeout;

	if (++*turns % 8 == 0)
		auf_device_power(host.dev, AUF_POWER_DOWN, NULL, NULL);
	if (auf_lane_poll(host.lane))
		return;
	if (auf_lane_arm(host.lane, &timeout)) {
		poll(&p, 1, timeout < 0 || timeout > 2 ? 2 : timeout);
		auf_lane_disarm(host.lane);
	}
}

static void host_down(void)
{
	auf_device_stop(host.dev);
	auf_device_destroy(host.dev);
	auf_lane_destroy(host.lane);
}

/* A process that serves one line until it is told to stop, or dies. */
static pid_t host_start(const struct line *l, bool replaying, enum au_failpoint point,
			unsigned int hit)
{
	struct au_chan_server *server;
	unsigned int turns = 0;
	uint64_t began = now_ms();
	pid_t parent = getpid(), pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	close(l->bell[0]);
	arm(point, hit);
	host_up(replaying);
	server = host_open(l, replaying);
	while (!shared->stop && !shared->restart && !host.ended) {
		MUST(now_ms() - began < LIMIT_MS && getppid() == parent);
		host_turn(&turns);
	}
	/* In order: what is still outstanding is for the next one. */
	if (!host.ended) {
		au_chan_server_mute(server);
		au_chan_server_close(server);
	}
	host_down();
	MUST(host.closed == 1);
	_exit(0);
}

/* -------------------------------------------------------------------- the client */

struct client {
	struct au_chan *chan;
	struct {
		struct au_io io;
		unsigned char data[BUFFER];
		unsigned int done;
		unsigned int writes; /* of the device, when it was done */
	} r[REQUESTS];
	unsigned int submitted, completed, events, round;
	bool paused;
};

static struct client *client; /* whose done() is called */

static unsigned char pattern(unsigned int index, unsigned int at)
{
	return (unsigned char)(index * 31 + at * 7 + 1);
}

static void client_done(struct au_io *io)
{
	unsigned int i = (unsigned int)io->arg[0];

	client->r[i].done++;
	client->r[i].writes = shared->writes[i];
	client->completed++;
}

static void client_submit(struct client *c)
{
	unsigned int i = c->submitted;
	struct au_io *io = &c->r[i].io;

	for (unsigned int at = 0; at < BUFFER; at++)
		c->r[i].data[at] = pattern(i, at);
	*io = (struct au_io){ .op = AU_RAW_FIRST,
			      .data = c->r[i].data,
			      .length = BUFFER,
			      .arg = { i },
			      .done = client_done,
			      /* not on the shortest way in */
			      .timeout_ms = i % 4 == 1 ? 60000 : 0 };
	if (au_chan_submit(c->chan, io) == 0)
		c->submitted++;
	if (c->submitted > i && i % 7 == 6)
		au_chan_cancel(c->chan, io);
}

static bool client_may_submit(const struct client *c)
{
	return c->submitted < (c->paused ? REQUESTS : PAUSE);
}

/* One round: submit, wait a little, take what has come. */
static void client_turn(struct client *c, int bell)
{
	struct au_event event;

	client = c;
	/* Once there is nothing to do, for a while. */
	if (c->submitted == PAUSE && c->completed == PAUSE && !c->paused) {
		c->paused = true;
		poll(NULL, 0, 8);
	}
	/* In bunches, so that now and then both ends sleep. */
	for (unsigned int n = 0; n < 4 && c->round % 3 == 0 && client_may_submit(c); n++)
		client_submit(c);
	c->round++;
	au_chan_flush(c->chan);
	if (au_chan_arm(c->chan)) {
		struct pollfd p = { .fd = bell, .events = POLLIN };

		/* Whoever has something to wait for is woken: by an answer, or a death. */
		poll(&p, 1, c->submitted > c->completed ? 20 : 1);
		au_chan_disarm(c->chan);
		au_doorbell_drain(bell);
	}
	au_chan_poll(c->chan, 3);
	while (au_chan_event_next(c->chan, &event))
		c->events += event.kind == EVENT;
}

/* Exactly once each, with the right data here and in the device. NULL: it is so. */
static const char *client_wrong(const struct client *c)
{
	static char text[160];

	for (unsigned int i = 0; i < REQUESTS; i++) {
		const struct au_io *io = &c->r[i].io;

		snprintf(text, sizeof(text), "request %u: done %u times, status %d, result %u", i,
			 c->r[i].done, io->status, io->result);
		if (c->r[i].done != 1)
			return text;
		snprintf(text, sizeof(text), "request %u: done again after its completion", i);
		if (c->r[i].writes != shared->writes[i])
			return text;
		snprintf(text, sizeof(text), "request %u: status %d, result %u", i, io->status,
			 io->result);
		if (io->status == -ECANCELED && i % 7 == 6)
			continue;
		if (io->status != 0 || io->result != BUFFER || !shared->writes[i])
			return text;
		for (unsigned int at = 0; at < BUFFER; at++) {
			snprintf(text, sizeof(text), "request %u: wrong data at %u", i, at);
			if (c->r[i].data[at] != (pattern(i, at) ^ 0x5a) ||
			    shared->disk[i][at] != pattern(i, at))
				return text;
		}
	}
	return NULL;
}

#endif
