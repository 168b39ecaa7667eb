/* SPDX-License-Identifier: MIT */
/*
 * Lanes: one execution context, which serves its sources, work and timers in turns. In steady state
 * a turn makes no system call, takes no lock and reads no clock but a counter.
 */
#include "framework/internal.h"

#include <errno.h>
#include <stdio.h>

#define LANE_BUDGET    32u
#define LANE_CLOCK_NS  250000.0 /* read the clock about so often */
#define LANE_LOOK_IDLE 100u	/* ms between looks at descriptors when none is polled by them */

/* The time, and how many ticks it takes until it should be read again. */
void auf_lane_clock(struct au_lane *lane)
{
	uint64_t ticks = au_os_ticks(), now = au_os_now_ns();
	double passed_ticks = (double)(ticks - lane->ticks);
	double passed_ns = (double)(now - lane->now_ns);

	if (passed_ns > 1000 && passed_ticks > 0 && passed_ticks < 1e15) {
		double step = passed_ticks * (LANE_CLOCK_NS / passed_ns);

		lane->tick_step = step < 100 ? 100 : step > 1e9 ? 1000000000u : (uint64_t)step;
	}
	lane->ticks = ticks;
	lane->now_ns = now;
	lane->now_ms = now / 1000000u;
}

/* APP runner: what the lane's descriptor becomes readable for when nothing else happens. */
static void lane_timer_set(struct au_lane *lane, int timeout_ms)
{
	uint64_t when = timeout_ms < 0 ? 0 : lane->now_ms + (uint64_t)timeout_ms;

	if (lane->timer_ms != when)
		au_os_timer_set(lane->timer_fd, timeout_ms);
	lane->timer_ms = when;
}

void auf_lane_look(struct au_lane *lane, int timeout_ms)
{
	void *tokens[AU_OS_EVENTS];
	unsigned int count = au_os_wait(lane->wait_set, timeout_ms, tokens);

	for (unsigned int i = 0; i < count; i++) {
		if (tokens[i] == lane)
			au_os_wake_clear(lane->wake_fd);
		else if (tokens[i] == &lane->timer_fd)
			lane_timer_set(lane, -1);
		else
			((struct auf_source *)tokens[i])->ready = true;
	}
	lane->look = false;
	lane->look_ms = lane->now_ms + (lane->fd_sources ? 1 : LANE_LOOK_IDLE);
}

/* The clock has moved on by a millisecond or more. */
static unsigned int lane_tick(struct au_lane *lane)
{
	lane->seen_ms = lane->now_ms;
	if (lane->now_ms >= lane->look_ms)
		lane->look = true;
	return auf_wheel_run(lane);
}

static void lane_store_beat(struct au_lane *lane)
{
	if (lane->recorder && lane->index < AU_RECORDER_LANES)
		atomic_store(&lane->recorder->status->lane[lane->index].beat,
			     atomic_load(&lane->beat));
}

void auf_lane_sign(struct au_lane *lane)
{
	if (atomic_load_explicit(&lane->attention, memory_order_relaxed) & LANE_BEAT &&
	    atomic_fetch_and(&lane->attention, ~LANE_BEAT) & LANE_BEAT)
		lane_store_beat(lane);
}

static unsigned int lane_attend(struct au_lane *lane)
{
	uint32_t what = atomic_exchange(&lane->attention, 0);

	if (what & LANE_BEAT)
		lane_store_beat(lane);
	/* Who asked to leave is the last to be forgotten. */
	if (what & LANE_LEAVE)
		atomic_fetch_or(&lane->attention, LANE_LEAVE);
	if (what & LANE_PARK)
		auf_lane_park(lane);
	return (what & LANE_WORK) ? auf_lane_work(lane) : (what & LANE_WAKE) ? 1 : 0;
}

unsigned int auf_lane_turn(struct au_lane *lane)
{
	struct auf_source *src;
	unsigned int done = 0;

	if (unlikely(au_os_ticks() - lane->ticks >= lane->tick_step))
		auf_lane_clock(lane);
	/* Whoever arms and disarms the lane reads the clock too. */
	if (unlikely(lane->now_ms != lane->seen_ms))
		done += lane_tick(lane);
	if (unlikely(atomic_load_explicit(&lane->attention, memory_order_relaxed)))
		done += lane_attend(lane);
	if (unlikely(lane->look))
		auf_lane_look(lane, 0);
	for (src = lane->sources; src; src = lane->sources_next) {
		lane->sources_next = src->next;
		if (src->poll_on_fd) {
			if (likely(!src->ready))
				continue;
			src->ready = false;
		}
		done += src->poll(src, LANE_BUDGET);
	}
	au_list_for_each_safe (node, &lane->buses) {
		struct au_device *dev = AU_CONTAINER(node, struct au_device, bus_node);

		au_bus_flush(dev->bus);
		auf_bus_check(dev);
	}
	if (lane->published != lane->completed) {
		lane->published = lane->completed;
		if (lane->recorder && lane->index < AU_RECORDER_LANES)
			atomic_store_explicit(&lane->recorder->status->lane[lane->index].completed,
					      lane->completed, memory_order_relaxed);
	}
	return done;
}

