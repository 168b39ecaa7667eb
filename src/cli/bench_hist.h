/* SPDX-License-Identifier: MIT */
/*
 * bench_hist.h - a histogram that costs a handful of instructions per value: 32 buckets for each
 * power of two, so that a value is known to 3 percent. Values are ticks of a counter that is read
 * without a system call.
 */
#ifndef AU_CLI_BENCH_HIST_H
#define AU_CLI_BENCH_HIST_H

#include <stdint.h>
#include <time.h>

#define HIST_SUB_BITS 5u
#define HIST_SUB      (1u << HIST_SUB_BITS)
#define HIST_BUCKETS  ((64 - HIST_SUB_BITS) * HIST_SUB + HIST_SUB)

/** struct bench_hist - the largest value is kept as it is. */
struct bench_hist {
	uint64_t max;
	uint64_t count[HIST_BUCKETS];
};

/** bench_ticks - now, in ticks; how many there are in a second is measured by who wants to know. */
static inline uint64_t bench_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

/** bench_hist_bucket - where @value is counted. */
static inline unsigned int bench_hist_bucket(uint64_t value)
{
	unsigned int shift;

	if (value < HIST_SUB)
		return (unsigned int)value;
	shift = 63u - (unsigned int)__builtin_clzll(value) - HIST_SUB_BITS;
	return shift * HIST_SUB + (unsigned int)(value >> shift);
}

/** bench_hist_value - the smallest value of bucket @bucket. */
static inline uint64_t bench_hist_value(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < 2 * HIST_SUB)
		return bucket;
	shift = bucket / HIST_SUB - 1;
	return (uint64_t)(bucket - shift * HIST_SUB) << shift;
}

/** bench_hist_add - count @value. */
static inline void bench_hist_add(struct bench_hist *hist, uint64_t value)
{
	hist->count[bench_hist_bucket(value)]++;
	if (value > hist->max)
		hist->max = value;
}

/** bench_hist_merge - add what @from has counted. */
static inline void bench_hist_merge(struct bench_hist *to, const struct bench_hist *from)
{
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		to->count[i] += from->count[i];
	if (from->max > to->max)
		to->max = from->max;
}

/** bench_hist_quantile - the value that a fraction @part of all lie below. */
static inline uint64_t bench_hist_quantile(const struct bench_hist *hist, double part)
{
	uint64_t all = 0, below = 0, want;

	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		all += hist->count[i];
	want = (uint64_t)((double)all * part);
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		below += hist->count[i];
		if (hist->count[i] && below > want)
			return bench_hist_value(i) < hist->max ? bench_hist_value(i) : hist->max;
	}
	return hist->max;
}

#endif
