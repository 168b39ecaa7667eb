/* SPDX-License-Identifier: MIT */
/* Steps: devices that are taken away in order, pulled out, and put back. */
#include "cli/cert.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define WHAT(...) snprintf(step->what, sizeof(step->what), __VA_ARGS__)

/* Each of the crew has noticed. */
static bool pnp_all_gone(struct cert_run *run, const int64_t *gones)
{
	double end = cert_seconds() + CERT_WAIT / 1e3;

	for (;;) {
		struct cert_member *left = NULL;

		for (unsigned int i = 0; i < CERT_CREW; i++)
			if (run->crew[i].pid && cert_said(&run->crew[i], "gones") <= gones[i])
				left = &run->crew[i];
		if (!left)
			return true;
		if (cert_seconds() >= end || left->ended) {
			cert_fail(run, "not-told",
				  "a client of %s does not notice that the device "
				  "is gone",
				  run->units[left->unit]);
			return false;
		}
		cert_listen(run, 10);
	}
}

static void pnp_gones(struct cert_run *run, int64_t *gones)
{
	cert_listen(run, CERT_MOMENT);
	for (unsigned int i = 0; i < CERT_CREW; i++)
		gones[i] = run->crew[i].pid ? cert_said(&run->crew[i], "gones") : 0;
}

/* A disk of memory is another one when it comes back; what clients know of it holds no more. */
static void pnp_attach_again(struct cert_run *run)
{
	bool forget = run->virtual && strcmp(run->class, "block") == 0;

	if (forget)
		cert_crew_end(run, false);
	if (!cert_attach(run)) {
		run->broken = true;
		return;
	}
	if (forget && !cert_crew_begin(run))
		run->broken = true;
}

/* It is open: that is a veto. By force, its clients are told; then it is there again. */
static void step_detach(struct cert_run *run, struct cert_step *step)
{
	int64_t gones[CERT_CREW];
	json_t *answer;

	WHAT("detach is vetoed by those who have it open, then forced, then it is attached again");
	answer = cert_call(run, "DELETE", NULL, NULL);
	if (answer) {
		cert_fail(run, "no-veto", "it is open, and was detached without force");
		json_decref(answer);
		run->broken = !cert_attach(run);
		return;
	}
	if (!cert_progress(run))
		return;
	cert_tell(run, NULL, "gone", 1);
	pnp_gones(run, gones);
	answer = cert_call(run, "DELETE", "?force=1", NULL);
	if (!answer)
		cert_fail(run, "state", "it cannot be detached by force");
	json_decref(answer);
	pnp_all_gone(run, gones);
	pnp_attach_again(run);
}

/* In order: nobody has it open any more. */
static void step_unload(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 2, run->full ? 10 : 3);

	WHAT("%u times, all close it, it is detached and attached again", count);
	for (unsigned int i = 0; i < count && !run->broken; i++) {
		cert_crew_end(run, true);
		run->broken = !cert_detach(run) || !cert_attach(run) || !cert_crew_begin(run) ||
			      !cert_progress(run);
	}
}

/* Pulled out and put back @ms later. */
static bool pnp_swap(struct cert_run *run, unsigned int ms, bool all)
{
	int64_t gones[CERT_CREW];

	pnp_gones(run, gones);
	if (!cert_lab(run, "remove"))
		return false;
	if (all)
		pnp_all_gone(run, gones);
	cert_listen(run, ms);
	return cert_lab(run, "add");
}

static void step_remove(struct cert_run *run, struct cert_step *step)
{
	unsigned int ms = cert_choose(step, 0, 300);

	WHAT("the device is pulled out under load, and put back after %u ms", ms);
	cert_tell(run, NULL, "gone", 1);
	pnp_swap(run, ms, true);
	cert_progress(run);
}

static void step_remove_idle(struct cert_run *run, struct cert_step *step)
{
	WHAT("the device is pulled out while nothing is outstanding, and put back");
	cert_tell(run, NULL, "gone", 1);
	if (cert_quiet(run))
		pnp_swap(run, 0, run->place == CERT_PROCESS);
	cert_progress(run);
}

static void step_remove_cancel(struct cert_run *run, struct cert_step *step)
{
	unsigned int percent = cert_choose(step, 10, 90);

	WHAT("%u percent are cancelled while the device is pulled out; it is put back", percent);
	cert_tell(run, NULL, "gone", 1);
	cert_tell(run, NULL, "cancel", percent);
	cert_listen(run, cert_choose(step, 0, 100));
	pnp_swap(run, 0, true);
	cert_progress(run);
}

/* In any state of the way up, and of the way down. */
static void step_remove_restart(struct cert_run *run, struct cert_step *step)
{
	unsigned int us = cert_choose(step, 0, 60000);
	pid_t pid = cert_host_pid(run, NULL);

	WHAT("its host is killed, and the device is pulled out %u ms later; it is put back",
	     us / 1000);
	cert_tell(run, NULL, "gone", 1);
	if (pid)
		kill(pid, SIGKILL);
	usleep(us);
	pnp_swap(run, cert_choose(step, 0, 200), false);
	/* Whether it was missed by anybody is open. */
	cert_progress(run);
}

static void step_eject(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 2, run->full ? 6 : 3);

	WHAT("%u times in a row, the device is pulled out and put back at once", count);
	cert_tell(run, NULL, "gone", 1);
	for (unsigned int i = 0; i < count; i++)
		if (!pnp_swap(run, 0, false))
			return;
	cert_progress(run);
}

const struct cert_kind cert_pnp_kinds[] = {
	{ "detach", CERT_NEEDS_HOST | CERT_NEEDS_OWN, step_detach },
	{ "unload", CERT_NEEDS_HOST | CERT_NEEDS_OWN, step_unload },
	{ "remove", CERT_NEEDS_LAB, step_remove },
	{ "remove-idle", CERT_NEEDS_LAB, step_remove_idle },
	{ "remove-cancel", CERT_NEEDS_LAB, step_remove_cancel },
	{ "remove-restart", CERT_NEEDS_LAB | CERT_NEEDS_HOST, step_remove_restart },
	{ "eject", CERT_NEEDS_LAB, step_eject },
};
const unsigned int cert_pnp_kind_count = sizeof(cert_pnp_kinds) / sizeof(cert_pnp_kinds[0]);
