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
#include "base/failpoint.h"
#include "base/log.h"
#include "base/note.h"
#include "channel/client_end.h"
#include "channel/doorbell.h"
#include "channel/server_end.h"
#include "framework/framework.h"

#define DEPTH	 8u
#define BUFFER	 128u
#define DIED	 99
#define WRONG	 98
#define LIMIT_MS 20000u

/* --------------------------------------------------------- what all processes share */

/** struct shared - what outlives hosts and clients: the device, and who is to do what. */
struct shared {
	_Atomic bool stop, restart;
	_Atomic uint16_t busy;
	_Alignas(64) unsigned char device[16384];
};

static struct shared *shared;
static unsigned char *pool;

/**
 * struct steps - what the test is about.
 * @state: class state, AUF_STATE_SIZE bytes; @fresh: nothing is in it yet.
 * @suspend: the device is suspended and resumed now and then; else it only goes to sleep.
 */
static struct steps {
	const struct au_driver *driver;
	const char *note, *cls;
	void *state;
	bool fresh, suspend;
} steps;

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
					    .driver = steps.driver,
					    .state = steps.state,
					    .state_size = steps.state ? AUF_STATE_SIZE : 0,
					    .state_fresh = steps.fresh,
					    .generation = 1,
					    .from = hold ? AU_POWER_FAILED : AU_POWER_OFF,
					    .hold_gate = hold };
	struct au_note note;
	char error[256] = "";

	memset(&host, 0, sizeof(host));
	host.gate.replayed = host_replayed;
	host.gate.closed = hold;
	host.gate.waiting = hold;
	MUST(au_note_parse(steps.note, strlen(steps.note) + 1, "steps", &note, error,
			   sizeof(error)) == 0);
	MUST(auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &host.lane) == 0);
	config.note = &note;
	config.lane = host.lane;
	MUST(auf_device_create(&config, &host.dev, error, sizeof(error)) == 0);
	MUST(auf_device_start(host.dev) == 0);
}

static struct au_chan_server *host_open(const struct line *l, bool replaying)
{
	const struct au_chan_server_config config = { .lane = host.lane,
						      .unit = auf_device_unit(host.dev, 0),
						      .gate = &host.gate,
						      .rings = l->rings,
						      .pool = pool,
						      .doorbell = l->bell[1],
						      .depth = DEPTH,
						      .buffer_size = BUFFER,
						      .cls = steps.cls,
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

	++*turns;
	if (steps.suspend && *turns % 64 == 32)
		auf_device_power(host.dev, AUF_POWER_SUSPEND, NULL, NULL);
	else if (steps.suspend && *turns % 64 == 36)
		auf_device_power(host.dev, AUF_POWER_RESUME, NULL, NULL);
	else if (*turns % 8 == 0)
		auf_device_power(host.dev, AUF_POWER_DOWN, NULL, NULL);
	if (auf_lane_poll(host.lane))
		return;
	if (auf_lane_arm(host.lane, &timeout)) {
		poll(&p, 1, timeout < 0 || timeout > 2 ? 2 : timeout);
		auf_lane_disarm(host.lane);
	}
}

/* @server: it is still open, and its client goes on with the next host. */
static void host_down(struct au_chan_server *server)
{
	if (server)
		au_chan_server_mute(server);
	auf_device_stop(host.dev);
	if (server)
		au_chan_server_close(server);
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
	host_down(host.ended ? NULL : server);
	MUST(host.closed == 1);
	_exit(0);
}

/* How a child ended, if it has. */
static bool ended(pid_t pid, int *status, bool wait)
{
	pid_t got = waitpid(pid, status, wait ? 0 : WNOHANG);

	assert_true(got == 0 || got == pid);
	if (got == 0)
		return false;
	*status = WIFEXITED(*status) ? WEXITSTATUS(*status) : 1000 + WTERMSIG(*status);
	return true;
}

/* All failpoints, whose they are, and how often each was died at. */
#define HOST   1
#define CLIENT 2
#define SERIAL 3

static const struct {
	enum au_failpoint point;
	const char *name;
	int who;
} failpoints[] = {
#define FAILPOINT(number, name, who) { number, #name, who },
	AU_FAILPOINTS(FAILPOINT)
#undef FAILPOINT
};

#define FAILPOINT_COUNT (sizeof(failpoints) / sizeof(failpoints[0]))

static unsigned int died_at[FAILPOINT_COUNT];

#endif
