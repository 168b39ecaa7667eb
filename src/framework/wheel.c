/* SPDX-License-Identifier: MIT */
/*
 * What is due when: a wheel of buckets of one millisecond, looked at when the lane's clock moves
 * on. Setting and clearing cost the same however many there are; requests without a deadline cost
 * nothing.
 */
#include "framework/internal.h"

#include <limits.h>

static struct au_list *wheel_bucket(struct au_lane *lane, uint64_t ms)
{
	return &lane->wheel[ms % LANE_WHEEL];
}

void auf_wheel_init(struct au_lane *lane)
{
	for (unsigned int i = 0; i < LANE_WHEEL; i++)
		au_list_init(&lane->wheel[i]);
	lane->wheel_ms = lane->now_ms;
}

void auf_timeout_set(struct au_lane *lane, struct auf_timeout *timeout, uint64_t ms)
{
	auf_timeout_clear(lane, timeout);
	timeout->when_ms = lane->now_ms + ms;
	/* What was due before the last look would wait for a whole turn of the wheel. */
	if (timeout->when_ms <= lane->wheel_ms)
		timeout->when_ms = lane->wheel_ms + 1;
	timeout->state = AUF_TIMEOUT_WAITING;
	au_list_add_tail(wheel_bucket(lane, timeout->when_ms), &timeout->node);
	lane->wheel_count++;
}

void auf_timeout_clear(struct au_lane *lane, struct auf_timeout *timeout)
{
	if (timeout->state == AUF_TIMEOUT_IDLE)
		return;
	if (timeout->state == AUF_TIMEOUT_WAITING)
		lane->wheel_count--;
	timeout->state = AUF_TIMEOUT_IDLE;
	au_list_remove(&timeout->node);
}

static void wheel_collect(struct au_lane *lane, struct au_list *bucket, struct au_list *due)
{
	au_list_for_each_safe (node, bucket) {
		struct auf_timeout *timeout = AU_CONTAINER(node, struct auf_timeout, node);

		if (timeout->when_ms > lane->now_ms)
			continue;
		au_list_remove(node);
		au_list_add_tail(due, node);
		timeout->state = AUF_TIMEOUT_DUE;
		lane->wheel_count--;
	}
}

unsigned int auf_wheel_run(struct au_lane *lane)
{
	uint64_t first = lane->wheel_ms + 1, last = lane->now_ms;
	unsigned int count = 0;
	struct au_list due;
	struct au_list *node;

	if (last < first)
		return 0;
	lane->wheel_ms = last;
	if (!lane->wheel_count)
		return 0;
	if (last - first >= LANE_WHEEL)
		first = last - LANE_WHEEL + 1;
	au_list_init(&due);
	for (uint64_t ms = first; ms <= last; ms++)
		wheel_collect(lane, wheel_bucket(lane, ms), &due);
	/* One at a time: each may set and clear others. */
	while ((node = au_list_pop(&due))) {
		struct auf_timeout *timeout = AU_CONTAINER(node, struct auf_timeout, node);

		timeout->state = AUF_TIMEOUT_IDLE;
		timeout->fn(timeout);
		count++;
	}
	return count;
}

int auf_wheel_next(const struct au_lane *lane)
{
	uint64_t next = UINT64_MAX;

	if (!lane->wheel_count)
		return -1;
	for (unsigned int i = 1; i <= LANE_WHEEL && next > lane->wheel_ms + i; i++) {
		const struct au_list *bucket = &lane->wheel[(lane->wheel_ms + i) % LANE_WHEEL];

		au_list_for_each (node, bucket) {
			uint64_t when = AU_CONTAINER(node, struct auf_timeout, node)->when_ms;

			if (when < next)
				next = when;
		}
	}
	if (next <= lane->now_ms)
		return 0;
	return next - lane->now_ms > INT_MAX ? INT_MAX : (int)(next - lane->now_ms);
}
