/* SPDX-License-Identifier: MIT */
/*
 * Signs of life. Every 300 ms each host is asked for one; each of its lanes, in the loop that also
 * serves I/O, stores the number it was asked with in the status page. A lane that has not done so
 * within 600 ms hangs: the verdict falls at the third beat at the latest, within 0.9 s. One that is
 * silent because it was stopped (SIGSTOP) will not come to life by waiting: there, the next beat is
 * enough. Time in which the manager itself was not scheduled counts for nobody; nor does time in
 * which the host's threads wanted to run and others had the processors, up to a limit.
 */
#include "manager/manager.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define SUPERVISE_LOG_LINES 20 /* of a host, per second or so */

static const char *const verdict_names[] = {
	[MGR_VERDICT_NONE] = "none",	   [MGR_VERDICT_CRASH] = "crash",
	[MGR_VERDICT_KILLED] = "killed",   [MGR_VERDICT_HANG] = "hang",
	[MGR_VERDICT_STOPPED] = "stopped", [MGR_VERDICT_EXIT] = "exit",
	[MGR_VERDICT_START] = "start",	   [MGR_VERDICT_PROTOCOL] = "protocol",
	[MGR_VERDICT_REQUEST] = "request",
};

const char *mgr_verdict_name(enum mgr_verdict verdict)
{
	return verdict_names[verdict];
}

/* The lane that did not answer, or -1. */
static int supervise_silent_lane(const struct mgr_host *host)
{
	const struct au_status *status = host->recorder.status;
	uint32_t lanes = status->lanes;

	/* The page is the host's to write: it has one lane at least, and it cannot have more. */
	if (lanes < 1 || lanes > AU_RECORDER_LANES)
		lanes = 1;
	for (uint32_t i = 0; i < lanes; i++)
		if (atomic_load_explicit(&status->lane[i].beat, memory_order_relaxed) != host->beat)
			return (int)i;
	return -1;
}

static uint32_t supervise_overdue_ms(const struct mgr_host *host)
{
	uint32_t worst = 0;

	for (uint32_t i = 0; i < AU_RECORDER_LANES; i++) {
		uint32_t ms = atomic_load_explicit(&host->recorder.status->lane[i].overdue_ms,
						   memory_order_relaxed);

		if (ms > worst)
			worst = ms;
	}
	return worst;
}

/* What the threads of a host do: 'R' if one of them computes, else what the first does. */
static char supervise_state(pid_t pid)
{
	char path[48], first = '?';
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char state = '?';

		if (mgr_process_start_time((pid_t)atoi(entry->d_name), &state) && first != 'R' &&
		    (first == '?' || state == 'R'))
			first = state;
	}
	if (dir)
		closedir(dir);
	return first;
}

/* What the threads of a process have had of the processors, all together: schedstat's first two. */
struct supervise_share {
	uint64_t ran_ns, waited_ns; /* waits that are over */
};

static void supervise_share(pid_t pid, struct supervise_share *share)
{
	char path[48];
	struct dirent *entry;
	DIR *dir;

	*share = (struct supervise_share){ 0 };
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		unsigned long long ran, waited;
		char name[80];
		FILE *file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%.16s/schedstat", path, entry->d_name);
		file = fopen(name, "re");
		if (file && fscanf(file, "%llu %llu", &ran, &waited) == 2) {
			share->ran_ns += ran;
			share->waited_ns += waited;
		}
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);
}

/* A beat is unanswered: what since the last look was not the host's to use does not count. */
static void supervise_excuse(struct mgr_host *host, uint64_t now, uint64_t late)
{
	uint64_t excuse = late, looked = now - host->looked_ns, ran;
	struct supervise_share share;

	supervise_share(host->pid, &share);
	if (host->looked_ns > host->beat_ns) {
		ran = share.ran_ns - host->ran_ns;
		/* An answer takes microseconds: who ran for longer than that had its chance. */
		if (ran < MGR_CHANCE_MS * 1000000ull)
			excuse += supervise_state(host->pid) == 'R'
					  ? looked
					  : share.waited_ns - host->waited_ns;
		excuse = excuse < looked ? excuse : looked;
	}
	if (host->excused_ns + excuse > MGR_EXCUSE_MS * 1000000ull)
		excuse = MGR_EXCUSE_MS * 1000000ull - host->excused_ns;
	host->excused_ns += excuse;
	host->beat_ns += excuse;
	host->ran_ns = share.ran_ns;
	host->waited_ns = share.waited_ns;
	host->looked_ns = now;
}

static bool supervise_stopped(const struct mgr_host *host)
{
	return supervise_state(host->pid) == 'T';
}

