/* SPDX-License-Identifier: MIT */
/*
 * What takes too long. The ladder: Abort; new queues; controller reset; and when that does not help
 * either, the driver gives up, and whoever runs it starts another one, behind a function reset. A
 * command that is late still belongs to the device until one of these has taken it back.
 */
#include "nvme.h"

#define CLOCK_BUSY_MS 10u
#define CLOCK_IDLE_MS 1000u
#define RUNG_MS	      1000u /* at most, for what should help */

static void abort_done(struct nvme *n, uint16_t status, uint32_t dw0)
{
	n->aborts--;
}

static void slot_abort(struct nvme_path *p, struct nvme_slot *slot, uint32_t now)
{
	struct nvme *n = p->nvme;
	struct nvme_sqe cmd = { .opcode = ADMIN_ABORT,
				.cdw10 = (p->number + 1) | (slot->key & 0xffff) << 16 };

	if (n->aborts >= n->abort_limit || nvme_admin_send(n, &cmd, false, abort_done) != 0)
		return; /* next time */
	n->aborts++;
	slot->aborting = true;
	slot->since = now;
}

/* What should help may take as long as any other command. */
static uint32_t rung_ms(const struct nvme *n)
{
	return n->timeout_ms < RUNG_MS ? n->timeout_ms : RUNG_MS;
}

/* Clocks of two lanes may be a moment apart. */
static uint32_t slot_age(const struct nvme_slot *slot, uint32_t now)
{
	int32_t age = (int32_t)(now - slot->since);

	return age > 0 ? (uint32_t)age : 0;
}

/* Whether lane 0 has to do something about it. */
static bool slot_late(const struct nvme *n, const struct nvme_slot *slot, uint32_t now)
{
	uint32_t age = slot_age(slot, now);

	if (slot->aborting)
		return age > rung_ms(n);
	return age > n->timeout_ms || au_request_is_canceled(slot->req);
}

/* Return: whether it is time for more than an Abort. */
static bool slot_escalate(struct nvme_path *p, struct nvme_slot *slot, uint32_t now)
{
	uint32_t age = slot_age(slot, now);

	if (slot->aborting)
		return age > rung_ms(p->nvme);
	slot->late = true;
	slot_abort(p, slot, now);
	/* So many are late that their turn does not come: that is no way out. */
	return !slot->aborting && age > p->nvme->timeout_ms + rung_ms(p->nvme);
}

/* Climb the ladder with what is late. Lane 0, the pair's lane parked. */
static void path_escalate(struct nvme_path *p, uint32_t now)
{
	const struct nvme_slot *worst = NULL;
	struct nvme *n = p->nvme;

	for (uint32_t i = 0; i < n->depth && p->live; i++) {
		struct nvme_slot *slot = &p->slots[i];

		if ((slot->key & NVME_BUSY) && !(slot->half & NVME_ANSWERED) && slot->since &&
		    slot_late(n, slot, now) && slot_escalate(p, slot, now) &&
		    (!worst || slot->tries > worst->tries))
			worst = slot;
	}
	if (worst && worst->tries)
		nvme_reset(n, "a command is late again");
	else if (worst)
		nvme_requeue(p, "a command is late, and an Abort did not help");
}

/* Return: what is to be noticed: NOTICE_*. The pair's lane. */
static uint32_t path_look(struct nvme_path *p, uint32_t now)
{
	uint32_t notice = 0;

	for (uint32_t i = 0; i < p->nvme->depth && p->live; i++) {
		struct nvme_slot *slot = &p->slots[i];

		if (!(slot->key & NVME_BUSY) || (slot->half & NVME_ANSWERED))
			continue;
		if (!slot->since) {
			slot->since = now;
			continue;
		}
		notice |= NOTICE_SLOW | (slot_late(p->nvme, slot, now) ? NOTICE_LATE : 0);
	}
	/* It may have stopped looking at the doorbell in memory just before that. */
	if (notice && p->io.shadow[0])
		au_post32(p->io.doorbells, p->io.at[0], p->io.rung);
	return notice;
}

static uint32_t clock_now(const struct nvme_path *p)
{
	return (uint32_t)au_lane_now_ms(p->lane) | 1; /* 0 is: not yet */
}

/* Nothing outstanding at this moment may mean that it is quick. */
static bool path_quiet(struct nvme_path *p)
{
	bool quiet = p->free_count == p->nvme->depth && p->completed == p->clock_completed;

	p->clock_completed = p->completed;
	return quiet;
}

static void path_clock_again(struct nvme_path *p, bool slow)
{
	p->slow_clock = slow;
	au_timer_start(p->clock, slow ? CLOCK_IDLE_MS : CLOCK_BUSY_MS, false);
}

void nvme_path_clock(struct au_timer *timer, void *context)
{
	struct nvme_path *p = context;
	uint32_t notice;

	nvme_path_poll(p); /* an interrupt may have been lost */
	notice = path_look(p, clock_now(p));
	if (notice)
		nvme_notice(p, notice);
	path_clock_again(p, path_quiet(p));
}

void nvme_notice(struct nvme_path *p, uint32_t what)
{
	__atomic_fetch_or(&p->notice, what, __ATOMIC_RELEASE);
	au_work_queue(p->nvme->trouble);
}

/* What pairs have noticed, and who. */
static void clock_attend(struct nvme *n, uint32_t now)
{
	const char *wrong = NULL;
	uint32_t all = 0;

	nvme_each_path(n, p)
	{
		uint32_t notice = __atomic_exchange_n(&p->notice, 0, __ATOMIC_ACQUIRE);

		all |= notice;
		if (notice & NOTICE_WRONG)
			wrong = __atomic_load_n(&p->wrong, __ATOMIC_RELAXED);
		if ((notice & NOTICE_LATE) && n->up && !n->gone && !n->failed) {
			au_device_park(n->dev);
			path_escalate(p, now);
			au_device_unpark(n->dev);
		}
	}
	if (wrong)
		nvme_reset(n, wrong);
	if (all && n->up && !n->gone && !n->failed && (nvme_csts(n) & CSTS_CFS))
		nvme_reset(n, "it has failed (CSTS.CFS)");
}

void nvme_trouble(struct au_work *work, void *context)
{
	struct nvme *n = context;

	clock_attend(n, clock_now(&n->path[0]));
	if (n->aborts && n->path[0].slow_clock)
		nvme_clock_faster(&n->path[0]);
}

void nvme_clock(struct au_timer *timer, void *context)
{
	struct nvme *n = context;
	struct nvme_path *p = &n->path[0];
	uint32_t now = clock_now(p);

	nvme_poll(n); /* an interrupt may have been lost */
	if (n->up && !n->gone && !n->failed) {
		__atomic_fetch_or(&p->notice, path_look(p, now), __ATOMIC_RELAXED);
		clock_attend(n, now);
		if (n->up && nvme_admin_late(n, now, n->timeout_ms))
			nvme_reset(n, "an admin command is late");
	}
	nvme_namespaces_leave(n);
	path_clock_again(p, path_quiet(p) && !n->leaving && !n->aborts);
}

void nvme_clock_faster(struct nvme_path *p)
{
	path_clock_again(p, false);
}
