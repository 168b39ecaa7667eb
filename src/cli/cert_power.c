/* SPDX-License-Identifier: MIT */
/* Steps: a device goes down and comes up again, because it was told to, has nothing to do, or the
 * system sleeps. To clients all that is a matter of time. */
#include "cli/cert.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define WHAT(...) snprintf(step->what, sizeof(step->what), __VA_ARGS__)

/* "d0", "d3", "cycle". What somebody keeps up, such as an open port, is not put down. */
static bool power_state(struct cert_run *run, const char *state)
{
	json_t *answer = cert_call(run, "POST", "/power", json_pack("{s:s}", "state", state));

	json_decref(answer);
	if (answer || strcmp(run->class, "serial") == 0)
		return true;
	cert_fail(run, "power", "its power cannot be changed (%s)", state);
	return false;
}

static bool power_idle(struct cert_run *run, const char *time)
{
	json_t *answer = cert_call(run, "POST", "/power", json_pack("{s:s}", "idle", time));

	json_decref(answer);
	if (!answer)
		cert_fail(run, "power", "its idle time cannot be set to %s", time);
	return answer != NULL;
}

static bool power_system(struct cert_run *run, const char *what)
{
	char why[CONTROL_WHY] = "";
	json_t *answer = control_ask("POST", "/v1/power", json_pack("{s:s}", "system", what), why,
				     sizeof(why));

	json_decref(answer);
	if (!answer)
		cert_fail(run, "power", "the system does not %s: %s", what, why);
	return answer != NULL;
}

static void step_cycle(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 2, run->full ? 20 : 5);

	WHAT("%u times, it goes down and comes up under load", count);
	for (unsigned int i = 0; i < count && power_state(run, "cycle"); i++)
		cert_listen(run, cert_choose(step, 0, 60));
}

/* The next request brings it up. */
static void step_down(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 2, run->full ? 10 : 3);

	WHAT("%u times, it is put down at rest, and the next request brings it up", count);
	for (unsigned int i = 0; i < count; i++)
		if (!cert_quiet(run) || !power_state(run, "d3") || !cert_progress(run))
			return;
}

/* Requests come just as its time is up. */
static void step_idle(struct cert_run *run, struct cert_step *step)
{
	unsigned int ms = cert_choose(step, 10, 40), count = run->full ? 30 : 6;
	char time[16];

	WHAT("%u times, requests come about when its idle time of %u ms is up", count, ms);
	snprintf(time, sizeof(time), "%ums", ms);
	if (!power_idle(run, time))
		return;
	for (unsigned int i = 0; i < count; i++) {
		cert_tell(run, NULL, "pause", 1);
		usleep((ms + cert_choose(step, 0, 6)) * 1000 - 3000);
		cert_tell(run, NULL, "pause", 0);
		cert_listen(run, cert_choose(step, 0, 20));
	}
	cert_progress(run);
	power_idle(run, "off");
}

static void step_cycle_cancel(struct cert_run *run, struct cert_step *step)
{
	unsigned int percent = cert_choose(step, 5, 60), count = cert_choose(step, 2, 6);

	WHAT("%u percent are cancelled, while it goes down and comes up %u times", percent, count);
	cert_tell(run, NULL, "cancel", percent);
	for (unsigned int i = 0; i < count && power_state(run, "cycle"); i++)
		cert_listen(run, cert_choose(step, 0, 60));
}

/* Its host dies in any state of that. */
static void step_cycle_kill(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 1, run->full ? 6 : 3);

	WHAT("%u times, its host is killed about when it goes down", count);
	for (unsigned int i = 0; i < count; i++) {
		pid_t pid = cert_host_pid(run, NULL), killer;

		killer = pid ? fork() : -1;
		if (killer == 0) {
			usleep(cert_choose(step, 0, 8000));
			kill(pid, SIGKILL);
			_exit(0);
		}
		/* It may well not get there. */
		json_decref(cert_call(run, "POST", "/power", json_pack("{s:s}", "state", "cycle")));
		if (killer > 0)
			cert_reap(killer);
		if (!cert_progress(run))
			return;
	}
}

static void step_suspend(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 1, run->full ? 5 : 2);

	WHAT("%u times, the system sleeps under load, and wakes", count);
	for (unsigned int i = 0; i < count; i++) {
		bool slept = power_system(run, "suspend");

		cert_listen(run, cert_choose(step, 0, 200));
		if (!power_system(run, "resume") || !slept || !cert_progress(run))
			return;
	}
}

/* What happens while it sleeps waits, and none of it is lost. */
static void step_suspend_kill(struct cert_run *run, struct cert_step *step)
{
	unsigned int what = cert_choose(step, 0, 2);
	pid_t pid = cert_host_pid(run, NULL);
	bool slept = power_system(run, "suspend");
	struct cert_member *m = NULL;
	pid_t asks = -1;

	WHAT("while the system sleeps, %s", what == 0	? "its host is killed"
					    : what == 1 ? "a client comes"
							: "a restart is asked "
							  "for");
	if (what == 0 && pid)
		kill(pid, SIGKILL);
	if (what == 1)
		m = cert_join(run, 0, CERT_CREW - 1, strcmp(run->class, "serial") == 0);
	if (what == 2)
		asks = cert_restart_later(run);
	cert_listen(run, cert_choose(step, 0, 200));
	slept &= power_system(run, "resume");
	if (asks > 0)
		cert_reap(asks);
	if (slept && cert_progress(run) && m && m->pid)
		cert_leave(run, m);
}

static void step_down_remove(struct cert_run *run, struct cert_step *step)
{
	WHAT("the device is pulled out while it is down, and put back");
	cert_tell(run, NULL, "gone", 1);
	if (!cert_quiet(run) || !power_state(run, "d3") || !cert_lab(run, "remove"))
		return;
	cert_listen(run, cert_choose(step, 0, 300));
	cert_lab(run, "add");
	cert_progress(run);
}

const struct cert_kind cert_power_kinds[] = {
	{ "cycle", CERT_NEEDS_HOST, step_cycle },
	{ "down", CERT_NEEDS_HOST, step_down },
	{ "idle", CERT_NEEDS_HOST, step_idle },
	{ "cycle-cancel", CERT_NEEDS_HOST, step_cycle_cancel },
	{ "cycle-kill", CERT_NEEDS_HOST, step_cycle_kill },
	{ "suspend", CERT_NEEDS_HOST | CERT_NEEDS_OWN, step_suspend },
	{ "suspend-kill", CERT_NEEDS_HOST | CERT_NEEDS_OWN, step_suspend_kill },
	{ "down-remove", CERT_NEEDS_HOST | CERT_NEEDS_LAB, step_down_remove },
};
const unsigned int cert_power_kind_count = sizeof(cert_power_kinds) / sizeof(cert_power_kinds[0]);
