/* SPDX-License-Identifier: MIT */
/*
 * What a disk must hold. Each block that is written says where it belongs and which of all writes
 * it was (pattern.h). A block is worked on by one request at a time, so that what a
 * read must find is known exactly: the last write that was acknowledged, never an older one. Only
 * a write that failed leaves it open which of the two it is.
 */
#include "cli/bench_disk.h"
#include "cli/cli.h"
#include "cli/pattern.h"

#include <stdlib.h>
#include <string.h>

#define VERIFY_BLOCKS (1u << 20)
#define VERIFY_SHOWN  10u

/* One block: what is known to be there, and what may be there since a write failed. */
struct verify_block {
	uint64_t known;
	uint64_t maybe;
	bool busy;
};

struct disk_verify {
	uint64_t first, blocks;
	uint32_t size;
	uint64_t run;	   /* of this run: an older one's blocks are not taken for its own */
	uint64_t sequence; /* of the last write */
	uint64_t mismatches;
	int failed; /* why the last look did not go through */
	struct verify_block *block;
};

uint64_t disk_verify_most(void)
{
	return VERIFY_BLOCKS;
}

struct disk_verify *disk_verify_new(const struct disk_lane *lane)
{
	struct disk_verify *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	*v = (struct disk_verify){ .first = lane->first,
				   .blocks = lane->blocks,
				   .size = lane->plan->block,
				   .run = bench_ticks(),
				   .block = calloc(lane->blocks, sizeof(*v->block)) };
	if (!v->block) {
		free(v);
		return NULL;
	}
	return v;
}

void disk_verify_free(struct disk_verify *v)
{
	if (v)
		free(v->block);
	free(v);
}

uint64_t disk_verify_mismatches(const struct disk_verify *v)
{
	return v ? v->mismatches : 0;
}

static void verify_wrong(struct disk_verify *v, uint64_t offset, const struct verify_block *b,
			 const struct pattern_head *head)
{
	if (v->mismatches++ >= VERIFY_SHOWN)
		return;
	if (!pattern_is(head) || head->run != v->run)
		cli_say("at %llu: not what was written: write %llu was acknowledged",
			(unsigned long long)offset, (unsigned long long)b->known);
	else
		cli_say("at %llu: write %llu to %llu, where %llu was acknowledged",
			(unsigned long long)offset, (unsigned long long)head->sequence,
			(unsigned long long)head->offset, (unsigned long long)b->known);
}

/* Compare what is in @data with what block @b must hold; @offset is that of the block. */
static void verify_look(struct disk_verify *v, const struct verify_block *b, uint64_t offset,
			const char *data)
{
	if (!b->known)
		return;
	for (uint32_t done = 0; done < v->size; done += PATTERN_SECTOR, data += PATTERN_SECTOR) {
		struct pattern_head head;
		bool good = pattern_sector(data, v->run, offset + done, &head);

		good &= head.sequence == b->known || (b->maybe && head.sequence == b->maybe);
		if (!good) {
			verify_wrong(v, offset + done, b, &head);
			return;
		}
	}
}

void disk_verify_begin(struct disk_verify *v, struct disk_job *job, uint64_t index)
{
	while (v->block[index].busy)
		index = index + 1 < v->blocks ? index + 1 : 0;
	v->block[index].busy = true;
	job->index = index;
	job->io.arg[0] = (v->first + index) * v->size;
	if (job->io.op == AU_BLOCK_READ) {
		/* What a read leaves untouched must not look right. */
		memset(job->io.data, 0xee, v->size);
		return;
	}
	job->sequence = ++v->sequence;
	pattern_fill(job->io.data, v->size, v->run, job->io.arg[0], v->sequence);
}

void disk_verify_end(struct disk_verify *v, struct disk_job *job)
{
	struct verify_block *b = &v->block[job->index];

	b->busy = false;
	if (job->io.op == AU_BLOCK_READ) {
		if (job->io.status == 0)
			verify_look(v, b, job->io.arg[0], job->io.data);
	} else if (job->io.status == 0) {
		b->known = job->sequence;
		b->maybe = 0;
	} else {
		b->maybe = job->sequence;
	}
}

/* The next block that was written, if there is one. */
static void verify_next(struct disk_verify *v, struct disk_job *job)
{
	struct disk_lane *lane = job->lane;
	int rc;

	while (lane->next < v->blocks && !v->block[lane->next].known)
		lane->next++;
	if (lane->next == v->blocks)
		return;
	job->io.op = AU_BLOCK_READ;
	disk_verify_begin(v, job, lane->next++);
	rc = au_submit(lane->handle, &job->io);
	if (rc) {
		lane->errors++;
		lane->next = v->blocks;
		v->failed = rc;
	} else {
		lane->flying++;
	}
}

static void verify_done(struct au_io *io)
{
	struct disk_job *job = (struct disk_job *)io;
	struct disk_verify *v = job->lane->verify;

	job->lane->flying--;
	disk_verify_end(v, job);
	if (io->status) {
		job->lane->errors++;
		v->failed = io->status;
	}
	verify_next(v, job);
}

int disk_verify_all(struct disk_verify *v, struct disk_lane *lane)
{
	lane->next = 0;
	for (unsigned int i = 0; i < lane->plan->depth; i++) {
		lane->jobs[i].io.done = verify_done;
		verify_next(v, &lane->jobs[i]);
	}
	while (lane->flying) {
		int rc = au_poll(lane->handle, 0, lane->patience_ms);

		if (rc < 0)
			return rc;
	}
	return v->failed;
}
