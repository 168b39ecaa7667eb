/* SPDX-License-Identifier: MIT */
/*
 * The lane's own thread: when it spins, and when it sleeps.
 *
 * Spinning saves the wake-up, which costs far more than a request does, but only if work comes
 * soon, and if nobody else needs the processor: the peer that we wait for, for instance. So the
 * bound adapts. It doubles when work comes soon after going to sleep, and halves when it does not.
 * It falls to zero for a while when the thread was preempted while spinning, or when the longest
 * spin was for nothing, several times in a row, though work came soon after: then the peer waited
 * for our processor. Once alone says nothing: somebody else may have had the peer's.
 *
 * How long the sleep was decides, and not that the spin before it was too short: two ends that both
 * sleep keep each other waiting for as long as two wake-ups take, and would never spin again.
 */
#include "framework/internal.h"

#define SPIN_LEAST_NS	  2000u
#define SPIN_PREEMPTED_NS 20000u /* a gap between two looks at the counter */
#define SPIN_HOLD_OFF_MAX 4096u
#define SPIN_SOON	  2u /* times the longest spin: a sleep ends with two wake-ups */
#define SPIN_FUTILE	  4u

struct lane_spin {
	uint64_t start_ns; /* 0: not spinning */
	uint64_t start_ticks, last_ticks;
	bool gap;
};

static uint64_t spin_ticks(const struct au_lane *lane, uint64_t ns)
{
	/* tick_step is what LANE_CLOCK_NS, a quarter of a millisecond, amounts to */
	return lane->tick_step * ns / 250000u;
}

/* Stop spinning for a while: longer each time. */
static void spin_hold_off(struct au_lane *lane)
{
	lane->spin.penalty = lane->spin.penalty ? lane->spin.penalty * 2 : 16;
	if (lane->spin.penalty > SPIN_HOLD_OFF_MAX)
		lane->spin.penalty = SPIN_HOLD_OFF_MAX;
	lane->spin.hold_off = lane->spin.penalty;
	lane->spin.limit_ns = 0;
	lane->spin.futile = 0;
}

static void spin_paid(struct au_lane *lane)
{
	lane->spin.futile = 0;
	if (lane->spin.penalty)
		lane->spin.penalty--;
}

/* Look whether a preemption hides behind a gap. */
static void spin_gave_way(struct au_lane *lane, uint64_t *preemptions)
{
	uint64_t now = au_os_preemptions();

	if (now != *preemptions)
		spin_hold_off(lane);
	*preemptions = now;
}

/* One idle look. Returns false when it is time to sleep. */
static bool spin_once(struct au_lane *lane, struct lane_spin *spin)
{
	uint64_t ticks = au_os_ticks();

	if (!lane->spin.limit_ns)
		return false;
	if (!spin->start_ns) {
		spin->start_ns = 1;
		spin->start_ticks = spin->last_ticks = ticks;
		spin->gap = false;
	}
	if (ticks - spin->last_ticks > spin_ticks(lane, SPIN_PREEMPTED_NS))
		spin->gap = true;
	spin->last_ticks = ticks;
	au_os_relax();
	return ticks - spin->start_ticks < spin_ticks(lane, lane->spin.limit_ns);
}

/* Work came after @slept_ns of sleep. */
static void spin_adapt(struct au_lane *lane, uint64_t slept_ns)
{
	uint64_t limit = lane->spin.limit_ns;

	if (lane->spin.hold_off) {
		lane->spin.hold_off--;
	} else if (slept_ns < SPIN_SOON * lane->spin.most_ns) {
		if (limit >= lane->spin.most_ns) {
			if (++lane->spin.futile >= SPIN_FUTILE)
				spin_hold_off(lane);
			return;
		}
		limit = limit * 2 < SPIN_LEAST_NS ? SPIN_LEAST_NS : limit * 2;
		lane->spin.limit_ns = limit < lane->spin.most_ns ? limit : lane->spin.most_ns;
	} else {
		lane->spin.limit_ns = limit / 2 < SPIN_LEAST_NS ? 0 : limit / 2;
		if (lane->spin.penalty)
			lane->spin.penalty--;
	}
}

static void lane_sleep(struct au_lane *lane)
{
	uint64_t before;

	if (!auf_lane_settle(lane))
		return;
	auf_lane_clock(lane);
	before = lane->now_ns;
	auf_lane_look(lane, auf_wheel_next(lane));
	auf_lane_unsettle(lane);
	auf_lane_clock(lane);
	spin_adapt(lane, lane->now_ns - before);
}

void auf_lane_run(void *arg)
{
	struct au_lane *lane = arg;
	uint64_t preemptions = au_os_preemptions();
	struct lane_spin spin = { 0 };

	atomic_store(&lane->thread_id, au_os_thread_self());
	for (;;) {
		if (auf_lane_turn(lane)) {
			/* It was worth it, unless it took somebody else's turn to get there. */
			if (spin.start_ns && spin.gap)
				spin_gave_way(lane, &preemptions);
			else if (spin.start_ns)
				spin_paid(lane);
			spin.start_ns = 0;
			continue;
		}
		if (atomic_load_explicit(&lane->attention, memory_order_relaxed) & LANE_LEAVE)
			break;
		if (spin_once(lane, &spin))
			continue;
		if (spin.start_ns) {
			spin_gave_way(lane, &preemptions);
			spin.start_ns = 0;
		}
		lane_sleep(lane);
	}
}
