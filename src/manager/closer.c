/* SPDX-License-Identifier: MIT */
/*
 * Closing what others made. To close a descriptor can take as long as whoever made it likes, and so
 * can closing a socket in which descriptors wait that nobody has received. It is done by threads
 * that do nothing else, through a pipe of numbers; the manager's own never waits.
 */
#include "manager/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CLOSER_THREADS 8 /* at most: one that hangs must not keep the others waiting */

static int closer_pipe[2] = { -1, -1 };
static unsigned int closer_threads;

static void *closer_run(void *arg)
{
	int fd;

	while (read(closer_pipe[0], &fd, sizeof(fd)) == sizeof(fd))
		close(fd);
	return NULL;
}

static void closer_start(void)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;

	if (closer_threads == CLOSER_THREADS)
		return;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, &attr, closer_run, NULL) == 0)
		closer_threads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
}

int mgr_closer_start(void)
{
	if (pipe2(closer_pipe, O_CLOEXEC))
		return -errno;
	/* For us alone: the threads wait in read(). */
	if (fcntl(closer_pipe[1], F_SETFL, O_NONBLOCK))
		return -errno;
	closer_start();
	return closer_threads ? 0 : -ENOMEM;
}

void mgr_close_foreign(int *fd)
{
	int left = 0;

	if (*fd < 0)
		return;
	/* A pipe that is full of those that hang: better to keep this one than to hang, too. */
	if (write(closer_pipe[1], fd, sizeof(*fd)) != sizeof(*fd))
		au_logf(AU_LOG_WARN, "descriptors that clients sent cannot be closed");
	else if (!ioctl(closer_pipe[0], FIONREAD, &left) && left > (int)sizeof(*fd))
		closer_start();
	*fd = -1;
}

void mgr_close_received(int fd)
{
	mgr_close_foreign(&fd);
}
