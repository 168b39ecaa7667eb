/* SPDX-License-Identifier: MIT */
/*
 * A disk as a file, by FUSE: one file in a directory, with direct I/O, that a loop device can stand
 * on. One thread takes requests from the kernel and hands them to the unit as they come, many at a
 * time, and answers when they are complete. The place that a request's data came to stays its own
 * until then: what is being written can never be what the next request brings.
 */
#define FUSE_USE_VERSION 314

#include "export/export.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "auriga/block.h"
#include "export/fuse_job.h"

#define FUSE_FILE_INO 2
#define FUSE_BATCH    32 /* requests taken from the kernel until the unit gets its turn */

struct fuse_disk {
	struct fuse_jobs jobs;
	struct fuse_session *session;
	const char *directory;
	const char *name;
	struct timespec born;
	int epoll;
	int signals;
	bool mounted;
	bool end;
};

/* -------------------------------------------------------------------- names, attributes */

static struct fuse_disk *fuse_disk_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static bool fuse_stat(const struct fuse_disk *d, fuse_ino_t ino, struct stat *st)
{
	const struct au_block_info *info = &d->jobs.info;
	bool read_only = info->flags & AU_BLOCK_READ_ONLY;

	*st = (struct stat){ .st_ino = ino, .st_uid = getuid(), .st_gid = getgid() };
	st->st_mtim = st->st_ctim = st->st_atim = d->born;
	if (ino == FUSE_ROOT_ID) {
		st->st_mode = S_IFDIR | 0555;
		st->st_nlink = 2;
	} else if (ino == FUSE_FILE_INO) {
		st->st_mode = S_IFREG | (read_only ? 0400 : 0600);
		st->st_nlink = 1;
		st->st_size = (off_t)info->bytes;
		st->st_blocks = (blkcnt_t)(info->bytes / 512);
		st->st_blksize = (blksize_t)info->block_size;
	} else {
		return false;
	}
	return true;
}

/* No time-out: the disk's size may change at any time. */
static void fuse_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	if (fuse_stat(fuse_disk_of(req), ino, &st))
		fuse_reply_attr(req, &st, 0);
	else
		fuse_reply_err(req, ENOENT);
}

/* Times and owners are nobody's here; its size is the disk's. */
static void fuse_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set,
			 struct fuse_file_info *fi)
{
	const struct fuse_disk *d = fuse_disk_of(req);

	if (set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		fuse_reply_err(req, EPERM);
	else if (set & FUSE_SET_ATTR_SIZE && (uint64_t)attr->st_size > d->jobs.info.bytes)
		fuse_reply_err(req, EFBIG);
	else
		fuse_getattr(req, ino, fi); /* like a disk: truncating changes nothing */
}

static void fuse_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct fuse_disk *d = fuse_disk_of(req);
	struct fuse_entry_param entry = { .ino = FUSE_FILE_INO, .entry_timeout = 60 };

	if (parent != FUSE_ROOT_ID || strcmp(name, d->name) != 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fuse_stat(d, FUSE_FILE_INO, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void fuse_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			 struct fuse_file_info *fi)
{
	const struct fuse_disk *d = fuse_disk_of(req);
	const char *names[] = { ".", "..", d->name };
	char data[1024];
	size_t used = 0;

	if (ino != FUSE_ROOT_ID) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	if (size > sizeof(data))
		size = sizeof(data);
	for (off_t i = offset; i >= 0 && i < 3; i++) {
		struct stat st;
		size_t more;

		fuse_stat(d, i == 2 ? FUSE_FILE_INO : FUSE_ROOT_ID, &st);
		more = fuse_add_direntry(req, data + used, size - used, names[i], &st, i + 1);
		if (more > size - used)
			break;
		used += more;
	}
	fuse_reply_buf(req, data, used);
}

static void fuse_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fuse_disk *d = fuse_disk_of(req);

	if (ino != FUSE_FILE_INO) {
		fuse_reply_err(req, EISDIR);
	} else if ((fi->flags & O_ACCMODE) != O_RDONLY && d->jobs.info.flags & AU_BLOCK_READ_ONLY) {
		fuse_reply_err(req, EROFS);
	} else {
		fi->direct_io = 1;
		fi->nonseekable = 0;
		fuse_reply_open(req, fi);
	}
}

/* ---------------------------------------------------------------------------- data */

static void fuse_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		      struct fuse_file_info *fi)
{
	fuse_job_read(&fuse_disk_of(req)->jobs, req, size, (uint64_t)offset);
}

static void fuse_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		       struct fuse_file_info *fi)
{
	/* @data: they are elsewhere, see fuse_job_receive(). */
	fuse_job_write(&fuse_disk_of(req)->jobs, req, size, (uint64_t)offset);
}