/* ----------------------------------------------------------------- sleeping */

static void lane_disarm(struct auf_source *from, const struct auf_source *to)
{
	for (struct auf_source *src = from; src && src != to; src = src->next)
		if (src->disarm)
			src->disarm(src);
}

bool auf_lane_settle(struct au_lane *lane)
{
	struct auf_source *src;

	for (src = lane->sources; src; src = src->next) {
		if ((src->poll_on_fd && src->ready) || (src->arm && !src->arm(src))) {
			lane_disarm(lane->sources, src);
			return false;
		}
	}
	auf_lane_delay(lane);
	atomic_store(&lane->sleeping, 1);
	auf_lane_delay(lane);
	if (atomic_load(&lane->attention)) {
		auf_lane_unsettle(lane);
		return false;
	}
	return true;
}

void auf_lane_unsettle(struct au_lane *lane)
{
	atomic_store(&lane->sleeping, 0);
	lane_disarm(lane->sources, NULL);
}

void auf_lane_ask(struct au_lane *lane, uint32_t what)
{
	atomic_fetch_or(&lane->attention, what);
	auf_lane_delay(lane);
	if (atomic_load(&lane->sleeping) && atomic_exchange(&lane->sleeping, 0))
		au_os_wake(lane->wake_fd);
}

void auf_lane_wake(struct au_lane *lane)
{
	auf_lane_ask(lane, LANE_WAKE);
}

void auf_lane_beat(struct au_lane *lane, uint32_t seq)
{
	atomic_store(&lane->beat, seq);
	auf_lane_ask(lane, LANE_BEAT);
}

/* --------------------------------------------------------------------- work */

void auf_lane_post(struct au_lane *lane, struct auf_work *work)
{
	struct auf_work *head;

	auf_lane_delay(lane);
	if (atomic_exchange(&work->queued, true))
		return;
	head = atomic_load_explicit(&lane->work, memory_order_relaxed);
	do {
		work->next = head;
	} while (!atomic_compare_exchange_weak(&lane->work, &head, work));
	auf_lane_delay(lane);
	auf_lane_ask(lane, LANE_WORK);
}

/* Move what was posted to the lane's own list, oldest first. */
static void lane_collect(struct au_lane *lane)
{
	struct auf_work *stack = atomic_exchange(&lane->work, NULL), *oldest = NULL;
	struct auf_work **last = &lane->work_list;

	while (stack) {
		struct auf_work *next = stack->next;

		stack->next = oldest;
		oldest = stack;
		stack = next;
	}
	while (*last)
		last = &(*last)->next;
	*last = oldest;
}

unsigned int auf_lane_work(struct au_lane *lane)
{
	unsigned int count = 0;

	lane_collect(lane);
	auf_lane_delay(lane);
	while (lane->work_list) {
		struct auf_work *work = lane->work_list;

		lane->work_list = work->next;
		/* From here on it may be posted again, and after fn() be gone. */
		atomic_store(&work->queued, false);
		work->fn(work);
		count++;
	}
	return count;
}

void auf_lane_forget(struct au_lane *lane, struct auf_work *work)
{
	struct auf_work **place = &lane->work_list;

	lane_collect(lane);
	while (*place && *place != work)
		place = &(*place)->next;
	if (*place)
		*place = work->next;
}

struct lane_call {
	struct auf_work work;
	int (*fn)(void *arg);
	void *arg;
	int result;
	_Atomic uint32_t done;
};

static void lane_call_run(struct auf_work *work)
{
	struct lane_call *call = AU_CONTAINER(work, struct lane_call, work);

	call->result = call->fn(call->arg);
	atomic_store(&call->done, 1);
	/* The caller may be gone by now; the system only compares addresses. */
	au_os_word_wake(&call->done);
}

int auf_lane_call(struct au_lane *lane, int (*fn)(void *arg), void *arg)
{
	struct lane_call call = { .work.fn = lane_call_run, .fn = fn, .arg = arg };

	if (auf_lane_current(lane))
		return fn(arg);
	auf_lane_post(lane, &call.work);
	while (!atomic_load(&call.done))
		au_os_word_wait(&call.done, 0);
	return call.result;
}

bool auf_lane_current(const struct au_lane *lane)
{
	return lane->runner == AUF_RUNNER_APP ||
	       atomic_load_explicit(&lane->thread_id, memory_order_relaxed) == au_os_thread_self();
}

uint64_t auf_lane_now_ms(const struct au_lane *lane)
{
	return lane->now_ms;
}

/* ------------------------------------------------------------------ sources */

