/* SPDX-License-Identifier: MIT */
#define FUSE_USE_VERSION 314

#include "export/fuse_job.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Beside the data: a block more at each end of a read that is not of whole blocks. */
#define FUSE_JOB_ROOM	(FUSE_JOB_MAX + (1u << 17))
/* What goes before the data of a write. */
#define FUSE_JOB_BEFORE (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
/* One buffer of the handle's is not for us. */
#define FUSE_JOB_SHARE	(FUSE_JOB_ROOM / (FUSE_JOB_DEPTH - 1) * FUSE_JOB_DEPTH / 4096 * 4096 + 4096)

/* ------------------------------------------------------------------------- answers */

static void fuse_job_free(struct fuse_job *job)
{
	job->next = job->jobs->free;
	job->jobs->free = job;
	job->jobs->busy--;
}

static void fuse_job_answer(struct fuse_job *job)
{
	if (job->status)
		fuse_reply_err(job->req, -job->status);
	else if (job->op == AU_BLOCK_READ)
		fuse_reply_buf(job->req, job->room + job->skip, job->length);
	else if (job->op == AU_BLOCK_WRITE)
		fuse_reply_write(job->req, job->length);
	else
		fuse_reply_err(job->req, 0);
	fuse_job_free(job);
}

static void fuse_job_go_on(struct fuse_job *job);

static void fuse_job_done(struct au_io *io)
{
	struct fuse_job *job = io->user;

	job->flying--;
	if (io->status && !job->status)
		job->status = io->status == -EPERM ? -EROFS : io->status;
	/* This one may carry the next piece. */
	io->user = NULL;
	fuse_job_go_on(job);
}

static bool fuse_job_submit(struct fuse_job *job, struct au_io *io)
{
	struct fuse_jobs *jobs = job->jobs;
	bool moves = job->op == AU_BLOCK_READ || job->op == AU_BLOCK_WRITE;
	uint64_t most = moves ? jobs->piece : jobs->info.max_range;
	uint64_t piece = job->left < most ? job->left : most;
	int rc;

	*io = (struct au_io){ .op = job->op,
			      .length = moves ? (uint32_t)piece : 0,
			      .arg = { job->offset, moves ? 0 : piece },
			      .data = moves ? job->data : NULL,
			      .done = fuse_job_done,
			      .user = job };
	rc = au_submit(jobs->handle, io);
	if (rc) {
		io->user = NULL;
		if (rc != -EAGAIN)
			job->status = rc;
		return false;
	}
	job->flying++;
	job->whole = false;
	job->left -= piece;
	job->offset += piece;
	if (moves)
		job->data += piece;
	return true;
}

/* A flush has no bytes, and is one request all the same. */
static bool fuse_job_over(const struct fuse_job *job)
{
	return job->status || (job->left == 0 && !job->whole);
}

static void fuse_job_stall(struct fuse_job *job)
{
	job->next = NULL;
	*job->jobs->stalled_end = job;
	job->jobs->stalled_end = &job->next;
}

/* Submit what can be; answer when nothing is left. */
static void fuse_job_go_on(struct fuse_job *job)
{
	for (unsigned int i = 0; i < FUSE_JOB_PIECES && !fuse_job_over(job); i++)
		if (!job->io[i].user && !fuse_job_submit(job, &job->io[i]))
			break;
	if (job->flying)
		return;
	if (!fuse_job_over(job))
		fuse_job_stall(job);
	else
		fuse_job_answer(job);
}

/* There was no room for these; some of the others are complete now. */
static void fuse_jobs_unstall(struct fuse_jobs *jobs)
{
	struct fuse_job *job = jobs->stalled;

	jobs->stalled = NULL;
	jobs->stalled_end = &jobs->stalled;
	while (job) {
		struct fuse_job *next = job->next;

		fuse_job_go_on(job);
		job = next;
	}
}

/* -------------------------------------------------------------------------- begins */

bool fuse_job_room(struct fuse_jobs *jobs)
{
	if (!jobs->current && jobs->free) {
		jobs->current = jobs->free;
		jobs->free = jobs->current->next;
	}
	return jobs->current;
}

/*
 * The head of a write, which is as long as this, goes where no driver can change it, its data to
 * the handle's buffers. Whatever else the kernel has to say is short, and follows its head; texts
 * in there end, also when somebody has meanwhile changed them.
 */
struct fuse_buf *fuse_job_receive(struct fuse_jobs *jobs, int fd, int *err)
{
	struct fuse_job *job = jobs->current;
	struct fuse_in_header *in = job->head.mem;
	struct iovec parts[] = { { in, FUSE_JOB_BEFORE }, { job->room, FUSE_JOB_ROOM } };
	ssize_t n;

