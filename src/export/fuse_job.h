/* SPDX-License-Identifier: MIT */
/*
 * fuse_job.h - what the kernel wants of the file, on its way through the unit. A job has room of
 * its own in the handle's buffers: the kernel writes there what is to be written, and takes from
 * there what was read, so that nothing is copied here. A driver sees these buffers, and may write
 * to them at any time; what decides, the head of a request, is therefore kept elsewhere.
 */
#ifndef AU_EXPORT_FUSE_JOB_H
#define AU_EXPORT_FUSE_JOB_H

#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>

#include "auriga/auriga.h"
#include "auriga/block.h"
#include "export/spin.h"

#define FUSE_JOB_DEPTH	64u
#define FUSE_JOB_MAX	(512u << 10) /* bytes of one request of the kernel's */
#define FUSE_JOB_HEAD	8192u	     /* of one that carries no data */
#define FUSE_JOB_PIECES 4u

struct fuse_jobs;

/**
 * struct fuse_job - a request.
 * @head: what was read, but for the data of a write.
 * @room: in the handle's buffers: the data.
 * @data, @left, @offset: what is still to be submitted.
 * @length: of the whole.
 * @whole: it has no bytes, and was not submitted yet.
 * @skip: bytes at the front that were read only because disks have blocks.
 * @flying: requests to the unit that are not complete.
 */
struct fuse_job {
	struct fuse_jobs *jobs;
	struct fuse_job *next;
	fuse_req_t req;
	struct fuse_buf head;
	char *room;
	uint16_t op;
	char *data;
	uint64_t left;
	uint64_t offset;
	size_t length;
	size_t skip;
	unsigned int flying;
	bool whole;
	int status;
	struct au_io io[FUSE_JOB_PIECES];
};

/**
 * struct fuse_jobs - a unit, and all jobs.
 * @current: the job that the next request is read into; it stays so until one wants to keep it.
 * @stalled: jobs for which the handle had no room; the oldest is @stalled, the newest at
 *@stalled_end.
 * @dead: the unit has failed for good, @why says how.
 */
struct fuse_jobs {
	struct au_handle *handle;
	struct au_block_info info;
	const char *target;
	uint32_t piece;
	struct fuse_job *all;
	struct fuse_job *free;
	struct fuse_job *current;
	struct fuse_job *stalled;
	struct fuse_job **stalled_end;
	unsigned int busy;
	struct export_spin spin;
	bool dead;
	char why[256];
};

/** fuse_jobs_open - open the unit; one line on stderr when it cannot be. */
int fuse_jobs_open(struct fuse_jobs *jobs, const char *target);
/** fuse_jobs_buffers - a buffer for each job. */
int fuse_jobs_buffers(struct fuse_jobs *jobs);
/** fuse_jobs_close - let go. */
void fuse_jobs_close(struct fuse_jobs *jobs);
/** fuse_jobs_poll - let the unit work, and look for a while while it does. Return: as au_poll(). */
int fuse_jobs_poll(struct fuse_jobs *jobs);
/** fuse_jobs_drain - until all is answered, or the unit has failed. */
void fuse_jobs_drain(struct fuse_jobs *jobs);
/** fuse_job_room - whether there is room for another request. */
bool fuse_job_room(struct fuse_jobs *jobs);
/**
 * fuse_job_receive - the next request of the kernel's from @fd, which does not wait.
 * Return: its head, for fuse_session_process_buf(); NULL with @err: -EAGAIN: there is none;
 * -ENODEV: unmounted.
 */
struct fuse_buf *fuse_job_receive(struct fuse_jobs *jobs, int fd, int *err);

/** fuse_job_read, fuse_job_write, fuse_job_flush, fuse_job_range - begin; the answer comes later.
 */
void fuse_job_read(struct fuse_jobs *jobs, fuse_req_t req, size_t size, uint64_t offset);
void fuse_job_write(struct fuse_jobs *jobs, fuse_req_t req, size_t size, uint64_t offset);
void fuse_job_flush(struct fuse_jobs *jobs, fuse_req_t req);
void fuse_job_range(struct fuse_jobs *jobs, fuse_req_t req, uint16_t op, uint64_t offset,
		    uint64_t length);

#endif