static void fuse_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	fuse_job_flush(&fuse_disk_of(req)->jobs, req);
}

static void fuse_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			   struct fuse_file_info *fi)
{
	struct fuse_jobs *jobs = &fuse_disk_of(req)->jobs;
	uint32_t can = jobs->info.flags;
	uint16_t op;

	/* A hole reads as zeroes; a discarded block only where the disk says so. */
	if (mode & FALLOC_FL_PUNCH_HOLE && can & AU_BLOCK_CAN_DISCARD &&
	    can & AU_BLOCK_DISCARD_ZERO)
		op = AU_BLOCK_DISCARD;
	else if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && can & AU_BLOCK_CAN_ZERO)
		op = AU_BLOCK_WRITE_ZEROES;
	else if (mode == 0 || mode == FALLOC_FL_KEEP_SIZE)
		op = 0; /* there is always room */
	else
		op = AU_BLOCK_INFO; /* nothing that a disk can do */
	if (op == AU_BLOCK_INFO)
		fuse_reply_err(req, EOPNOTSUPP);
	else if ((uint64_t)offset > jobs->info.bytes ||
		 (uint64_t)length > jobs->info.bytes - (uint64_t)offset)
		fuse_reply_err(req, ENOSPC);
	else if (op == 0)
		fuse_reply_err(req, 0);
	else
		fuse_job_range(jobs, req, op, (uint64_t)offset, (uint64_t)length);
}

static void fuse_init(void *userdata, struct fuse_conn_info *conn)
{
	conn->max_write = FUSE_JOB_MAX;
	conn->max_background = FUSE_JOB_DEPTH;
	conn->congestion_threshold = FUSE_JOB_DEPTH;
	conn->want |= conn->capable & FUSE_CAP_ASYNC_DIO;
	/* Each request is answered from a buffer of ours. */
	conn->want &= ~(unsigned int)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				      FUSE_CAP_SPLICE_MOVE);
}

static const struct fuse_lowlevel_ops fuse_ops = {
	.init = fuse_init,
	.lookup = fuse_lookup,
	.getattr = fuse_getattr,
	.setattr = fuse_setattr,
	.readdir = fuse_readdir,
	.open = fuse_open,
	.read = fuse_read,
	.write = fuse_write,
	.fsync = fuse_fsync,
	.fallocate = fuse_fallocate,
};

/* ---------------------------------------------------------------------------- the loop */

/* Take what the kernel has, as long as there is room. Returns whether there may be more. */
static bool fuse_take(struct fuse_disk *d)
{
	for (unsigned int i = 0; i < FUSE_BATCH && !fuse_session_exited(d->session); i++) {
		struct fuse_buf *buf;
		int err;

		if (!fuse_job_room(&d->jobs))
			return false;
		buf = fuse_job_receive(&d->jobs, fuse_session_fd(d->session), &err);
		if (!buf) {
			d->end = err != -EAGAIN; /* unmounted from outside */
			return false;
		}
		fuse_session_process_buf(d->session, buf);
	}
	return true;
}

static int fuse_wait(struct fuse_disk *d, bool more)
{
	struct epoll_event events[4];
	bool sleep = !more && au_arm(d->jobs.handle), alone = d->jobs.busy == 1;
	uint64_t began = sleep && alone ? export_now_ns() : 0;
	int n = epoll_wait(d->epoll, events, 4, sleep ? -1 : 0);

	if (began)
		export_spin_slept(&d->jobs.spin, export_now_ns() - began);
	for (int i = 0; i < n; i++)
		if (events[i].data.fd == d->signals)
			return -EINTR;
	return 0;
}

static int fuse_run(struct fuse_disk *d)
{
	struct fuse_jobs *jobs = &d->jobs;
	int rc = 0;

	while (rc == 0 && !d->end && !fuse_session_exited(d->session)) {
		bool more = fuse_take(d);
		int n;

		/* Complete all that there is: au_arm() is only safe after that. */
		do {
			n = fuse_jobs_poll(jobs);
		} while (n > 0);
		if (n < 0 && jobs->dead) {
			fprintf(stderr, "auriga export fuse: %s; unmounting\n", jobs->why);
			rc = n;
		} else if (fuse_wait(d, more) == -EINTR) {
			break;
		}
	}
	/* What is outstanding is answered before the mount goes. */
	fuse_jobs_drain(jobs);
	return rc;
}

/* ----------------------------------------------------------------- mounting, unmounting */

static int fuse_say(int rc, const char *what, const char *why)
{
	fprintf(stderr, "auriga export fuse: %s: %s\n", what, why);
	return rc;
}

