/* SPDX-License-Identifier: MIT */
/**
 * DOC: An event loop for one thread: descriptors and timers
 *
 * For programs that mostly sleep: the manager, exporters. Watches and timers are embedded in what
 * they serve and belong to the caller; both may be removed at any time, also from within a
 * callback, their own included, and are not called afterwards.
 */
#ifndef AU_BASE_LOOP_H
#define AU_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct au_loop;

/**
 * struct au_watch - a descriptor to watch. Zero it, then au_watch_add().
 * @ready: called with the epoll events that came.
 * @context: the owner's.
 */
struct au_watch {
	void (*ready)(struct au_watch *watch, uint32_t events);
	void *context;
	/* private: */
	struct au_loop *loop;
	int fd;
	uint32_t events;
};

/**
 * struct au_loop_timer - a one-shot timer. Zero it, then au_loop_timer_set().
 * @expired: called when it is due; may set it again.
 * @context: the owner's.
 */
struct au_loop_timer {
	void (*expired)(struct au_loop_timer *timer);
	void *context;
	/* private: */
	struct au_loop *loop;
	struct au_loop_timer *next, **link;
	uint64_t due_ns;
};

/** au_loop_create - make a loop. Return: NULL with errno set when that fails. */
struct au_loop *au_loop_create(void);
/** au_loop_destroy - free it; its watches and timers must not be used any more. */
void au_loop_destroy(struct au_loop *loop);
/** au_loop_run - serve until au_loop_stop(). Return: 0 or a negative errno. */
int au_loop_run(struct au_loop *loop);
/** au_loop_stop - make au_loop_run() return after the callback that runs now. */
void au_loop_stop(struct au_loop *loop);

/** au_watch_add - watch @fd for @events (EPOLLIN, EPOLLOUT). The descriptor stays the caller's.
 * Return: 0 or a negative errno. */
int au_watch_add(struct au_loop *loop, struct au_watch *watch, int fd, uint32_t events);
/** au_watch_events - wait for other events from now on. */
int au_watch_events(struct au_watch *watch, uint32_t events);
/** au_watch_remove - stop watching, before the descriptor is closed. Harmless when not added. */
void au_watch_remove(struct au_watch *watch);

/** au_loop_timer_set - call expired() in @delay_ms; moves a timer that is set already. */
void au_loop_timer_set(struct au_loop *loop, struct au_loop_timer *timer, uint64_t delay_ms);
/** au_loop_timer_cancel - harmless when it is not set. */
void au_loop_timer_cancel(struct au_loop_timer *timer);
/** au_loop_timer_is_set - whether it will expire. */
bool au_loop_timer_is_set(const struct au_loop_timer *timer);

/** au_monotonic_ns - CLOCK_MONOTONIC in nanoseconds. */
uint64_t au_monotonic_ns(void);

#endif
