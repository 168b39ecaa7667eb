/* SPDX-License-Identifier: MIT */
/* Polling: turns, adaptive spinning, sleeping; and several threads on one handle. */
#include "client/handle.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"

/* Polls that found nothing until the descriptors are looked at: an application may never sleep. */
#define POLL_IDLE     1024u
#define POLL_SPIN_MIN 1000u
#define POLL_HOLD_MAX 4096u
#define POLL_FUTILE   4u
#define POLL_LOOKS    16 /* between two looks at the clock while spinning */

uint64_t handle_now_ns(void)
{
	return au_os_now_ns();
}

void handle_attend(struct au_handle *h, int timeout_ms)
{
	struct epoll_event events[8];
	int n = epoll_wait(h->epoll, events, 8, timeout_ms);

	for (int i = 0; i < n; i++) {
		eventfd_t count;

		/* Meant for a sleeper that had woken up by itself. */
		if (events[i].data.u32 == HANDLE_FD_KICK)
			(void)eventfd_read(h->lock->kick, &count);
		else
			h->ops->ready(h, events[i].data.u32, events[i].events);
	}
}

/* The application slept on the handle's descriptor. */
static void __attribute__((noinline)) poll_wake(struct au_handle *h)
{
	h->armed = false;
	h->arm_again = h->lock;
	/* Another thread sleeps right now: what it armed stays so, and it looks itself. */
	if (h->lock && h->lock->sleeper)
		return;
	h->ops->disarm(h);
	handle_attend(h, 0);
}

static inline unsigned int poll_turn(struct au_handle *h, unsigned int max)
{
	if (AU_RING_UNLIKELY(h->armed))
		poll_wake(h);
	return AU_RING_LIKELY(h->chan != NULL) ? au_chan_poll(h->chan, max) : h->ops->turn(h, max);
}

static bool poll_enough(struct au_handle *h, const _Atomic bool *stop)
{
	return (stop && *stop) || h->close_later || h->ops->event_seen(h);
}

static int poll_time_left(uint64_t start_ns, int timeout_ms, int other_ms)
{
	int64_t left;

	if (timeout_ms < 0)
		return other_ms;
	left = timeout_ms - (int64_t)((handle_now_ns() - start_ns) / 1000000);
	if (left < 0)
		left = 0;
	return other_ms >= 0 && other_ms < left ? other_ms : (int)left;
}

/* Spin for a while: true when there was something. See poll_slept(). */
static bool poll_spin(struct au_handle *h, unsigned int max, const _Atomic bool *stop,
		      unsigned int *count)
{
	uint64_t start;

	if (h->spin_ns == 0)
		return false;
	start = handle_now_ns();
	do {
		for (int i = 0; i < POLL_LOOKS; i++) {
			au_os_relax();
			*count = poll_turn(h, max);
			if (*count != 0 || poll_enough(h, stop)) {
				h->spin_penalty -= h->spin_penalty != 0;
				h->spin_futile = 0;
				return true;
			}
		}
	} while (handle_now_ns() - start < h->spin_ns);
	return false;
}

/*
 * A sleep that was short would have been better spent spinning, a long one would not: that decides
 * how long the next spin is. Where the longest spin is for nothing several times in a row, though
 * the sleep after it is short, the other end waited for our processor: there is no spinning for a
 * while.
 */
static void poll_slept(struct au_handle *h, uint64_t start_ns)
{
	if (h->spin_hold != 0) {
		h->spin_hold--;
	} else if (handle_now_ns() - start_ns >= 2 * (uint64_t)h->spin_max_ns) {
		h->spin_ns /= 2;
		h->spin_penalty -= h->spin_penalty != 0;
	} else if (h->spin_ns < h->spin_max_ns) {
		h->spin_ns = h->spin_ns < POLL_SPIN_MIN ? POLL_SPIN_MIN : h->spin_ns * 2;
		if (h->spin_ns > h->spin_max_ns)
			h->spin_ns = h->spin_max_ns;
	} else if (++h->spin_futile >= POLL_FUTILE) {
		h->spin_futile = 0;
		h->spin_penalty = h->spin_penalty ? h->spin_penalty * 2 : 16;
		if (h->spin_penalty > POLL_HOLD_MAX)
			h->spin_penalty = POLL_HOLD_MAX;
		h->spin_hold = h->spin_penalty;
		h->spin_ns = 0;
	}
}

static int poll_wait(struct au_handle *h, unsigned int max, int timeout_ms,
		     const _Atomic bool *stop)
{
	uint64_t start = handle_now_ns();
	unsigned int count = 0;

	for (;;) {
		int sleep_ms = -1;

		if (poll_spin(h, max, stop, &count))
			return (int)count;
		if (h->ops->arm(h, &sleep_ms)) {
			uint64_t slept = handle_now_ns();

			handle_attend(h, poll_time_left(start, timeout_ms, sleep_ms));
			h->ops->disarm(h);
			poll_slept(h, slept);
		}
		count = poll_turn(h, max);
		if (count != 0 || poll_enough(h, stop))
			return (int)count;
		if (h->error)
			return handle_error(h);
		if (poll_time_left(start, timeout_ms, -1) == 0)
			return 0;
	}
}

int handle_poll(struct au_handle *h, unsigned int max, int timeout_ms, const _Atomic bool *stop)
{
	int count;

	h->polling++;
	count = (int)poll_turn(h, max);
	if (AU_RING_LIKELY(count != 0)) {
		h->idle_polls = 0;
	} else if (!poll_enough(h, stop)) {
		if (timeout_ms != 0) {
			count = poll_wait(h, max, timeout_ms, stop);
		} else if (h->chan && ++h->idle_polls >= POLL_IDLE) {
			/* Without a channel the lane looks by itself. */
			h->idle_polls = 0;
			handle_attend(h, 0);
		} else if (h->error) {
			count = handle_error(h);
		}
	}
	if (AU_RING_LIKELY(!h->close_later)) {
		h->polling--;
		return count;
	}
	handle_leave_poll(h);
	return count;
}

