/* SPDX-License-Identifier: MIT */
/*
 * lanes_storm TARGET REQUESTS: six threads, each with a handle of its own on the driver t-lanes, so
 * that several share a lane. Each submits, cancels, asks for a reset of all lanes now and then, and
 * closes its handle in the middle of it all and opens another. Each request completes exactly once,
 * and everything that was meant to happen did.
 */
#include "auriga/auriga.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 6
#define EACH	16
#define REOPEN	3000 /* requests */
#define RESET	256

enum { NOW = 16, HELD, RESET_ALL };

struct storm_io {
	struct au_io io;
	struct storm_thread *thread;
	bool flying;
};

struct storm_thread {
	pthread_t thread;
	uint64_t seed;
	struct au_handle *h;
	unsigned int flying;
	uint64_t submitted, completed, canceled, reset, asked, wrong, opens;
	unsigned int lanes; /* a bit for each that it has been on */
	struct storm_io ios[EACH];
};

static const char *target;
static uint64_t wanted;

static uint64_t storm_random(struct storm_thread *t)
{
	t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
	return t->seed >> 33;
}

static void storm_wrong(struct storm_thread *t, const char *what, int status)
{
	if (t->wrong++ < 3)
		fprintf(stderr, "lanes_storm: %s: %d\n", what, status);
}

static void storm_done(struct au_io *io)
{
	struct storm_io *sio = (struct storm_io *)io;
	struct storm_thread *t = sio->thread;

	if (!sio->flying)
		storm_wrong(t, "a request completed twice", io->status);
	sio->flying = false;
	t->flying--;
	t->completed++;
	if (io->status == -ECANCELED)
		t->canceled++;
	else if (io->status != 0)
		storm_wrong(t, "a request failed", io->status);
	else if (io->op == HELD)
		t->reset += io->result == 1;
	else
		t->lanes |= 1u << (io->result & 0xff);
}

static bool storm_open(struct storm_thread *t)
{
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .depth = EACH };
	int rc = au_open(target, &options, &t->h);

	t->opens++;
	if (rc)
		fprintf(stderr, "lanes_storm: %s\n", au_errmsg());
	return rc == 0;
}

static void storm_submit(struct storm_thread *t)
{
	for (unsigned int i = 0; i < EACH && t->submitted < wanted; i++) {
		struct storm_io *sio = &t->ios[i];
		int rc;

		if (sio->flying)
			continue;
		sio->thread = t;
		sio->io = (struct au_io){ .op = storm_random(t) % 4 ? HELD : NOW,
					  .done = storm_done };
		if (++t->submitted % RESET == 0)
			sio->io.op = RESET_ALL;
		sio->flying = true;
		rc = au_submit(t->h, &sio->io);
		if (rc == 0) {
			t->flying++;
		} else {
			sio->flying = false;
			storm_wrong(t, "a submit was refused", rc);
		}
	}
}

static void storm_cancel(struct storm_thread *t)
{
	struct storm_io *sio = &t->ios[storm_random(t) % EACH];
	int rc;

	if (!sio->flying)
		return;
	rc = au_cancel(t->h, &sio->io);
	t->asked += rc == 0;
	if (rc && rc != -ESRCH)
		storm_wrong(t, "a cancel failed", rc);
}

/* What is outstanding ends with the handle, unheard of. */
static bool storm_reopen(struct storm_thread *t)
{
	au_close(t->h);
	for (unsigned int i = 0; i < EACH; i++) {
		t->completed += t->ios[i].flying;
		t->ios[i].flying = false;
	}
	t->flying = 0;
	return storm_open(t);
}

static void *storm_run(void *arg)
{
	struct storm_thread *t = arg;
	uint64_t next = REOPEN;
	bool open = storm_open(t);

	while (open && (t->submitted < wanted || t->flying)) {
		storm_submit(t);
		storm_cancel(t);
		if (au_poll(t->h, 0, (int)(storm_random(t) % 2)) < 0)
			storm_wrong(t, au_errmsg(), 0);
		if (t->submitted >= next) {
			next += REOPEN;
			open = storm_reopen(t);
		}
	}
	if (!open)
		t->wrong++;
	else
		au_close(t->h);
	return NULL;
}

static int storm_report(const struct storm_thread *threads)
{
	struct storm_thread sum = { 0 };

	for (unsigned int i = 0; i < THREADS; i++) {
		const struct storm_thread *t = &threads[i];

		sum.submitted += t->submitted;
		sum.completed += t->completed;
		sum.canceled += t->canceled;
		sum.reset += t->reset;
		sum.opens += t->opens;
		sum.wrong += t->wrong;
		sum.lanes |= t->lanes;
	}
	printf("%llu requests, %llu cancelled, %llu by a reset, %llu opens, lanes 0x%x, %llu "
	       "wrong\n",
	       (unsigned long long)sum.completed, (unsigned long long)sum.canceled,
	       (unsigned long long)sum.reset, (unsigned long long)sum.opens, sum.lanes,
	       (unsigned long long)sum.wrong);
	return sum.wrong || sum.completed != sum.submitted || sum.submitted != THREADS * wanted ||
	       sum.canceled < sum.submitted / 1000 || sum.reset < sum.submitted / 1000 ||
	       sum.opens < sum.submitted / REOPEN / 2 || sum.lanes != 0x7;
}

int main(int argc, char **argv)
{
	struct storm_thread *threads = calloc(THREADS, sizeof(*threads));

	if (argc != 3 || !threads) {
		fprintf(stderr, "usage: lanes_storm TARGET REQUESTS\n");
		return 2;
	}
	target = argv[1];
	wanted = strtoull(argv[2], NULL, 10) / THREADS;
	for (unsigned int i = 0; i < THREADS; i++) {
		threads[i].seed = i + 1;
		if (pthread_create(&threads[i].thread, NULL, storm_run, &threads[i]) != 0)
			return 2;
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	return storm_report(threads);
}