	/* ENOENT: the request was taken back while it was read. */
	do {
		n = readv(fd, parts, 2);
	} while (n < 0 && (errno == EINTR || errno == ENOENT));
	if (n < (ssize_t)sizeof(*in)) {
		*err = n < 0 ? -errno : -ENODEV;
		return NULL;
	}
	job->head.size = (size_t)n;
	if (n > (ssize_t)FUSE_JOB_BEFORE && in->opcode != FUSE_WRITE) {
		size_t more = (size_t)n - FUSE_JOB_BEFORE;

		if (more > FUSE_JOB_HEAD - FUSE_JOB_BEFORE - 1)
			more = FUSE_JOB_HEAD - FUSE_JOB_BEFORE - 1;
		memcpy((char *)in + FUSE_JOB_BEFORE, job->room, more);
		memset((char *)in + FUSE_JOB_BEFORE + more, 0,
		       FUSE_JOB_HEAD - FUSE_JOB_BEFORE - more);
	}
	return &job->head;
}

/* The request that was just read becomes a job, and keeps its place. */
static struct fuse_job *fuse_job_take(struct fuse_jobs *jobs, fuse_req_t req, uint16_t op)
{
	struct fuse_job *job = jobs->current;

	jobs->current = NULL;
	jobs->busy++;
	job->req = req;
	job->op = op;
	job->status = 0;
	job->skip = job->length = 0;
	job->left = 0;
	job->whole = false;
	for (unsigned int i = 0; i < FUSE_JOB_PIECES; i++)
		job->io[i].user = NULL;
	return job;
}

void fuse_job_read(struct fuse_jobs *jobs, fuse_req_t req, size_t size, uint64_t offset)
{
	uint64_t bytes = jobs->info.bytes, block = jobs->info.block_size, end;
	struct fuse_job *job;

	if (offset >= bytes || size == 0) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (size > FUSE_JOB_MAX)
		size = FUSE_JOB_MAX;
	if (size > bytes - offset)
		size = (size_t)(bytes - offset);
	job = fuse_job_take(jobs, req, AU_BLOCK_READ);
	job->length = size;
	job->skip = (size_t)(offset % block);
	end = (offset + size + block - 1) / block * block;
	job->offset = offset - job->skip;
	job->left = end - job->offset;
	job->data = job->room;
	fuse_job_go_on(job);
}

/* Part of a block at the front or at the end: the rest of it is read, and written back. Nothing
 * else is under way meanwhile, so that nobody's blocks are taken back. */
static int fuse_job_patch(struct fuse_jobs *jobs, const char *data, size_t size, uint64_t offset)
{
	uint32_t block = jobs->info.block_size;
	size_t skip = offset % block, length = (skip + size + block - 1) / block * block;
	uint64_t first = offset - skip;
	char *whole;
	int rc = 0;

	while (jobs->busy && rc >= 0) {
		rc = au_poll(jobs->handle, 0, -1);
		fuse_jobs_unstall(jobs);
	}
	if (rc < 0)
		return -EIO;
	whole = aligned_alloc(4096, (length + 4095) / 4096 * 4096);
	if (!whole)
		return -ENOMEM;
	rc = au_block_read(jobs->handle, first, whole, block);
	if (rc == 0 && length > block)
		rc = au_block_read(jobs->handle, first + length - block, whole + length - block,
				   block);
	memcpy(whole + skip, data, size);
	if (rc == 0)
		rc = au_block_write(jobs->handle, first, whole, length, 0);
	free(whole);
	return rc;
}

void fuse_job_write(struct fuse_jobs *jobs, fuse_req_t req, size_t size, uint64_t offset)
{
	uint64_t bytes = jobs->info.bytes;
	struct fuse_job *job;

	/* The data are where the current job has them, and no longer than that. */
	if (size > FUSE_JOB_MAX) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (offset >= bytes) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	if (size > bytes - offset)
		size = (size_t)(bytes - offset);
	if ((offset | size) % jobs->info.block_size) {
		int rc = fuse_job_patch(jobs, jobs->current->room, size, offset);

		if (rc)
			fuse_reply_err(req, rc == -EPERM ? EROFS : -rc);
		else
			fuse_reply_write(req, size);
		return;
	}
	job = fuse_job_take(jobs, req, AU_BLOCK_WRITE);
	job->length = size;
	job->left = size;
	job->offset = offset;
	job->data = job->room;
	fuse_job_go_on(job);
}

void fuse_job_flush(struct fuse_jobs *jobs, fuse_req_t req)
{
	struct fuse_job *job = fuse_job_take(jobs, req, AU_BLOCK_FLUSH);

	job->whole = true;
	fuse_job_go_on(job);
}