int auf_lane_add(struct au_lane *lane, struct auf_source *src)
{
	struct auf_source **last = &lane->sources;

	if (src->fd >= 0) {
		int err = au_os_wait_add(lane->wait_set, src->fd, src);

		if (err)
			return err;
	}
	while (*last)
		last = &(*last)->next;
	src->next = NULL;
	src->lane = lane;
	src->ready = src->poll_on_fd; /* it may have been readable for long */
	*last = src;
	lane->fd_sources += src->poll_on_fd;
	lane->look = true;
	return 0;
}

void auf_lane_remove(struct au_lane *lane, struct auf_source *src)
{
	struct auf_source **place = &lane->sources;

	while (*place && *place != src)
		place = &(*place)->next;
	if (!*place)
		return;
	*place = src->next;
	if (lane->sources_next == src)
		lane->sources_next = src->next;
	if (src->fd >= 0)
		au_os_wait_remove(lane->wait_set, src->fd);
	lane->fd_sources -= src->poll_on_fd;
	src->lane = NULL;
}

/* ------------------------------------------------------------ the APP runner */

unsigned int auf_lane_poll(struct au_lane *lane)
{
	unsigned int done = auf_lane_turn(lane);

	/* Whoever polls without sleeping should not wait a millisecond for an interrupt that
	 * nothing else tells of. */
	if (!done && lane->fd_sources && !lane->pollers && !lane->look &&
	    au_os_ticks() - lane->ticks > lane->tick_step / 8) {
		auf_lane_clock(lane);
		lane->look = true;
	}
	return done;
}

bool auf_lane_arm(struct au_lane *lane, int *timeout_ms)
{
	auf_lane_clock(lane);
	if (lane->look || !auf_lane_settle(lane))
		return false;
	*timeout_ms = auf_wheel_next(lane);
	if (*timeout_ms == 0) {
		auf_lane_unsettle(lane);
		return false;
	}
	lane_timer_set(lane, *timeout_ms);
	return true;
}

void auf_lane_disarm(struct au_lane *lane)
{
	auf_lane_unsettle(lane);
	auf_lane_clock(lane);
	lane->look = true;
}

int auf_lane_fd(struct au_lane *lane)
{
	return lane->wait_set;
}

/* ----------------------------------------------------------- making, freeing */

static int lane_open(struct au_lane *lane)
{
	int err;

	lane->wait_set = au_os_wait_create();
	if (lane->wait_set < 0)
		return lane->wait_set;
	lane->wake_fd = au_os_wake_create();
	if (lane->wake_fd < 0)
		return lane->wake_fd;
	err = au_os_wait_add(lane->wait_set, lane->wake_fd, lane);
	if (err || lane->runner == AUF_RUNNER_THREAD)
		return err;
	lane->timer_fd = au_os_timer_create();
	if (lane->timer_fd < 0)
		return lane->timer_fd;
	return au_os_wait_add(lane->wait_set, lane->timer_fd, &lane->timer_fd);
}

static void lane_free(struct au_lane *lane)
{
	au_os_close(lane->timer_fd);
	au_os_close(lane->wake_fd);
	au_os_close(lane->wait_set);
	au_os_free(lane);
}

int auf_lane_create(enum auf_runner runner, unsigned int index, unsigned int spin_us,
		    struct au_recorder *recorder, struct au_lane **out)
{
	struct au_lane *lane = au_os_alloc(sizeof(*lane));
	char name[16];
	int err;

	if (!lane)
		return -ENOMEM;
	lane->runner = runner;
	lane->index = index;
	lane->recorder = recorder;
	lane->wait_set = lane->wake_fd = lane->timer_fd = -1;
	lane->tick_step = 100;
	lane->look = true;
	/* To spin where nobody else can run is to wait for oneself. */
	lane->spin.most_ns = au_os_processors() > 1 ? spin_us * 1000ull : 0;
	lane->spin.limit_ns = lane->spin.most_ns;
	if (recorder && index < AU_RECORDER_LANES)
		lane->completed = lane->published =
			atomic_load(&recorder->status->lane[index].completed);
	au_list_init(&lane->buses);
	auf_lane_clock(lane);
	lane->seen_ms = lane->now_ms;
	auf_wheel_init(lane);
	err = lane_open(lane);
	if (!err && runner == AUF_RUNNER_THREAD) {
		snprintf(name, sizeof(name), "lane%u", index);
		err = au_os_thread_start(&lane->thread, name, auf_lane_run, lane);
	}
	if (err) {
		lane_free(lane);
		return err;
	}
	*out = lane;
	return 0;
}

void auf_lane_destroy(struct au_lane *lane)
{
	if (!lane)
		return;
	if (lane->thread) {
		auf_lane_ask(lane, LANE_LEAVE);
		au_os_thread_join(lane->thread);
	}
	lane_free(lane);
}
