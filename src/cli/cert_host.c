/* SPDX-License-Identifier: MIT */
/* Steps: what befalls the process that runs the driver, its manager, and those who use it. */
#include "cli/cert.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define WHAT(...) snprintf(step->what, sizeof(step->what), __VA_ARGS__)

/* Until another host serves. Return: its generation, 0 when none came in time. */
static unsigned int host_await(struct cert_run *run, unsigned int than)
{
	double end = cert_seconds() + CERT_WAIT / 1e3;
	unsigned int generation = 0;

	while (cert_seconds() < end) {
		if (cert_host_pid(run, &generation) && generation > than)
			return generation;
		cert_listen(run, 5);
	}
	cert_fail(run, "no-recovery", "no other host serves within %u s", CERT_WAIT / 1000);
	return 0;
}

/* Kill the host that is there; who cannot is told once. */
static bool host_signal(struct cert_run *run, int signal, unsigned int *generation)
{
	pid_t pid = cert_host_pid(run, generation);

	if (!pid)
		return false;
	if (kill(pid, signal) == 0)
		return true;
	cert_fail(run, "refused",
		  "its host (pid %d) cannot be killed: run as root, or as the "
		  "manager's user",
		  (int)pid);
	return false;
}

static void step_io(struct cert_run *run, struct cert_step *step)
{
	WHAT("nothing but requests");
	cert_listen(run, run->full ? 3000 : 500);
}

/* Ask the manager for it, again and again. @how: what goes with it. */
static void host_ask(struct cert_run *run, struct cert_step *step, unsigned int count,
		     const char *what, const char *how, bool value, const char *refused)
{
	for (unsigned int i = 0; i < count; i++) {
		json_t *answer = cert_call(run, "POST", what, json_pack("{s:b}", how, value));

		if (!answer)
			cert_fail(run, "no-recovery", "%s", refused);
		json_decref(answer);
		cert_listen(run, cert_choose(step, 0, 150));
	}
}

static void step_restart(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 1, run->full ? 8 : 3);

	WHAT("%u restarts in order", count);
	host_ask(run, step, count, "/restart", "crash", false, "it does not restart");
}

/* The same module in the place of itself: what is outstanding is handed over. */
static void step_upgrade(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 1, run->full ? 8 : 3);

	WHAT("%u times, its module is replaced by the same", count);
	host_ask(run, step, count, "/upgrade", "fresh", false, "its module cannot be replaced");
}

static void step_crash(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 1, run->full ? 5 : 2);

	WHAT("%u restarts as after a crash", count);
	host_ask(run, step, count, "/restart", "crash", true, "it does not come back");
}

static void step_kill(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 2, run->full ? 10 : 4), generation = 0;

	WHAT("its host is killed %u times", count);
	for (unsigned int i = 0; i < count; i++) {
		if (host_signal(run, SIGKILL, &generation))
			host_await(run, generation);
		cert_listen(run, cert_choose(step, 0, 200));
	}
}

/* Again while it recovers: in any state of its way up. */
static void step_kill_again(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 2, 4), generation = 0;
	pid_t last = 0;

	WHAT("its host is killed, and the next %u on their way up", count);
	host_signal(run, SIGKILL, &generation);
	for (unsigned int i = 0; i < count; i++) {
		double end = cert_seconds() + 3;
		pid_t pid = 0;

		while (cert_seconds() < end) {
			json_t *info = cert_info(run);

			pid = (pid_t)json_integer_value(json_object_get(info, "pid"));
			json_decref(info);
			if (pid && pid != last)
				break;
		}
		usleep(cert_choose(step, 0, 20000));
		if (pid && pid != last)
			kill(pid, SIGKILL);
		last = pid;
	}
	host_await(run, generation);
}

static void step_stop(struct cert_run *run, struct cert_step *step)
{
	unsigned int generation = 0;

	WHAT("its host is stopped, until the manager has found out");
	if (host_signal(run, SIGSTOP, &generation))
		host_await(run, generation);
}

