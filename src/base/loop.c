/* SPDX-License-Identifier: MIT */
#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LOOP_BATCH 32

struct au_loop {
	int fd;
	bool stopped;
	struct au_loop_timer *timers; /* soonest first */
	struct epoll_event batch[LOOP_BATCH];
	int batch_count;
};

uint64_t au_monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct au_loop *au_loop_create(void)
{
	struct au_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->fd < 0) {
		free(loop);
		return NULL;
	}
	return loop;
}

void au_loop_destroy(struct au_loop *loop)
{
	if (!loop)
		return;
	close(loop->fd);
	free(loop);
}

void au_loop_stop(struct au_loop *loop)
{
	loop->stopped = true;
}

int au_watch_add(struct au_loop *loop, struct au_watch *watch, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = watch };

	if (epoll_ctl(loop->fd, EPOLL_CTL_ADD, fd, &ev))
		return -errno;
	watch->loop = loop;
	watch->fd = fd;
	watch->events = events;
	return 0;
}

int au_watch_events(struct au_watch *watch, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = watch };

	if (watch->events == events)
		return 0;
	if (epoll_ctl(watch->loop->fd, EPOLL_CTL_MOD, watch->fd, &ev))
		return -errno;
	watch->events = events;
	return 0;
}

void au_watch_remove(struct au_watch *watch)
{
	struct au_loop *loop = watch->loop;

	if (!loop)
		return;
	epoll_ctl(loop->fd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->loop = NULL;
	/* It may have more events in the batch that is being served. */
	for (int i = 0; i < loop->batch_count; i++)
		if (loop->batch[i].data.ptr == watch)
			loop->batch[i].data.ptr = NULL;
}

void au_loop_timer_cancel(struct au_loop_timer *timer)
{
	if (!timer->link)
		return;
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	timer->link = NULL;
}

bool au_loop_timer_is_set(const struct au_loop_timer *timer)
{
	return timer->link;
}

void au_loop_timer_set(struct au_loop *loop, struct au_loop_timer *timer, uint64_t delay_ms)
{
	struct au_loop_timer **at = &loop->timers;

	au_loop_timer_cancel(timer);
	timer->loop = loop;
	timer->due_ns = au_monotonic_ns() + delay_ms * 1000000u;
	while (*at && (*at)->due_ns <= timer->due_ns)
		at = &(*at)->next;
	timer->next = *at;
	timer->link = at;
	if (*at)
		(*at)->link = &timer->next;
	*at = timer;
}

static int loop_timeout_ms(const struct au_loop *loop)
{
	uint64_t now, left;

	if (!loop->timers)
		return -1;
	now = au_monotonic_ns();
	if (loop->timers->due_ns <= now)
		return 0;
	/* Rounded up: waking before it is due would spin. */
	left = (loop->timers->due_ns - now + 999999) / 1000000;
	return left > 60000 ? 60000 : (int)left;
}

/* Only what was due at the beginning, so that a timer that sets itself to 0 cannot starve I/O. */
static void loop_timers(struct au_loop *loop)
{
	uint64_t now = au_monotonic_ns();

	while (loop->timers && loop->timers->due_ns <= now && !loop->stopped) {
		struct au_loop_timer *timer = loop->timers;

		au_loop_timer_cancel(timer);
		timer->expired(timer);
	}
}

int au_loop_run(struct au_loop *loop)
{
	loop->stopped = false;
	while (!loop->stopped) {
		int n = epoll_wait(loop->fd, loop->batch, LOOP_BATCH, loop_timeout_ms(loop));

		if (n < 0 && errno != EINTR)
			return -errno;
		loop->batch_count = n > 0 ? n : 0;
		for (int i = 0; i < loop->batch_count && !loop->stopped; i++) {
			struct au_watch *watch = loop->batch[i].data.ptr;

			if (watch)
				watch->ready(watch, loop->batch[i].events);
		}
		loop->batch_count = 0;
		loop_timers(loop);
	}
	return 0;
}
