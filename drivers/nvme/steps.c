/* SPDX-License-Identifier: MIT */
/*
 * Steps: whatever takes several admin commands, or waits for the controller, is a list of steps.
 * d0_entry() and d0_exit() wait for them; at other times they go on from the lane, which never
 * waits.
 */
#include "nvme.h"

#define STEP_LOOK_MS 10u
#define STEPS_LOOKS  2000u /* before sleeping for a millisecond */

/* An answer that nobody waits for any more. */
static void step_ignored(struct nvme *n, uint16_t status, uint32_t dw0)
{
}

void nvme_steps_begin(struct nvme *n, const struct nvme_step *steps,
		      void (*done)(struct nvme *n, int err))
{
	n->step = steps;
	n->steps_done = done;
	n->begun = n->answered = false;
	if (n->asked)
		n->asked->done = step_ignored;
	n->asked = NULL;
	if (!n->waits)
		au_timer_start(n->pace, 1, true);
}

static void steps_end(struct nvme *n, int err)
{
	n->step = NULL;
	au_timer_stop(n->pace);
	n->steps_done(n, err);
}

static void step_answered(struct nvme *n, uint16_t status, uint32_t dw0)
{
	n->answered = true;
	n->asked = NULL;
	n->answer_status = status;
	n->answer_dw0 = dw0;
}

int nvme_step_send(struct nvme *n, struct nvme_sqe *cmd)
{
	int err = nvme_admin_send(n, cmd, true, step_answered);

	n->answered = false;
	n->asked = err ? NULL : n->sent;
	return err;
}

static int step_check(struct nvme *n, const struct nvme_step *step)
{
	if (step->check)
		return step->check(n);
	if (n->upset)
		return -AU_EPROTO;
	if (!n->answered)
		return NVME_AGAIN;
	if (step->take) {
		/* Checked and used is a copy, which the device cannot change. */
		__builtin_memcpy(n->answer, n->data.cpu, sizeof(n->answer));
		au_dma_rmb();
		return step->take(n, n->answer_status, n->answer_dw0);
	}
	if (!n->answer_status)
		return 0;
	au_log(n->dev, AU_LOG_ERROR, "%s: the controller refuses, status 0x%x", step->name,
	       n->answer_status);
	return -AU_EIO;
}

/* One that fails on the way answers nothing any more; a register now and then costs little. */
static bool step_hopeless(struct nvme *n, const struct nvme_step *step, uint64_t now)
{
	if (step->check || now < n->looked_ms + STEP_LOOK_MS)
		return false;
	n->looked_ms = now;
	if (!(nvme_csts(n) & CSTS_CFS))
		return false;
	au_log(n->dev, AU_LOG_ERROR, "%s: the controller has failed (CSTS.CFS)", step->name);
	return true;
}

static int step_run(struct nvme *n, const struct nvme_step *step)
{
	uint64_t now = au_now_ms(n->dev);
	int rc = 0;

	if (n->gone)
		return -AU_ENODEV;
	if (!n->begun) {
		n->begun = true;
		n->deadline_ms = now + (step->limit_ms ? step->limit_ms : n->limit_ms);
		n->looked_ms = now;
		rc = step->begin(n);
	}
	if (!rc)
		rc = step_check(n, step);
	if (rc == NVME_AGAIN && step_hopeless(n, step, now))
		return -AU_EPROTO;
	if (rc != NVME_AGAIN || now < n->deadline_ms)
		return rc;
	au_log(n->dev, AU_LOG_ERROR, "%s: not done within %u ms", step->name,
	       step->limit_ms ? step->limit_ms : n->limit_ms);
	return -AU_ETIMEDOUT;
}

void nvme_steps_go(struct nvme *n)
{
	while (n->step && n->step->name) {
		int rc = step_run(n, n->step);

		if (rc == NVME_AGAIN)
			return;
		if (rc < 0) {
			steps_end(n, rc);
			return;
		}
		n->begun = false;
		if (rc != NVME_REPEAT)
			n->step++;
	}
	if (n->step)
		steps_end(n, 0);
}

static inline void steps_relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

void nvme_steps_wait(struct nvme *n)
{
	for (;;) {
		nvme_steps_go(n);
		if (!n->step)
			return;
		for (unsigned int i = 0; i < STEPS_LOOKS && !nvme_new(&n->admin); i++)
			steps_relax();
		if (!nvme_admin_reap(n))
			au_sleep_ms(n->dev, 1);
	}
}
