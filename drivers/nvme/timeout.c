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

static void slot_abort(struct nvme *n, struct nvme_slot *slot, uint32_t now)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_ABORT,
				.cdw10 = NVME_IO | (slot->key & 0xffff) << 16 };

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

/* Return: whether it is time for more than an Abort. */
static bool slot_late(struct nvme *n, struct nvme_slot *slot, uint32_t now)
{
	uint32_t age = now - slot->since;
	bool canceled = au_request_is_canceled(slot->req);

	if (slot->aborting)
		return age > rung_ms(n);
	if (age <= n->timeout_ms && !canceled)
		return false;
	slot->late = true;
	slot_abort(n, slot, now);
	/* So many are late that their turn does not come: that is no way out. */
	return !slot->aborting && age > n->timeout_ms + rung_ms(n);
}

/* Return: whether something waits for longer than it should. */
static bool slots_look(struct nvme *n, uint32_t now)
{
	const struct nvme_slot *worst = NULL;
	bool slow = false;

	for (uint32_t i = 0; i < n->depth && n->live; i++) {
		struct nvme_slot *slot = &n->slots[i];

		if (!(slot->key & NVME_BUSY) || (slot->half & NVME_ANSWERED))
			continue;
		if (!slot->since) {
			slot->since = now;
			continue;
		}
		slow = true;
		if (slot_late(n, slot, now) && (!worst || slot->tries > worst->tries))
			worst = slot;
	}
	if (worst && worst->tries)
		nvme_reset(n, "a command is late again");
	else if (worst)
		nvme_requeue(n, "a command is late, and an Abort did not help");
	return slow;
}

void nvme_clock(struct au_timer *timer, void *context)
{
	struct nvme *n = context;
	uint32_t now = (uint32_t)au_now_ms(n->dev) | 1; /* 0 is: not yet */
	bool slow = false;

	nvme_poll(n); /* an interrupt may have been lost */
	if (n->live && !n->gone && !n->failed) {
		slow = slots_look(n, now);
		if (nvme_admin_late(n, now, n->timeout_ms))
			nvme_reset(n, "an admin command is late");
		if (slow && n->live && (nvme_csts(n) & CSTS_CFS))
			nvme_reset(n, "it has failed (CSTS.CFS)");
		/* It may have stopped looking at the doorbell in memory just before that. */
		if (slow && n->live && n->io.shadow[0])
			au_post32(n->io.doorbells, n->io.at[0], n->io.rung);
	}
	nvme_namespaces_leave(n);
	/* Nothing outstanding at this moment may mean that it is quick. */
	n->slow_clock =
		n->free_count == n->depth && !n->leaving && n->completed == n->clock_completed;
	n->clock_completed = n->completed;
	au_timer_start(timer, n->slow_clock ? CLOCK_IDLE_MS : CLOCK_BUSY_MS, false);
}

void nvme_clock_faster(struct nvme *n)
{
	n->slow_clock = false;
	au_timer_start(n->clock, CLOCK_BUSY_MS, false);
}
