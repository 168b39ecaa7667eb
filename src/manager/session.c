/* SPDX-License-Identifier: MIT */
/*
 * Opening a session with a device server can take as long as that server likes. Each goes on in a
 * short-lived thread, which touches its own job only and says through an eventfd that it is done.
 */
#include "manager/manager.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define OPEN_RETRY_MS 1

struct mgr_open_job {
	char address[MGR_ADDRESS];
	struct mgr_open_result result;
	int event_fd;
	struct au_watch watch;
	void (*done)(void *context, struct mgr_open_result *result);
	void *context;
};

static void open_job_free(struct mgr_open_job *job)
{
	au_watch_remove(&job->watch);
	mgr_close(&job->event_fd);
	mgr_close_session(job->result.fds);
	free(job);
}

/*
 * A server that has not yet noticed that the client before us is dead refuses the next one: it is
 * asked again for a while.
 */
static void *open_job_run(void *arg)
{
	struct mgr_open_job *job = arg;
	uint64_t end = au_monotonic_ns() + MGR_OPEN_MS * 1000000ull;
	struct timespec pause = { .tv_nsec = OPEN_RETRY_MS * 1000000L };
	uint64_t one = 1;
	int err;

	for (;;) {
		uint64_t now = au_monotonic_ns();
		int left = now < end ? (int)((end - now) / 1000000) + 1 : 1;

		err = au_bus_open(job->address, left, &job->result.session, job->result.fds,
				  job->result.error, sizeof(job->result.error));
		if ((err != -EBUSY && err != -EAGAIN) || au_monotonic_ns() >= end)
			break;
		nanosleep(&pause, NULL);
	}
	job->result.err = err;
	if (err && !job->result.error[0])
		snprintf(job->result.error, sizeof(job->result.error), "%s: %s", job->address,
			 strerror(-err));
	/* The loop may free the job as soon as this is written. */
	if (write(job->event_fd, &one, sizeof(one)) != sizeof(one))
		abort();
	return NULL;
}

static void open_job_ready(struct au_watch *watch, uint32_t events)
{
	struct mgr_open_job *job = watch->context;

	if (job->done)
		job->done(job->context, &job->result);
	open_job_free(job);
}

struct mgr_open_job *mgr_open_start(struct mgr *mgr, const char *address,
				    void (*done)(void *context, struct mgr_open_result *result),
				    void *context)
{
	struct mgr_open_job *job = calloc(1, sizeof(*job));
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int err;

	if (!job)
		return NULL;
	snprintf(job->address, sizeof(job->address), "%s", address);
	for (unsigned int i = 0; i < AU_BUS_FDS; i++)
		job->result.fds[i] = -1;
	job->done = done;
	job->context = context;
	job->watch.ready = open_job_ready;
	job->watch.context = job;
	job->event_fd = eventfd(0, EFD_CLOEXEC);
	if (job->event_fd < 0 || au_watch_add(mgr->loop, &job->watch, job->event_fd, EPOLLIN)) {
		open_job_free(job);
		return NULL;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attr, open_job_run, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (err) {
		open_job_free(job);
		return NULL;
	}
	return job;
}

void mgr_open_cancel(struct mgr_open_job *job)
{
	if (job)
		job->done = NULL;
}
