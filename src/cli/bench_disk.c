/* SPDX-License-Identifier: MIT */
/*
 * A lane of `auriga bench block`. The loop is made so that what is measured is the library and the
 * driver: everything is allocated before, a completed request is submitted again from its own
 * done(), and one reading of the clock ends one request and begins the next.
 */
#include "cli/bench_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a place more for data costs little. */
#define DISK_DEPTH_SMALL 64u
#define DISK_ERRORS_MAX	 1000u /* a disk that fails everything is not worth the time */

atomic_bool disk_stop;

static double disk_now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void disk_fail(struct disk_lane *lane, int error, const char *why)
{
	if (!lane->error) {
		lane->error = error;
		snprintf(lane->why, sizeof(lane->why), "%s", why);
	}
	lane->left = 0;
}

static inline uint64_t disk_block(struct disk_lane *lane)
{
	uint64_t index;

	if (lane->jump)
		return (uint64_t)(((unsigned __int128)disk_random(lane) * lane->blocks) >> 64);
	index = lane->next++;
	if (lane->next == lane->blocks)
		lane->next = 0;
	return index;
}

/* A job that counts as flying already. */
static inline void disk_submit(struct disk_lane *lane, struct disk_job *job, uint64_t now)
{
	unsigned int writes = lane->writes;
	uint64_t index = disk_block(lane);
	int rc;

	job->io.op = AU_BLOCK_READ;
	if (writes && (writes == 256 || (disk_random(lane) & 255) < writes))
		job->io.op = AU_BLOCK_WRITE;
	if (__builtin_expect(lane->verify != NULL, 0))
		disk_verify_begin(lane->verify, job, index);
	else
		job->io.arg[0] = (lane->first + index) * lane->block;
	job->start = now;
	lane->left--;
	rc = au_submit(lane->handle, &job->io);
	if (__builtin_expect(rc != 0, 0)) {
		lane->flying--;
		disk_fail(lane, rc, au_errmsg());
	}
}

static void __attribute__((noinline, cold))
disk_error(struct disk_lane *lane, const struct au_io *io)
{
	char why[128];

	if (lane->errors++ == 0) {
		snprintf(why, sizeof(why), "%s at %llu: %s",
			 io->op == AU_BLOCK_READ ? "read" : "write", (unsigned long long)io->arg[0],
			 strerror(-io->status));
		snprintf(lane->why, sizeof(lane->why), "%s", why);
		lane->error = io->status;
	}
	if (io->status == -ENODEV || lane->errors == DISK_ERRORS_MAX)
		lane->left = 0;
}

