/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the measurements have in common: a manager of their own with the driver "echo"
 * behind it, processors to pin to, and the loop that keeps requests in flight.
 */
#ifndef AU_CLI_BENCH_H
#define AU_CLI_BENCH_H

#include "auriga/auriga.h"
#include "cli/cli.h"

#include <sys/types.h>

#define BENCH_UNIT   "bench-echo"
#define BENCH_DEPTH  128u
#define BENCH_ROUNDS 15

/**
 * struct bench_world - a manager with its own runtime directory, and one host.
 * @cpu: the first two processors that this process may use; the same one twice if there is one.
 */
struct bench_world {
	pid_t manager;
	pid_t host;
	int cpu[2];
	unsigned int cpus;
	char dir[64];
};

/** bench_world_start - make it. Return: 0, or an exit status after a message. */
int bench_world_start(struct bench_world *world);
/** bench_world_stop - take it down; nothing is left. */
void bench_world_stop(struct bench_world *world);
/** bench_pin - pin all threads of process @pid (0: this thread only) to processor @cpu, or to both
 * of @world with -1. */
int bench_pin(const struct bench_world *world, pid_t pid, int cpu);
/** bench_open - open a unit for measuring; NULL after a message. */
struct au_handle *bench_open(const struct bench_world *world, const char *target);
/**
 * bench_rate - keep @outstanding requests in flight for @seconds.
 * Return: requests per second; negative after a message.
 */
double bench_rate(struct au_handle *h, unsigned int outstanding, double seconds);
/** bench_median - of @count values, which it sorts. */
double bench_median(double *values, unsigned int count);

int bench_block(int argc, char **argv);
int bench_channel(int argc, char **argv);
int bench_placement(int argc, char **argv);
int bench_power(int argc, char **argv);
int bench_recovery(int argc, char **argv);
int bench_upgrade(int argc, char **argv);

#endif
