/* SPDX-License-Identifier: MIT */
/*
 * bench_disk.h - `auriga bench block` in three parts: the command and its figures (bench_block.c),
 * the threads that keep requests in flight (bench_disk.c), and what they expect to read
 * (bench_verify.c).
 */
#ifndef AU_CLI_BENCH_DISK_H
#define AU_CLI_BENCH_DISK_H

#include "auriga/auriga.h"
#include "auriga/block.h"
#include "cli/bench_hist.h"

#include <pthread.h>
#include <stdatomic.h>

/**
 * struct disk_plan - what is measured.
 * @writes: of 256 requests so many are writes.
 * @random: offsets are random; else one behind the other.
 * @block: bytes of a request.
 * @count: so many requests in all; 0: for @seconds.
 */
struct disk_plan {
	const char *target;
	unsigned int writes;
	bool random;
	bool verify;
	uint32_t block;
	unsigned int depth;
	unsigned int lanes;
	uint64_t count;
	double seconds;
};

struct disk_verify;
struct disk_lane;

/** struct disk_job - one request that is submitted again and again. */
struct disk_job {
	struct au_io io;
	struct disk_lane *lane;
	uint64_t start;
	uint64_t index; /* of the block, where it is verified */
	uint64_t sequence;
	bool idle;
};

/**
 * struct disk_lane - a thread with a handle of its own.
 * @data: for one request; the others are in the handle's own buffers, so that nothing is copied.
 * @writes, @block, @jump: of the plan, where they are at hand.
 * @patience_ms: for au_poll(): whoever runs the driver has to look, the others may sleep.
 * @blocks: requests go to so many blocks from @first on.
 * @ready: it is open, or has failed: its time begins.
 * @left: requests that are still to be submitted.
 * @done: complete so far; read by others while the lane runs.
 * @error: the first that a request or the handle had.
 */
struct disk_lane {
	const struct disk_plan *plan;
	unsigned int number;
	pthread_t thread;
	struct au_handle *handle;
	struct disk_job *jobs;
	char *data;
	struct disk_verify *verify;
	unsigned int writes;
	uint32_t block;
	bool jump;
	int patience_ms;
	uint64_t random;
	uint64_t first, blocks, next;
	uint64_t left;
	unsigned int flying;
	_Atomic uint64_t done;
	atomic_bool ready;
	uint64_t errors;
	int error;
	char why[256];
	double elapsed, cpu;
	uint64_t ticks;
	struct bench_hist hist;
};

/** disk_run - open, run the plan, close: the body of a lane's thread. @arg: struct disk_lane. */
void *disk_run(void *arg);
/** disk_stop - set: lanes submit nothing more. */
extern atomic_bool disk_stop;
/** disk_random - the lane's next random number. */
static inline uint64_t disk_random(struct disk_lane *lane)
{
	uint64_t x = lane->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return lane->random = x;
}

/** disk_verify_new - for the lane's blocks; NULL without memory. */
struct disk_verify *disk_verify_new(const struct disk_lane *lane);
/** disk_verify_free - let go. */
void disk_verify_free(struct disk_verify *verify);
/** disk_verify_most - blocks that can be followed at most. */
uint64_t disk_verify_most(void);
/** disk_verify_begin - choose a block that nobody works on, and fill in what is written. */
void disk_verify_begin(struct disk_verify *verify, struct disk_job *job, uint64_t index);
/** disk_verify_end - the request is complete: look at what was read. */
void disk_verify_end(struct disk_verify *verify, struct disk_job *job);
/** disk_verify_all - read back each block that was written. Return: 0 or a negative errno. */
int disk_verify_all(struct disk_verify *verify, struct disk_lane *lane);
/** disk_verify_mismatches - blocks that had something else than they should. */
uint64_t disk_verify_mismatches(const struct disk_verify *verify);

#endif