static void step_manager(struct cert_run *run, struct cert_step *step)
{
	WHAT("the manager is killed; requests go on; another one takes over");
	cert_manager_stop(run, SIGKILL);
	cert_progress(run);
	if (!cert_manager_start(run)) {
		cert_fail(run, "state", "the manager does not start again");
		run->broken = true;
		return;
	}
	host_await(run, 0);
}

/* ----------------------------------------------------------------------- clients */

/* Other clients, for a while; data of a serial line are the first one's. */
static unsigned int host_guests(struct cert_run *run, unsigned int count,
				struct cert_member **guests)
{
	bool control = strcmp(run->class, "serial") == 0;
	unsigned int n = 0;

	for (unsigned int i = 0; i < count; i++) {
		struct cert_member *m =
			cert_join(run, i % run->unit_count, CERT_CREW - 1 - i, control);

		if (m)
			guests[n++] = m;
	}
	return n;
}

static void step_client_kill(struct cert_run *run, struct cert_step *step)
{
	struct cert_member *guests[4];
	unsigned int count = cert_choose(step, 1, 4), n = host_guests(run, count, guests);

	WHAT("%u other clients are killed with requests outstanding", n);
	cert_progress(run);
	cert_listen(run, cert_choose(step, 0, 100));
	for (unsigned int i = 0; i < n; i++)
		if (guests[i]->pid)
			cert_kill(run, guests[i], SIGKILL);
}

static void step_client_stop(struct cert_run *run, struct cert_step *step)
{
	unsigned int ms = cert_choose(step, 100, run->full ? 2000 : 500);
	struct cert_member *guests[1];
	pid_t pid;

	WHAT("another client stands still for %u ms", ms);
	if (!host_guests(run, 1, guests) || !cert_progress(run) || !guests[0]->pid)
		return;
	pid = guests[0]->pid;
	kill(pid, SIGSTOP);
	/* The others do not wait for it. */
	cert_listen(run, ms);
	kill(pid, SIGCONT);
	cert_progress(run);
	cert_leave(run, guests[0]);
}

static void step_open_close(struct cert_run *run, struct cert_step *step)
{
	unsigned int rounds = cert_choose(step, 2, run->full ? 8 : 3);

	WHAT("%u times, other clients come and go", rounds);
	for (unsigned int i = 0; i < rounds; i++) {
		struct cert_member *guests[4];
		unsigned int n = host_guests(run, cert_choose(step, 1, 4), guests);

		cert_listen(run, cert_choose(step, 0, 60));
		for (unsigned int j = 0; j < n; j++)
			cert_leave(run, guests[j]);
	}
}

/* Clients that come and go while the driver is restarted. */
static void step_open_restart(struct cert_run *run, struct cert_step *step)
{
	unsigned int rounds = cert_choose(step, 1, run->full ? 5 : 2), generation = 0;

	WHAT("%u times, other clients come, go and die while the driver restarts", rounds);
	for (unsigned int i = 0; i < rounds; i++) {
		struct cert_member *guests[3];
		unsigned int n = host_guests(run, 3, guests), kills = cert_choose(step, 0, 1);

		cert_listen(run, cert_choose(step, 0, 40));
		if (host_signal(run, SIGKILL, &generation))
			usleep(cert_choose(step, 0, 30000));
		for (unsigned int j = 0; j < n; j++) {
			if (j == 0 && kills)
				cert_kill(run, guests[j], SIGKILL);
			else
				cert_leave(run, guests[j]);
		}
		host_await(run, generation);
	}
}

/* ------------------------------------------------------------------------ cancel */

static void step_cancel(struct cert_run *run, struct cert_step *step)
{
	unsigned int percent = cert_choose(step, 5, 90), late = cert_choose(step, 0, 30);

	WHAT("%u percent are cancelled at each look, %u have a time of 1 to 5 ms", percent, late);
	cert_tell(run, NULL, "cancel", percent);
	cert_tell(run, NULL, "timeout", late);
	cert_listen(run, run->full ? 3000 : 600);
}

