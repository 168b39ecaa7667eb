/* SPDX-License-Identifier: MIT */
/*
 * Disks: a part of one, in cells of 4 KiB or of a block, each worked on by one request at a time,
 * so that it is known what a read must find: the last write that was acknowledged. Of a write that
 * failed or was cancelled each sector may be there or not; where the device was pulled out
 * meanwhile, anything may.
 */
#include "auriga/block.h"
#include "cli/cert_client.h"
#include "cli/pattern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CELL_BYTES 4096u
#define CELLS_MAX  256u
#define CELLS_RUN  8u /* of one request at most */
#define CELL_MAYBE 3u

/* Sequences: what is not known, zeroes, and then the writes. */
enum { SEQUENCE_UNKNOWN, SEQUENCE_ZERO, SEQUENCE_FIRST };

/** struct cell - what is there, and what may be there in its place since writes failed. */
struct cell {
	uint64_t known;
	uint64_t maybe[CELL_MAYBE];
	unsigned int maybes;
	bool busy;
};

/** struct disk - kept across reopening: what was acknowledged stays. */
struct disk {
	struct au_block_info info;
	uint64_t run, sequence, first;
	uint32_t cell, count, run_max;
	struct cell cells[CELLS_MAX];
};

static int disk_share(struct cert_client *c, struct disk *d)
{
	uint64_t cells;

	d->cell = d->info.block_size > CELL_BYTES ? d->info.block_size : CELL_BYTES;
	cells = d->info.bytes / d->cell / (c->options.parts ? c->options.parts : 1);
	d->count = cells < CELLS_MAX ? (uint32_t)cells : CELLS_MAX;
	d->first = (uint64_t)d->cell * d->count * c->options.part;
	d->run_max = CERT_BUFFER / d->cell;
	if (d->info.max_transfer && d->run_max > d->info.max_transfer / d->cell)
		d->run_max = d->info.max_transfer / d->cell;
	if (d->run_max > CELLS_RUN)
		d->run_max = CELLS_RUN;
	if (d->count >= 2 * CERT_DEPTH && d->run_max)
		return 0;
	cert_wrong(c, &c->errors, "the disk is too small, or its blocks are too large: %llu bytes",
		   (unsigned long long)d->info.bytes);
	return -EINVAL;
}

static int disk_begin(struct cert_client *c)
{
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	struct disk *d = c->own ? c->own : calloc(1, sizeof(*d));
	int rc = d ? au_block_info(c->handle, &info) : -ENOMEM;

	c->own = d;
	if (rc) {
		/* One that is gone again already is opened once more. */
		if (rc != -ENODEV)
			cert_wrong(c, &c->errors, "no answer to what disk it is: %s",
				   strerror(-rc));
		return rc;
	}
	for (uint32_t i = 0; i < d->count; i++)
		d->cells[i].busy = false;
	if (d->run && d->info.bytes != info.bytes) {
		cert_wrong(c, &c->errors, "the disk came back with another size");
		return -EINVAL;
	}
	d->info = info;
	if (d->run)
		return 0;
	d->run = (c->options.seed << 8 ^ cert_now_ms()) * 0x9e3779b97f4a7c15u | 1;
	d->sequence = SEQUENCE_FIRST;
	return disk_share(c, d);
}

/* A run of cells that nobody works on. */
static bool disk_choose(struct cert_client *c, struct disk *d, struct cert_job *job)
{
	for (unsigned int attempt = 0; attempt < 8; attempt++) {
		uint64_t first = cert_random(c, d->count), n = cert_random(c, d->run_max) + 1, i;

		for (i = 0; i < n && first + i < d->count && !d->cells[first + i].busy; i++)
			;
		if (!i)
			continue;
		job->a = first;
		job->b = i;
		job->io.arg[0] = d->first + first * d->cell;
		for (n = 0; n < i; n++)
			d->cells[first + n].busy = true;
		return true;
	}
	return false;
}

static bool disk_fill(struct cert_client *c, struct cert_job *job)
{
	struct disk *d = c->own;
	uint64_t what = cert_random(c, 100);
	bool writable = !(d->info.flags & AU_BLOCK_READ_ONLY);

	job->b = 0;
	if (what < 4 && writable) {
		job->io.op = AU_BLOCK_FLUSH;
		return true;
	}
	if (!disk_choose(c, d, job))
		return false;
	job->io.length = (uint32_t)job->b * d->cell;
	if (what < 8 && writable && (d->info.flags & AU_BLOCK_CAN_ZERO)) {
		job->io.op = AU_BLOCK_WRITE_ZEROES;
		job->io.arg[1] = job->io.length;
		job->io.length = 0;
	} else if (what < 10 && writable && (d->info.flags & AU_BLOCK_CAN_DISCARD)) {
		job->io.op = AU_BLOCK_DISCARD;
		job->io.arg[1] = job->io.length;
		job->io.length = 0;
	} else if (writable && (what < 55 || d->cells[job->a].known == SEQUENCE_UNKNOWN)) {
		job->io.op = AU_BLOCK_WRITE;
		if (what < 15 && (d->info.flags & AU_BLOCK_CACHE))
			job->io.flags = AU_BLOCK_FUA;
		pattern_fill(job->io.data, job->io.length, d->run, job->io.arg[0], ++d->sequence);
	} else {
		job->io.op = AU_BLOCK_READ;
		/* What a read leaves untouched must not look right. */
		memset(job->io.data, 0xee, job->io.length);
	}
	job->io.user = (void *)(uintptr_t)d->sequence;
	return true;
}