void fuse_job_range(struct fuse_jobs *jobs, fuse_req_t req, uint16_t op, uint64_t offset,
		    uint64_t length)
{
	struct fuse_job *job;

	if ((offset | length) % jobs->info.block_size) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	job = fuse_job_take(jobs, req, op);
	job->offset = offset;
	job->left = length;
	fuse_job_go_on(job);
}

/* ------------------------------------------------------------------- the whole of them */

static int fuse_jobs_fail(struct fuse_jobs *jobs, int rc, const char *why)
{
	fprintf(stderr, "auriga export fuse: %s\n", why);
	return rc;
}

int fuse_jobs_open(struct fuse_jobs *jobs, const char *target)
{
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .depth = FUSE_JOB_DEPTH,
						 .buffer_size = FUSE_JOB_SHARE };
	char why[160];
	int rc;

	jobs->target = target;
	jobs->stalled_end = &jobs->stalled;
	rc = au_open(target, &options, &jobs->handle);
	if (rc)
		return fuse_jobs_fail(jobs, rc, au_errmsg());
	if (strcmp(au_unit_class(jobs->handle), "block") != 0) {
		snprintf(why, sizeof(why), "%s is of class %s; this exporter takes disks", target,
			 au_unit_class(jobs->handle));
		return fuse_jobs_fail(jobs, -ENOTBLK, why);
	}
	jobs->info = (struct au_block_info){ .size = sizeof(jobs->info), .abi = 1 };
	rc = au_block_info(jobs->handle, &jobs->info);
	if (rc)
		return fuse_jobs_fail(jobs, rc, au_errmsg());
	jobs->piece = FUSE_JOB_MAX;
	if (jobs->info.max_transfer < jobs->piece)
		jobs->piece = jobs->info.max_transfer;
	return 0;
}

int fuse_jobs_buffers(struct fuse_jobs *jobs)
{
	size_t size;
	char *pool = au_buffers(jobs->handle, &size);

	if (!pool)
		return fuse_jobs_fail(jobs, -ENOMEM, au_errmsg());
	jobs->all = calloc(FUSE_JOB_DEPTH, sizeof(*jobs->all));
	if (!jobs->all || size < (size_t)FUSE_JOB_DEPTH * FUSE_JOB_ROOM)
		return fuse_jobs_fail(jobs, -ENOMEM, "no memory");
	for (unsigned int i = 0; i < FUSE_JOB_DEPTH; i++) {
		struct fuse_job *job = &jobs->all[i];

		job->jobs = jobs;
		job->room = pool + (size_t)i * FUSE_JOB_ROOM;
		job->head.mem = aligned_alloc(4096, FUSE_JOB_HEAD);
		if (!job->head.mem)
			return fuse_jobs_fail(jobs, -ENOMEM, "no memory");
		job->next = jobs->free;
		jobs->free = job;
	}
	return 0;
}

void fuse_jobs_close(struct fuse_jobs *jobs)
{
	au_close(jobs->handle);
	for (unsigned int i = 0; jobs->all && i < FUSE_JOB_DEPTH; i++)
		free(jobs->all[i].head.mem);
	free(jobs->all);
}

/* What comes after the disk has gone may be another disk, which no file system expects here. */
static void fuse_jobs_events(struct fuse_jobs *jobs)
{
	struct au_event event;

	while (au_event_next(jobs->handle, &event) == 1) {
		if (event.kind == AU_BLOCK_EVENT_RESIZED)
			jobs->info.bytes = event.arg[0];
		if (event.kind == AU_EVENT_GONE && !jobs->dead) {
			jobs->dead = true;
			snprintf(jobs->why, sizeof(jobs->why), "%s: the device was removed",
				 au_unit_name(jobs->handle));
		}
	}
}

int fuse_jobs_poll(struct fuse_jobs *jobs)
{
	int n = export_spin_poll(&jobs->spin, jobs->handle, jobs->busy == 1);

	fuse_jobs_events(jobs);
	/* A poll that does not wait does not say that there is nothing to wait for. */
	if (n == 0)
		n = au_flush(jobs->handle);
	if (n < 0) {
		jobs->dead = true;
		snprintf(jobs->why, sizeof(jobs->why), "%s", au_errmsg());
	} else if (jobs->dead) {
		n = -ENODEV;
	}
	if (n != 0 && jobs->stalled)
		fuse_jobs_unstall(jobs);
	return n;
}

void fuse_jobs_drain(struct fuse_jobs *jobs)
{
	for (int i = 0; i < 200 && jobs->busy && !jobs->dead; i++)
		if (au_poll(jobs->handle, 0, 50) < 0)
			break;
		else
			fuse_jobs_unstall(jobs);
	for (unsigned int i = 0; jobs->busy && i < FUSE_JOB_DEPTH; i++) {
		struct fuse_job *job = &jobs->all[i];

		if (job->flying) {
			fuse_reply_err(job->req, EIO);
			job->flying = 0;
		}
	}
}