/* ----------------------------------------------------------- several threads */

int handle_lock_init(struct handle_lock *lock)
{
	pthread_condattr_t attr;

	lock->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lock->kick < 0)
		return -errno;
	pthread_mutex_init(&lock->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&lock->cond, &attr);
	pthread_condattr_destroy(&attr);
	lock->epoch = 1;
	return 0;
}

void handle_lock_destroy(struct handle_lock *lock)
{
	if (lock->kick < 0)
		return;
	close(lock->kick);
	lock->kick = -1;
	pthread_mutex_destroy(&lock->mutex);
	pthread_cond_destroy(&lock->cond);
}

void handle_lock_news(struct handle_lock *lock)
{
	lock->epoch++;
	if (lock->waiters)
		pthread_cond_broadcast(&lock->cond);
	if (lock->sleeper)
		(void)eventfd_write(lock->kick, 1);
}

void handle_unlocked(void *arg)
{
	pthread_mutex_unlock(&((struct handle_lock *)arg)->mutex);
}

void handle_relocked(void *arg)
{
	pthread_mutex_lock(&((struct handle_lock *)arg)->mutex);
}

/*
 * What was completed by other threads after the last au_poll() of this thread may be what it waits
 * for: then it does not sleep.
 */
static __thread struct {
	const struct handle_lock *lock;
	uint64_t epoch;
} poll_seen __attribute__((tls_model("initial-exec")));

static bool poll_news(const struct handle_lock *lock)
{
	bool news = poll_seen.lock != lock ? lock->epoch != 1 : poll_seen.epoch != lock->epoch;

	handle_lock_seen(lock);
	return news;
}

void handle_lock_seen(const struct handle_lock *lock)
{
	poll_seen.lock = lock;
	poll_seen.epoch = lock->epoch;
}

/* Sleep in epoll, with the lock dropped: one thread at a time. */
static void poll_sleep(struct au_handle *h, struct handle_lock *lock, int timeout_ms)
{
	struct epoll_event events[8];
	int sleep_ms = -1, n;

	if (!h->ops->arm(h, &sleep_ms))
		return;
	if (sleep_ms >= 0 && (timeout_ms < 0 || sleep_ms < timeout_ms))
		timeout_ms = sleep_ms;
	lock->sleeper = true;
	pthread_mutex_unlock(&lock->mutex);
	n = epoll_wait(h->epoll, events, 8, timeout_ms);
	pthread_mutex_lock(&lock->mutex);
	lock->sleeper = false;
	h->ops->disarm(h);
	for (int i = 0; i < n; i++) {
		eventfd_t count;

		if (events[i].data.u32 == HANDLE_FD_KICK)
			(void)eventfd_read(lock->kick, &count);
		else
			h->ops->ready(h, events[i].data.u32, events[i].events);
	}
	/* Another one may sleep now. */
	if (lock->waiters)
		pthread_cond_broadcast(&lock->cond);
}

static void poll_wait_for_sleeper(struct handle_lock *lock, int timeout_ms)
{
	struct timespec until;

	lock->waiters++;
	if (timeout_ms < 0) {
		pthread_cond_wait(&lock->cond, &lock->mutex);
	} else {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += timeout_ms / 1000;
		until.tv_nsec += (timeout_ms % 1000) * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		pthread_cond_timedwait(&lock->cond, &lock->mutex, &until);
	}
	lock->waiters--;
}

/*
 * A thread that sleeps on au_fd() is owed a wake-up, whoever polls meanwhile: let what comes from
 * now on wake it, or wake it now.
 */
static void poll_arm_again(struct au_handle *h, struct handle_lock *lock)
{
	int timeout_ms;

	if (!h->arm_again || lock->sleeper || h->close_later)
		return;
	h->arm_again = false;
	if (!h->armed)
		h->armed = h->ops->arm(h, &timeout_ms);
	if (!h->armed)
		(void)eventfd_write(lock->kick, 1);
}

int handle_shared_poll(struct au_handle *h, unsigned int max, int timeout_ms,
		       const _Atomic bool *stop)
{
	struct handle_lock *lock = h->lock;
	uint64_t start = timeout_ms > 0 ? handle_now_ns() : 0;
	int count;

	pthread_mutex_lock(&lock->mutex);
	h->polling++;
	for (;;) {
		int left;

		count = (int)poll_turn(h, max);
		if (count != 0)
			handle_lock_news(lock);
		if (count != 0 || poll_enough(h, stop) || poll_news(lock))
			break;
		if (h->error) {
			count = handle_error(h);
			break;
		}
		if (timeout_ms == 0) {
			if (++h->idle_polls >= POLL_IDLE && !lock->sleeper) {
				h->idle_polls = 0;
				handle_attend(h, 0);
			}
			break;
		}
		left = poll_time_left(start, timeout_ms, -1);
		if (left == 0)
			break;
		if (lock->sleeper)
			poll_wait_for_sleeper(lock, left);
		else
			poll_sleep(h, lock, left);
	}
	(void)poll_news(lock);
	poll_arm_again(h, lock);
	h->polling--;
	if (h->close_later && h->polling == 0) {
		pthread_mutex_unlock(&lock->mutex);
		h->polling++;
		handle_leave_poll(h);
		return count;
	}
	pthread_mutex_unlock(&lock->mutex);
	return count;
}