static void supervise_hung(struct mgr_host *host, int lane, uint64_t silent_ms)
{
	char state = supervise_state(host->pid);

	if (state == 'T' || state == 't')
		mgr_host_kill(host, MGR_VERDICT_STOPPED,
			      "it was stopped from outside (SIGSTOP or a debugger), without "
			      "'auriga hold', for %u ms",
			      (unsigned int)silent_ms);
	else
		mgr_host_kill(host, MGR_VERDICT_HANG,
			      "its lane %d gave no sign of life for %u ms (it was %s)", lane,
			      (unsigned int)silent_ms,
			      state == 'R' ? "computing" : "waiting in the kernel");
}

static void supervise_host(struct mgr_host *host, uint64_t now, uint64_t late)
{
	const struct mgr_device *dev = host->dev;
	struct au_hm_beat beat = { .head.type = AU_HM_BEAT };
	uint32_t overdue_ms;
	int lane;

	if (host->log_tokens < SUPERVISE_LOG_LINES)
		host->log_tokens += SUPERVISE_LOG_LINES / 3;
	mgr_host_hear(host);
	if (host->state != MGR_HOST_READY || !host->recorder.status)
		return;
	mgr_device_credit(host->dev);
	lane = host->beat ? supervise_silent_lane(host) : -1;
	overdue_ms = supervise_overdue_ms(host);
	if (lane < 0)
		host->beat_ns = host->excused_ns = 0;
	if (host->beat_ns)
		supervise_excuse(host, now, late);
	if (!dev->held && host->beat_ns &&
	    (now - host->beat_ns >= MGR_HANG_MS * 1000000ull || supervise_stopped(host))) {
		supervise_hung(host, lane, (now - host->beat_ns) / 1000000);
		return;
	}
	if (!dev->held && overdue_ms > dev->spec.policy.request_timeout_ms) {
		mgr_host_kill(host, MGR_VERDICT_HANG, "it has held a cancelled request for %u ms",
			      overdue_ms);
		return;
	}
	/* The number goes on only when the last one was answered: what counts is the oldest. */
	if (host->beat_ns)
		return;
	if (++host->beat == 0)
		host->beat = 1;
	beat.seq = host->beat;
	host->beat_ns = now;
	mgr_host_send(host, &beat, sizeof(beat), NULL, 0);
}

static void supervise_tick(struct au_loop_timer *timer)
{
	struct mgr *mgr = timer->context;
	uint64_t now = au_monotonic_ns();
	uint64_t planned = mgr->tick_ns + MGR_BEAT_MS * 1000000ull;
	uint64_t late = now > planned ? now - planned : 0;
	bool hosts = false;

	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (!dev->host)
			continue;
		hosts = true;
		supervise_host(dev->host, now, late);
	}
	mgr->tick_ns = now;
	if (hosts)
		au_loop_timer_set(mgr->loop, &mgr->tick, MGR_BEAT_MS);
}

void mgr_supervise(struct mgr *mgr)
{
	if (au_loop_timer_is_set(&mgr->tick))
		return;
	mgr->tick.expired = supervise_tick;
	mgr->tick.context = mgr;
	mgr->tick_ns = au_monotonic_ns();
	au_loop_timer_set(mgr->loop, &mgr->tick, MGR_BEAT_MS);
}

enum mgr_verdict mgr_host_verdict(struct mgr_host *host, int status, int *signal, char *text,
				  size_t size)
{
	const struct au_recorder *rec = host->recorder.status ? &host->recorder : NULL;
	const char *name;

	*signal = 0;
	if (host->verdict != MGR_VERDICT_NONE) {
		*signal = SIGKILL;
		snprintf(text, size, "%s", host->why);
		return host->verdict;
	}
	if (status >= 0)
		*signal = au_host_death_signal(status, rec);
	else if (rec && rec->status->crashed) /* not our child: only its own word is left */
		*signal = rec->crash->signal;
	name = sigdescr_np(*signal);
	if (*signal && au_host_death_fault(*signal)) {
		snprintf(text, size, "its driver crashed: %s", name ? name : "unknown signal");
		return MGR_VERDICT_CRASH;
	}
	if (*signal) {
		snprintf(text, size, "its host was killed from outside: %s",
			 name ? name : "unknown signal");
		return MGR_VERDICT_KILLED;
	}
	if (status < 0) {
		snprintf(text, size, "its host ended; a new manager cannot see how");
		return MGR_VERDICT_KILLED;
	}
	snprintf(text, size, "its host left with status %d", WEXITSTATUS(status));
	return MGR_VERDICT_EXIT;
}
