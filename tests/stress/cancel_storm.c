/* SPDX-License-Identifier: MIT */
/*
 * cancel_storm TARGET REQUESTS: eight threads submit, four cancel at random, on one shared handle
 * on the driver t-cancel, which keeps requests for a short random time. Each request completes
 * exactly once; at least one cancellation in a hundred comes in time, and one in a hundred too
 * late.
 */
#include "auriga/auriga.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SUBMITTERS 8
#define CANCELLERS 4
#define EACH	   16 /* requests that one submitter keeps */

enum { STORM_ECHO = 16, STORM_RANDOM = 19 };

/**
 * struct storm_io - one request, used again and again.
 * @round: goes up when it is submitted, and when it completes: odd while it is outstanding.
 */
struct storm_io {
	struct au_io io;
	_Atomic uint64_t round;
	_Atomic uint64_t completions;
};

struct storm {
	struct au_handle *h;
	uint64_t wanted;
	_Atomic uint64_t submitted;
	_Atomic uint64_t completed;
	_Atomic uint64_t canceled;
	_Atomic uint64_t attempts;
	_Atomic uint64_t too_late; /* refused, because it was complete */
	_Atomic uint64_t wrong;
	_Atomic bool stop;
	struct storm_io ios[SUBMITTERS][EACH];
};

struct storm_thread {
	struct storm *storm;
	unsigned int number;
	uint64_t seed;
	pthread_t thread;
};

static uint64_t storm_random(struct storm_thread *t)
{
	t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
	return t->seed >> 33;
}

static void storm_wrong(struct storm *s, const char *what, int status)
{
	if (s->wrong++ < 10)
		fprintf(stderr, "cancel_storm: %s: %d\n", what, status);
}

static void storm_done(struct au_io *io)
{
	struct storm_io *sio = (struct storm_io *)io;
	struct storm *s = io->user;

	if (io->status == -ECANCELED)
		s->canceled++;
	else if (io->status != 0)
		storm_wrong(s, "a request failed", io->status);
	if (sio->round % 2 != 1)
		storm_wrong(s, "a request completed twice", io->status);
	sio->completions++;
	s->completed++;
	sio->round++;
}

/* Submit what is idle; how many that were. */
static unsigned int storm_submit(struct storm_thread *t)
{
	struct storm *s = t->storm;
	unsigned int count = 0;

	for (unsigned int i = 0; i < EACH; i++) {
		struct storm_io *sio = &s->ios[t->number][i];
		int rc;

		if (sio->round % 2 != 0)
			continue;
		if (atomic_fetch_add(&s->submitted, 1) >= s->wanted) {
			s->submitted--;
			return count;
		}
		sio->io.op = storm_random(t) % 8 ? STORM_RANDOM : STORM_ECHO;
		sio->round++;
		rc = au_submit(s->h, &sio->io);
		if (rc != 0) {
			storm_wrong(s, "a submit was refused", rc);
			sio->round++;
			s->completed++;
		}
		count++;
	}
	return count;
}

static void *storm_submitter(void *arg)
{
	struct storm_thread *t = arg;
	struct storm *s = t->storm;

	while (s->completed < s->wanted && !s->stop) {
		storm_submit(t);
		if (au_poll(s->h, 0, (int)(storm_random(t) % 3)) < 0)
			storm_wrong(s, au_errmsg(), 0);
	}
	return NULL;
}

static void *storm_canceller(void *arg)
{
	struct storm_thread *t = arg;
	struct storm *s = t->storm;

	while (!s->stop) {
		struct storm_io *sio =
			&s->ios[storm_random(t) % SUBMITTERS][storm_random(t) % EACH];
		int rc;

		if (sio->round % 2 == 0)
			continue;
		rc = au_cancel(s->h, &sio->io);
		if (rc == -ESRCH)
			s->too_late++;
		else if (rc != 0)
			storm_wrong(s, "a cancel failed", rc);
		s->attempts++;
		/* Some requests must be left alone. */
		if (storm_random(t) % 32 == 0)
			usleep((useconds_t)(storm_random(t) % 200));
	}
	return NULL;
}

static int storm_report(const struct storm *s, double seconds)
{
	uint64_t completions = 0, lost = s->attempts - s->canceled;
	int status = 0;

	for (unsigned int k = 0; k < SUBMITTERS; k++) {
		for (unsigned int i = 0; i < EACH; i++) {
			completions += s->ios[k][i].completions;
			if (s->ios[k][i].round % 2 != 0)
				status = 1;
		}
	}
	printf("%llu requests in %.1f s, %llu cancellations: %llu in time, %llu too late (%llu of "
	       "them seen at once)\n",
	       (unsigned long long)s->completed, seconds, (unsigned long long)s->attempts,
	       (unsigned long long)s->canceled, (unsigned long long)lost,
	       (unsigned long long)s->too_late);
	if (status || completions != s->wanted || s->completed != s->wanted || s->wrong) {
		fprintf(stderr, "cancel_storm: %llu requests, %llu completions\n",
			(unsigned long long)s->wanted, (unsigned long long)completions);
		return 1;
	}
	if (s->canceled * 100 < s->attempts || lost * 100 < s->attempts || s->attempts < 100) {
		fprintf(stderr, "cancel_storm: too one-sided to say anything\n");
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .flags = AU_OPEN_SHARED,
						 .depth = SUBMITTERS * EACH };
	static struct storm s;
	struct storm_thread threads[SUBMITTERS + CANCELLERS];
	struct timespec begin, end;
	uint64_t last = 0;

	if (argc != 3 || (s.wanted = strtoull(argv[2], NULL, 10)) == 0) {
		fprintf(stderr, "usage: cancel_storm TARGET REQUESTS\n");
		return 2;
	}
	if (au_open(argv[1], &options, &s.h) != 0) {
		fprintf(stderr, "cancel_storm: %s\n", au_errmsg());
		return 1;
	}
	for (unsigned int k = 0; k < SUBMITTERS; k++) {
		for (unsigned int i = 0; i < EACH; i++)
			s.ios[k][i].io = (struct au_io){ .done = storm_done, .user = &s };
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned int k = 0; k < SUBMITTERS + CANCELLERS; k++) {
		threads[k] = (struct storm_thread){ .storm = &s, .number = k, .seed = k + 1 };
		pthread_create(&threads[k].thread, NULL,
			       k < SUBMITTERS ? storm_submitter : storm_canceller, &threads[k]);
	}
	/* Progress, or nothing: ten seconds without a completion are a failure. */
	for (unsigned int still = 0; s.completed < s.wanted && still < 100; still++) {
		usleep(100000);
		if (s.completed != last)
			still = 0;
		last = s.completed;
	}
	s.stop = true;
	for (unsigned int k = 0; k < SUBMITTERS + CANCELLERS; k++)
		pthread_join(threads[k].thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &end);
	au_close(s.h);
	return storm_report(&s, (double)(end.tv_sec - begin.tv_sec) +
					(double)(end.tv_nsec - begin.tv_nsec) * 1e-9);
}
