/* SPDX-License-Identifier: MIT */
/*
 * fairness TARGET [SECONDS]: how long requests of a client that has one at a time take, alone and
 * beside a client that keeps 128 in flight. The two phases take turns. Prints JSON; exit status 1
 * if the 99th percentile is more than ten times the quiet one.
 */
#include "auriga/auriga.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FLOOD	128u
#define ROUNDS	10
#define SAMPLES 2000000u

struct samples {
	double *us;
	size_t count;
};

static void fail(void)
{
	fprintf(stderr, "fairness: %s\n", au_errmsg());
	exit(2);
}

static struct au_handle *open_unit(const char *target, uint32_t depth)
{
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .depth = depth };
	struct au_handle *h;

	if (au_open(target, &options, &h) != 0)
		fail();
	return h;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct au_handle *flood_handle;
static volatile sig_atomic_t flooding;

static void flood_again(struct au_io *io)
{
	if (io->status != 0 || au_submit(flood_handle, io) != 0)
		_exit(1);
}

static void flood_switch(int sig)
{
	flooding = sig == SIGUSR1;
}

/* Another process: floods between SIGUSR1 and SIGUSR2. */
static void flood(const char *target)
{
	static struct au_io ios[FLOOD];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGUSR1, flood_switch);
	signal(SIGUSR2, flood_switch);
	flood_handle = open_unit(target, FLOOD);
	for (;;) {
		while (!flooding)
			usleep(1000);
		for (unsigned int i = 0; i < FLOOD; i++) {
			ios[i] = (struct au_io){ .op = 16, .done = flood_again };
			if (au_submit(flood_handle, &ios[i]) != 0)
				_exit(1);
		}
		while (flooding)
			au_poll(flood_handle, 0, 100);
		au_close(flood_handle);
		flood_handle = open_unit(target, FLOOD);
	}
}

static void measure(struct au_handle *h, double seconds, struct samples *s)
{
	double end = now() + seconds, begin;

	while ((begin = now()) < end && s->count < SAMPLES) {
		struct au_io io = { .op = 16 };

		if (au_wait(h, &io) != 0)
			fail();
		s->us[s->count++] = (now() - begin) * 1e6;
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double percentile(const struct samples *s, double p)
{
	return s->us[(size_t)((double)(s->count - 1) * p)];
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 4, quiet, beside;
	struct samples s[2] = { { malloc(SAMPLES * sizeof(double)), 0 },
				{ malloc(SAMPLES * sizeof(double)), 0 } };
	struct au_handle *h;
	pid_t pid;

	if (argc < 2 || !s[0].us || !s[1].us)
		return 2;
	pid = fork();
	if (pid == 0)
		flood(argv[1]);
	h = open_unit(argv[1], 1);
	usleep(200000);
	for (int round = 0; round < ROUNDS; round++) {
		for (int k = 0; k < 2; k++) {
			kill(pid, k ? SIGUSR1 : SIGUSR2);
			usleep(20000);
			measure(h, seconds / ROUNDS / 2, &s[k]);
		}
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int k = 0; k < 2; k++)
		qsort(s[k].us, s[k].count, sizeof(double), compare);
	quiet = percentile(&s[0], 0.99);
	beside = percentile(&s[1], 0.99);
	printf("{\"quiet\": {\"requests\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f}, "
	       "\"beside_a_flood\": {\"requests\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f}, "
	       "\"ratio\": %.2f}\n",
	       s[0].count, percentile(&s[0], 0.5), quiet, s[1].count, percentile(&s[1], 0.5),
	       beside, beside / quiet);
	au_close(h);
	return beside > 10 * quiet;
}