static void disk_done(struct au_io *io)
{
	struct disk_job *job = (struct disk_job *)io;
	struct disk_lane *lane = job->lane;
	uint64_t now = bench_ticks();

	bench_hist_add(&lane->hist, now - job->start);
	atomic_store_explicit(&lane->done,
			      atomic_load_explicit(&lane->done, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	if (__builtin_expect(io->status != 0, 0))
		disk_error(lane, io);
	if (__builtin_expect(lane->verify != NULL, 0))
		disk_verify_end(lane->verify, job);
	if (__builtin_expect(lane->left != 0, 1))
		disk_submit(lane, job, now);
	else
		lane->flying--;
}

/* Until nothing more is to be submitted, and then until everything is back.
 * bench/block-instructions counts the instructions in here. */
static void __attribute__((noinline)) disk_loop(struct disk_lane *lane)
{
	unsigned int round = 0;

	while (lane->flying) {
		int n = au_poll(lane->handle, 0, lane->patience_ms);

		if (__builtin_expect(n < 0, 0)) {
			disk_fail(lane, n, au_errmsg());
			return;
		}
		if (++round % 8 == 0 && atomic_load_explicit(&disk_stop, memory_order_relaxed))
			lane->left = 0;
	}
}

static int disk_prepare(struct disk_lane *lane)
{
	const struct disk_plan *plan = lane->plan;
	size_t size = 0, used = 0;
	char *data = au_buffers(lane->handle, &size);

	lane->jobs = calloc(plan->depth, sizeof(*lane->jobs));
	lane->data = aligned_alloc(4096, (plan->block + 4095ul) & ~4095ul);
	if (plan->verify)
		lane->verify = disk_verify_new(lane);
	if (!lane->jobs || !lane->data || !data || (plan->verify && !lane->verify))
		return -ENOMEM;
	for (unsigned int i = 0; i < plan->depth; i++, used += plan->block) {
		/* One that does not fit may have its data elsewhere, and is copied. */
		bool fits = size - used >= plan->block;

		if (!fits && i + 1 < plan->depth)
			return -ENOMEM;
		lane->jobs[i] = (struct disk_job){
			.io = { .length = plan->block,
				.data = fits ? data + used : lane->data,
				.done = disk_done },
			.lane = lane,
		};
	}
	return 0;
}

/* The lane's part of the disk; false when there is none. */
static bool disk_share(struct disk_lane *lane)
{
	const struct disk_plan *plan = lane->plan;
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	uint64_t blocks;
	int rc = au_block_info(lane->handle, &info);

	if (rc) {
		disk_fail(lane, rc, au_errmsg());
		return false;
	}
	if (plan->block % info.block_size || plan->block > info.max_transfer) {
		char why[160];

		snprintf(why, sizeof(why),
			 "%s: --bs %u: its blocks are of %u bytes, its requests of at most %u",
			 au_unit_name(lane->handle), plan->block, info.block_size,
			 info.max_transfer);
		disk_fail(lane, -EINVAL, why);
		return false;
	}
	if (plan->writes && (info.flags & AU_BLOCK_READ_ONLY)) {
		disk_fail(lane, -EPERM, "it is read-only: choose --rw read or randread");
		return false;
	}
	blocks = info.bytes / plan->block;
	/* Random lanes share the disk; where order or content matters each has a part. */
	if (!plan->random || plan->verify) {
		blocks /= plan->lanes;
		if (plan->verify && blocks > disk_verify_most() / plan->lanes)
			blocks = disk_verify_most() / plan->lanes;
		lane->first = blocks * lane->number;
	}
	lane->blocks = blocks;
	if (blocks == 0 || (plan->verify && blocks < plan->depth)) {
		disk_fail(lane, -EINVAL, "the disk is too small for so many requests of that size");
		return false;
	}
	return true;
}

static bool disk_open(struct disk_lane *lane)
{
	const struct disk_plan *plan = lane->plan;
	const struct au_open_options options = {
		.size = sizeof(options),
		.abi = AU_CLIENT_ABI,
		/* Lanes that run one driver between them take turns. */
		.flags = plan->lanes > 1 && strstr(plan->target, ",poll=app") ? AU_OPEN_SHARED : 0,
		.depth = plan->depth < DISK_DEPTH_SMALL ? plan->depth + 1 : plan->depth,
		.buffer_size = plan->block,
	};
	int rc = au_open(plan->target, &options, &lane->handle);

	if (rc) {
		disk_fail(lane, rc, au_errmsg());
		return false;
	}
	if (strcmp(au_unit_class(lane->handle), "block") != 0) {
		disk_fail(lane, -EINVAL, "it is no disk: its class is not block");
		return false;
	}
	if (!disk_share(lane))
		return false;
	rc = disk_prepare(lane);
	if (rc)
		disk_fail(lane, rc, "no memory for the requests");
	return rc == 0;
}

void *disk_run(void *arg)
{
	struct disk_lane *lane = arg;
	const struct disk_plan *plan = lane->plan;
	double start, cpu;
	uint64_t ticks;
	bool open;

	lane->random = 0x9e3779b97f4a7c15u * (lane->number + 1);
	lane->writes = plan->writes;
	lane->block = plan->block;
	lane->jump = plan->random;
	lane->patience_ms = strstr(plan->target, ",poll=app") ? 0 : -1;
	open = disk_open(lane);
	atomic_store(&lane->ready, true);
	if (open) {
		lane->left =
			plan->count ? (plan->count + plan->lanes - 1) / plan->lanes : UINT64_MAX;
		start = disk_now(CLOCK_MONOTONIC);
		cpu = disk_now(CLOCK_THREAD_CPUTIME_ID);
		ticks = bench_ticks();
		for (unsigned int i = 0; i < plan->depth && lane->left; i++) {
			lane->flying++;
			disk_submit(lane, &lane->jobs[i], bench_ticks());
		}
		disk_loop(lane);
		lane->ticks = bench_ticks() - ticks;
		lane->cpu = disk_now(CLOCK_THREAD_CPUTIME_ID) - cpu;
		lane->elapsed = disk_now(CLOCK_MONOTONIC) - start;
		if (lane->verify && !lane->error)
			disk_verify_all(lane->verify, lane);
	}
	au_close(lane->handle);
	free(lane->jobs);
	free(lane->data);
	lane->handle = NULL;
	return NULL;
}
