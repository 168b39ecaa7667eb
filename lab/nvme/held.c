/* SPDX-License-Identifier: MIT */
/*
 * held.c: commands that are not completed when they are executed: swallowed, late, to be mixed with
 * others, or without room in their completion queue.
 *
 * A late command is executed when it is due, and not before: it finds what memory is lent then.
 */
#include "nvme.h"
#include "../util.h"

#define HELD_MIX_NS 200000u /* how long one waits for others to be mixed with */

bool nvme_hold(struct nvme *nvme, const struct nvme_held *held)
{
	struct nvme_held *at = &nvme->held[nvme->num_held];

	if (nvme->num_held == NVME_HELD)
		return false;
	*at = *held;
	if (held->state == NVME_HELD_LATE)
		at->due_ns += lab_now_ns();
	else if (held->state == NVME_HELD_MIX)
		at->due_ns = lab_now_ns() + HELD_MIX_NS;
	nvme->num_held++;
	return true;
}

static struct nvme_held held_take(struct nvme *nvme, unsigned int i)
{
	struct nvme_held held = nvme->held[i];

	nvme->held[i] = nvme->held[--nvme->num_held];
	return held;
}

static void held_finish(struct nvme *nvme, unsigned int i)
{
	struct nvme_held h = held_take(nvme, i);
	uint64_t stray = nvme->stats.stray;

	if (h.state == NVME_HELD_LATE && h.pair) {
		nvme_pair(nvme, h.sqid, &h.cmd, &h.second, (unsigned int[2]){ 0 });
		h.status = NVME_LATER;
	} else if (h.state == NVME_HELD_LATE) {
		h.status = nvme_execute(nvme, h.sqid, &h.cmd, &h.dw0);
		nvme->stats.late_suppressed += nvme->stats.stray - stray;
		nvme->stats.stray = stray;
	}
	if (h.status != NVME_LATER && nvme->sq[h.sqid].live)
		nvme_complete(nvme, h.sqid, h.cmd.cid, h.status, h.dw0, h.quirks);
}

static uint32_t held_random(struct nvme *nvme)
{
	nvme->random ^= nvme->random << 13;
	nvme->random ^= nvme->random >> 17;
	nvme->random ^= nvme->random << 5;
	return nvme->random;
}

/* Complete those that are mixed, in random order. */
static unsigned int held_mix(struct nvme *nvme)
{
	unsigned int done = 0, count = nvme->num_held, start;

	/* Taking one moves the last to its place, so that starting anywhere and going round mixes.
	 */
	while (nvme->running) {
		unsigned int i = 0;

		count = nvme->num_held;
		start = count ? held_random(nvme) % count : 0;
		while (i < count &&
		       (nvme->held[(start + i) % count].state != NVME_HELD_MIX ||
			!nvme_can_complete(nvme, nvme->held[(start + i) % count].sqid)))
			i++;
		if (i == count)
			return done;
		held_finish(nvme, (start + i) % count);
		done++;
	}
	return done;
}

unsigned int nvme_held_run(struct nvme *nvme)
{
	unsigned int mixed = 0, done = 0, window = nvme_fault_window(nvme);
	uint64_t now = lab_now_ns();
	bool mix = false;

	for (unsigned int i = nvme->num_held; i-- > 0 && nvme->running;) {
		struct nvme_held *h = &nvme->held[i];
		bool due = now >= h->due_ns;

		if (h->state == NVME_HELD_MIX) {
			mix |= due || ++mixed >= window;
			continue;
		}
		if (h->state == NVME_HELD_LOST || (h->state == NVME_HELD_LATE && !due) ||
		    !nvme_can_complete(nvme, h->sqid))
			continue;
		held_finish(nvme, i);
		done++;
		if (i > nvme->num_held) /* an admin command among them can have dropped others */
			i = nvme->num_held;
	}
	return mix ? done + held_mix(nvme) : done;
}

/* The halves of a pair are answered each by itself: the second was not done. */
static void held_part(struct nvme *nvme, struct nvme_held *h)
{
	struct nvme_held second = *h;

	h->pair = second.pair = false;
	second.cmd = h->second;
	second.status = NVME_FUSED_FAILED;
	nvme_hold(nvme, &second);
}

bool nvme_held_abort(struct nvme *nvme, uint16_t sqid, uint16_t cid)
{
	for (unsigned int i = 0; i < nvme->num_held; i++) {
		struct nvme_held *h = &nvme->held[i];

		if (h->sqid != sqid || (h->cmd.cid != cid && !(h->pair && h->second.cid == cid)) ||
		    h->state == NVME_HELD_FULL || h->state == NVME_HELD_MIX)
			continue;
		h->state = NVME_HELD_FULL;
		h->status = NVME_ABORT_REQUESTED;
		if (h->pair)
			held_part(nvme, h);
		return true;
	}
	return false;
}

void nvme_held_drop(struct nvme *nvme, int sqid, bool answer)
{
	for (unsigned int i = nvme->num_held; i-- > 0;) {
		struct nvme_held h;

		if (sqid >= 0 && nvme->held[i].sqid != sqid)
			continue;
		h = held_take(nvme, i);
		nvme->stats.late_suppressed += h.state == NVME_HELD_LATE;
		if (h.state == NVME_HELD_LOST || h.state == NVME_HELD_LATE)
			h.status = NVME_SQ_DELETED;
		if (answer && nvme_can_complete(nvme, h.sqid))
			nvme_complete(nvme, h.sqid, h.cmd.cid, h.status, h.dw0, h.quirks);
		if (answer && h.pair && nvme_can_complete(nvme, h.sqid))
			nvme_complete(nvme, h.sqid, h.second.cid, h.status, 0, 0);
	}
}

int nvme_next_due(const struct nvme *nvme)
{
	uint64_t now = lab_now_ns(), next = UINT64_MAX;

	for (unsigned int i = 0; i < nvme->num_held; i++)
		if (nvme->held[i].state != NVME_HELD_LOST && nvme->held[i].due_ns < next)
			next = nvme->held[i].due_ns;
	if (next == UINT64_MAX)
		return -1;
	if (next <= now)
		return 1; /* no room: look again soon */
	return next - now < 60000000000u ? (int)((next - now) / 1000000u) + 1 : 60000;
}