/* What is in there would be hidden. */
static int fuse_empty(const struct fuse_disk *d)
{
	DIR *dir = opendir(d->directory);
	const struct dirent *entry;
	int rc = 0;

	if (!dir)
		return fuse_say(-errno, d->directory, strerror(errno));
	while (rc == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = -ENOTEMPTY;
	closedir(dir);
	return rc ? fuse_say(rc, d->directory, "it is not empty: mount on another directory") : 0;
}

/* A mount whose program was killed answers ENOTCONN until somebody takes it away. */
static int fuse_clean(const struct fuse_disk *d)
{
	struct stat st;

	for (int i = 0; i < 8 && stat(d->directory, &st) != 0; i++) {
		pid_t pid;

		if (errno != ENOTCONN)
			return fuse_say(-errno, d->directory, strerror(errno));
		if (umount2(d->directory, MNT_DETACH) == 0)
			continue;
		pid = fork();
		if (pid == 0) {
			execlp("fusermount3", "fusermount3", "-u", "-z", "--", d->directory,
			       (char *)NULL);
			_exit(127);
		}
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	if (stat(d->directory, &st) != 0)
		return fuse_say(-errno, d->directory, "a mount is left over here: unmount it");
	return S_ISDIR(st.st_mode) ? fuse_empty(d)
				   : fuse_say(-ENOTDIR, d->directory, "it is no directory");
}

static int fuse_mount_it(struct fuse_disk *d)
{
	char *argv[] = { (char *)(uintptr_t) "auriga", (char *)(uintptr_t) "-o",
			 (char *)(uintptr_t) "fsname=auriga,subtype=auriga,default_permissions",
			 NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	d->session = fuse_session_new(&args, &fuse_ops, sizeof(fuse_ops), d);
	fuse_opt_free_args(&args);
	if (!d->session)
		return fuse_say(-ENOMEM, d->directory, "cannot make a FUSE session");
	/* It says itself what is missing. */
	if (fuse_session_mount(d->session, d->directory) != 0)
		return fuse_say(-EIO, d->directory,
				"cannot mount: that takes /dev/fuse, and root or fusermount3");
	d->mounted = true;
	if (fcntl(fuse_session_fd(d->session), F_SETFL, O_RDWR | O_NONBLOCK) != 0)
		return fuse_say(-errno, d->directory, strerror(errno));
	return 0;
}

static void fuse_signals(struct fuse_disk *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int fuse_watch(struct fuse_disk *d)
{
	int fds[3];

	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	fds[0] = d->signals;
	fds[1] = fuse_session_fd(d->session);
	fds[2] = au_fd(d->jobs.handle);
	for (int i = 0; i < 3; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.fd = fds[i] };

		if (epoll_ctl(d->epoll, EPOLL_CTL_ADD, fds[i], &event) != 0)
			return fuse_say(-errno, "cannot set up the event loop", strerror(errno));
	}
	return 0;
}

static int fuse_serve(struct fuse_disk *d)
{
	int rc = fuse_clean(d);

	if (rc == 0)
		rc = fuse_mount_it(d);
	if (rc == 0)
		rc = fuse_jobs_buffers(&d->jobs);
	if (rc == 0)
		rc = fuse_watch(d);
	if (rc == 0) {
		printf("%s/%s is %s\n", d->directory, d->name, d->jobs.target);
		fflush(stdout);
		rc = fuse_run(d);
	}
	if (d->mounted)
		fuse_session_unmount(d->session);
	if (d->session)
		fuse_session_destroy(d->session);
	if (d->epoll >= 0)
		close(d->epoll);
	return rc;
}

int export_fuse(const char *target, int argc, char **argv)
{
	static const struct option options[] = { { "mount", required_argument, NULL, 'm' },
						 { NULL, 0, NULL, 0 } };
	struct fuse_disk d = { .epoll = -1, .signals = -1 };
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'm')
			return -EINVAL;
		d.directory = optarg;
	}
	if (!d.directory || optind != argc) {
		fprintf(stderr, "usage: auriga export NAME fuse --mount DIR\n");
		return -EINVAL;
	}
	clock_gettime(CLOCK_REALTIME, &d.born);
	/* Until here a signal ends it at once: nothing is there that would have to go first. */
	rc = fuse_jobs_open(&d.jobs, target);
	if (rc == 0) {
		fuse_signals(&d);
		d.name = au_unit_name(d.jobs.handle);
		rc = fuse_serve(&d);
	}
	fuse_jobs_close(&d.jobs);
	if (d.signals >= 0)
		close(d.signals);
	return rc == -EINVAL ? -EIO : rc; /* not one of usage */
}