/* -------------------------------------------------------------------- looking */

static bool cell_allows(const struct cell *cell, uint64_t sequence)
{
	bool good = cell->known == sequence;

	for (unsigned int i = 0; i < cell->maybes; i++)
		good |= cell->maybe[i] == sequence;
	return good;
}

static void disk_look(struct cert_client *c, struct disk *d, const struct cert_job *job,
		      uint64_t index, const char *data)
{
	const struct cell *cell = &d->cells[index];
	uint64_t offset = d->first + index * d->cell;

	if (cell->known == SEQUENCE_UNKNOWN || c->options.no_data)
		return;
	for (uint32_t at = 0; at < d->cell; at += PATTERN_SECTOR) {
		struct pattern_head head;
		uint64_t sequence = SEQUENCE_UNKNOWN;

		if (pattern_zero(data + at))
			sequence = SEQUENCE_ZERO;
		else if (pattern_sector(data + at, d->run, offset + at, &head))
			sequence = head.sequence;
		if (sequence != SEQUENCE_UNKNOWN && cell_allows(cell, sequence))
			continue;
		cert_wrong(c, &c->wrong,
			   "at %llu: %s %llu was read (request %u), where write %llu was "
			   "acknowledged",
			   (unsigned long long)offset + at,
			   sequence == SEQUENCE_UNKNOWN ? "no write of this run, but" : "write",
			   sequence == SEQUENCE_UNKNOWN ? (unsigned long long)head.magic
							: (unsigned long long)sequence,
			   job->index, (unsigned long long)cell->known);
		return;
	}
}

/* What a write leaves there. */
static void cell_written(struct cell *cell, uint64_t sequence, int status)
{
	if (status == 0) {
		cell->known = sequence;
		cell->maybes = 0;
	} else if (status == -ENODEV || cell->maybes == CELL_MAYBE ||
		   sequence == SEQUENCE_UNKNOWN) {
		cell->known = SEQUENCE_UNKNOWN;
		cell->maybes = 0;
	} else {
		cell->maybe[cell->maybes++] = sequence;
	}
}

static void disk_done(struct cert_client *c, struct cert_job *job)
{
	struct disk *d = c->own;
	const struct au_io *io = &job->io;
	uint64_t sequence = (uintptr_t)io->user;

	if (io->op == AU_BLOCK_WRITE_ZEROES)
		sequence = SEQUENCE_ZERO;
	if (io->op == AU_BLOCK_DISCARD)
		sequence = d->info.flags & AU_BLOCK_DISCARD_ZERO ? SEQUENCE_ZERO : SEQUENCE_UNKNOWN;
	if (io->status == 0 && io->length && io->result != io->length)
		cert_wrong(c, &c->wrong, "operation %u of %u bytes moved %u", io->op, io->length,
			   io->result);
	for (uint64_t i = 0; i < job->b; i++) {
		struct cell *cell = &d->cells[job->a + i];

		cell->busy = false;
		if (io->op != AU_BLOCK_READ && io->status != -EAGAIN)
			cell_written(cell, sequence, io->status);
		else if (io->status == 0)
			disk_look(c, d, job, job->a + i, (const char *)io->data + i * d->cell);
	}
	job->b = 0;
}

/* Each cell once more, one request at a time: nothing that was acknowledged may be missing. */
static bool disk_quiet(struct cert_client *c)
{
	struct disk *d = c->own;
	struct cert_job *job = &c->jobs[0];

	for (uint64_t i = 0; i < d->count && !c->gone && !c->wrong; i++) {
		if (d->cells[i].known == SEQUENCE_UNKNOWN)
			continue;
		job->io = (struct au_io){ .op = AU_BLOCK_READ,
					  .length = d->cell,
					  .data = c->data,
					  .arg = { d->first + i * d->cell } };
		if (au_wait(c->handle, &job->io) == 0)
			disk_look(c, d, job, i, c->data);
		else if (job->io.status != -ENODEV || !c->gone_ok)
			cert_wrong(c, &c->errors, "a read at the end: %s",
				   strerror(-job->io.status));
		if (job->io.status)
			break;
		c->completed++;
	}
	return true;
}

/* Whether there is something that would be overwritten: not zeroes, and not an earlier run's. */
static void disk_probe(struct cert_client *c, json_t *found)
{
	struct disk *d = c->own;
	bool blank = true;

	json_object_set_new(found, "bytes", json_integer((json_int_t)d->info.bytes));
	json_object_set_new(found, "model", json_string_nocheck(d->info.model));
	json_object_set_new(found, "read_only", json_boolean(d->info.flags & AU_BLOCK_READ_ONLY));
	for (uint64_t i = 0; i < d->count && blank; i++) {
		memset(c->data, 0, d->cell);
		if (au_block_read(c->handle, d->first + i * d->cell, c->data, d->cell) != 0) {
			cert_wrong(c, &c->errors, "it cannot be read: %s", au_errmsg());
			return;
		}
		for (uint32_t at = 0; at < d->cell && blank; at += PATTERN_SECTOR) {
			struct pattern_head head;

			memcpy(&head, c->data + at, sizeof(head));
			blank = pattern_is(&head) || pattern_zero(c->data + at);
		}
	}
	json_object_set_new(found, "blank", json_boolean(blank));
}

const struct cert_class cert_block = {
	.name = "block",
	.begin = disk_begin,
	.fill = disk_fill,
	.done = disk_done,
	.quiet = disk_quiet,
	.probe = disk_probe,
};
