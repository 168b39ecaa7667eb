/* SPDX-License-Identifier: MIT */
/*
 * steady TARGET OUTSTANDING SECONDS [CPU]: keep so many requests in flight for so long, and print
 * how many a second there were. For strace and perf to look at: bench/syscalls.
 */
#include "auriga/auriga.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST 1024

static struct au_handle *handle;
static unsigned long completed;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "steady: %s\n", what);
	exit(1);
}

static void again(struct au_io *io)
{
	completed++;
	if (io->status != 0 || au_submit(handle, io) != 0)
		fail("a request failed");
}

int main(int argc, char **argv)
{
	static struct au_io ios[MOST];
	unsigned int depth = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .depth = depth };
	double begin, passed = 0, seconds;

	if (argc < 4 || depth == 0 || depth > MOST)
		fail("usage: steady TARGET OUTSTANDING SECONDS [CPU]");
	seconds = strtod(argv[3], NULL);
	if (argc > 4) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(strtoul(argv[4], NULL, 10), &set);
		if (sched_setaffinity(0, sizeof(set), &set) != 0)
			fail("cannot pin to that processor");
	}
	if (au_open(argv[1], &options, &handle) != 0)
		fail(au_errmsg());
	for (unsigned int i = 0; i < depth; i++) {
		ios[i] = (struct au_io){ .op = 16, .done = again };
		if (au_submit(handle, &ios[i]) != 0)
			fail(au_errmsg());
	}
	begin = now();
	while (passed < seconds) {
		for (unsigned int i = 0; i < 100; i++)
			if (au_poll(handle, 0, -1) < 0)
				fail(au_errmsg());
		passed = now() - begin;
	}
	printf("%.0f requests, %.0f a second\n", (double)completed, (double)completed / passed);
	au_close(handle);
	return 0;
}