static void step_cancel_kill(struct cert_run *run, struct cert_step *step)
{
	unsigned int percent = cert_choose(step, 5, 60), count = cert_choose(step, 1, 3),
		     generation = 0;

	WHAT("%u percent are cancelled, while its host is killed %u times", percent, count);
	cert_tell(run, NULL, "cancel", percent);
	for (unsigned int i = 0; i < count; i++) {
		cert_listen(run, cert_choose(step, 5, 100));
		if (host_signal(run, SIGKILL, &generation))
			host_await(run, generation);
	}
}

static void step_cancel_restart(struct cert_run *run, struct cert_step *step)
{
	unsigned int percent = cert_choose(step, 5, 60), count = cert_choose(step, 1, 3);

	WHAT("%u percent are cancelled, during %u restarts in order", percent, count);
	cert_tell(run, NULL, "cancel", percent);
	for (unsigned int i = 0; i < count; i++) {
		cert_listen(run, cert_choose(step, 5, 100));
		json_decref(cert_call(run, "POST", "/restart", json_pack("{s:b}", "crash", 0)));
	}
}

/* ------------------------------------------------------- in the program that uses it */

/* The program that runs the driver dies, and another one comes. */
static void step_die(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 1, run->full ? 5 : 2);

	WHAT("%u times, the program that runs the driver is killed, and another one comes", count);
	for (unsigned int i = 0; i < count; i++) {
		cert_listen(run, cert_choose(step, 0, 100));
		cert_crew_end(run, false);
		if (!cert_crew_begin(run) || !cert_progress(run))
			return;
	}
}

/* It closes the last handle, so that the driver goes down, and opens another one. */
static void step_reopen(struct cert_run *run, struct cert_step *step)
{
	unsigned int count = cert_choose(step, 1, run->full ? 8 : 3);

	WHAT("%u times, the last handle is closed, and another one opened", count);
	for (unsigned int i = 0; i < count; i++) {
		cert_listen(run, cert_choose(step, 0, 60));
		cert_crew_end(run, true);
		if (!cert_crew_begin(run) || !cert_progress(run))
			return;
	}
}

static void step_freeze(struct cert_run *run, struct cert_step *step)
{
	unsigned int ms = cert_choose(step, 50, run->full ? 1500 : 400);
	pid_t pid = run->crew[0].pid;

	WHAT("the program that runs the driver stands still for %u ms", ms);
	if (!pid)
		return;
	kill(pid, SIGSTOP);
	usleep(ms * 1000);
	kill(pid, SIGCONT);
}

const struct cert_kind cert_host_kinds[] = {
	{ "io", 0, step_io },
	{ "restart", CERT_NEEDS_HOST, step_restart },
	{ "crash", CERT_NEEDS_HOST, step_crash },
	{ "upgrade", CERT_NEEDS_HOST, step_upgrade },
	{ "kill", CERT_NEEDS_HOST, step_kill },
	{ "kill-again", CERT_NEEDS_HOST, step_kill_again },
	{ "stop", CERT_NEEDS_HOST, step_stop },
	{ "manager", CERT_NEEDS_HOST | CERT_NEEDS_OWN, step_manager },
	{ "client-kill", CERT_NEEDS_HOST, step_client_kill },
	{ "client-stop", CERT_NEEDS_HOST, step_client_stop },
	{ "open-close", CERT_NEEDS_HOST, step_open_close },
	{ "open-restart", CERT_NEEDS_HOST, step_open_restart },
	{ "cancel", 0, step_cancel },
	{ "cancel-kill", CERT_NEEDS_HOST, step_cancel_kill },
	{ "cancel-restart", CERT_NEEDS_HOST, step_cancel_restart },
	{ "die", CERT_NEEDS_INPROC, step_die },
	{ "reopen", CERT_NEEDS_INPROC, step_reopen },
	{ "freeze", CERT_NEEDS_INPROC, step_freeze },
};
const unsigned int cert_host_kind_count = sizeof(cert_host_kinds) / sizeof(cert_host_kinds[0]);
