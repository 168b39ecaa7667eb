/* SPDX-License-Identifier: MIT */
/*
 * pair.h - one client and one server thread, pinned to two processors, that talk over some pair of
 * rings: what every ring that is measured has in common.
 */
#ifndef AU_BENCH_PAIR_H
#define AU_BENCH_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Batching, the same for every ring: at most so many entries between two publications. */
#define PAIR_BATCH 32u

/**
 * struct bare_ring_result - what one run measured
 * @outstanding: requests kept in flight
 * @requests: requests answered
 * @seconds: how long that took
 * @rps: requests per second
 * @rtt_ns: mean time from a request's submission to its answer, ns: the client keeps exactly
 *	    @outstanding in flight, so it follows from the rate
 */
struct bare_ring_result {
	unsigned outstanding;
	uint64_t requests;
	double seconds;
	double rps;
	double rtt_ns;
};

/**
 * struct pair - one run, shared by its two threads
 * @client: runs the client until @seconds are over, then sets @stop
 * @server: runs the server until @stop
 * @rings: the rings, for @client and @server to know
 * @outstanding: requests to keep in flight
 * @seconds: wanted duration
 * @requests: requests answered; set by @client
 * @elapsed: seconds that took; set by @client
 * @stop: atomic
 * @broken: atomic: an answer was wrong
 */
struct pair {
	void (*client)(struct pair *);
	void (*server)(struct pair *);
	void *rings;
	unsigned outstanding;
	double seconds;
	uint64_t requests;
	double elapsed;
	bool stop;
	bool broken;
};

static inline double pair_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What the server makes of a request, so that an answer proves that it was read. */
static inline uint32_t pair_answer(uint64_t handle)
{
	return (uint32_t)handle * 3 + 1;
}

static inline void pair_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/**
 * pair_run - run both threads, on the first two processors that this process may use
 * @pair: functions, rings, outstanding and seconds set by the caller
 * @result: filled
 *
 * Return: 0; -ENODEV with fewer than two processors; -EIO if an answer was wrong; another negative
 * errno if no thread could be started or pinned.
 */
int pair_run(struct pair *pair, struct bare_ring_result *result);

/**
 * pair_memory - zeroed memory for rings, its pages present
 * @bytes: how much
 *
 * Return: the memory, to be unmapped with munmap(); NULL if there is none.
 */
void *pair_memory(size_t bytes);

#endif
