/* SPDX-License-Identifier: MIT */
/*
 * Closing what others made. To close a descriptor can take as long as whoever made it likes, and so
 * can closing a socket in which descriptors wait that nobody has received. The last descriptor of a
 * function of VFIO takes a tenth of a second: the kernel resets it. It is done by threads that do
 * nothing else, through a pipe of numbers; the manager's own never waits.
 */
#include "manager/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CLOSER_THREADS 8 /* at most: one that hangs must not keep the others waiting */

/* The first thread stays; the others leave when there is nothing left to do. */
struct closer {
	int pipe[2];
	_Atomic unsigned int threads;
};

/* What clients sent may hang for ever, which must not keep devices from being let go. */
static struct closer closer_foreign = { .pipe = { -1, -1 } };
static struct closer closer_sessions = { .pipe = { -1, -1 } };

static void closer_work(const struct closer *closer)
{
	int fd;

	while (read(closer->pipe[0], &fd, sizeof(fd)) == sizeof(fd))
		close(fd);
}

static void *closer_run_first(void *arg)
{
	struct closer *closer = arg;
	struct pollfd poll_fd = { .fd = closer->pipe[0], .events = POLLIN };

	for (;;) {
		poll(&poll_fd, 1, -1);
		closer_work(closer);
	}
	return NULL;
}

static void *closer_run(void *arg)
{
	struct closer *closer = arg;

	closer_work(closer);
	atomic_fetch_sub(&closer->threads, 1);
	return NULL;
}

static void closer_start(struct closer *closer)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;

	bool first = closer->threads == 0;

	if (closer->threads >= CLOSER_THREADS)
		return;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	atomic_fetch_add(&closer->threads, 1);
	if (pthread_create(&thread, &attr, first ? closer_run_first : closer_run, closer))
		atomic_fetch_sub(&closer->threads, 1);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
}

static int closer_init(struct closer *closer)
{
	if (pipe2(closer->pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	closer_start(closer);
	return closer->threads ? 0 : -ENOMEM;
}

int mgr_closer_start(void)
{
	int err = closer_init(&closer_foreign);

	return err ? err : closer_init(&closer_sessions);
}

static void closer_close(struct closer *closer, int *fd, const char *what)
{
	int left = 0;

	if (*fd < 0)
		return;
	/* A pipe that is full of those that hang: better to keep this one than to hang, too. */
	if (write(closer->pipe[1], fd, sizeof(*fd)) != sizeof(*fd))
		au_logf(AU_LOG_WARN, "%s cannot be closed", what);
	else if (!ioctl(closer->pipe[0], FIONREAD, &left) && left > (int)sizeof(*fd))
		closer_start(closer);
	*fd = -1;
}

void mgr_close_foreign(int *fd)
{
	closer_close(&closer_foreign, fd, "descriptors that clients sent");
}

void mgr_close_received(int fd)
{
	mgr_close_foreign(&fd);
}

void mgr_close_session(int fds[AU_BUS_FDS])
{
	for (unsigned int i = 0; i < AU_BUS_FDS; i++)
		closer_close(&closer_sessions, &fds[i], "sessions with devices");
}
