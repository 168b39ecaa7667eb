/* SPDX-License-Identifier: MIT */
/*
 * The plan. The kinds of steps that apply, in an order that follows from the seed, the placement
 * and the round; what a step does follows from the seed, the placement and its number. So any step
 * can be done again without those before it.
 */
#include "cli/cert.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PLAN_KINDS   64u
#define PLAN_REST_MS 200u
#define PLAN_SPARE   4u /* descriptors of a host that stands by may be there or not */

/* What befalls a host without its driver being to blame. */
static const char *const plan_blame[] = { "crash", "hang", "exit", "start", "protocol" };

static volatile sig_atomic_t plan_stopped;

static uint64_t plan_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

unsigned int cert_choose(struct cert_step *step, unsigned int low, unsigned int high)
{
	step->random = plan_mix(step->random);
	return low + (unsigned int)((step->random >> 16) % (high - low + 1));
}

static void plan_stop(int signal)
{
	plan_stopped = 1;
}

/* ---------------------------------------------------------------------- the kinds */

static bool plan_applies(const struct cert_run *run, const struct cert_kind *kind)
{
	bool process = run->place == CERT_PROCESS;
	size_t length = strlen(kind->name);

	if ((kind->needs & CERT_NEEDS_HOST && !process) ||
	    (kind->needs & CERT_NEEDS_INPROC && process) ||
	    (kind->needs & CERT_NEEDS_OWN && !run->own && process) ||
	    (kind->needs & CERT_NEEDS_LAB && !run->lab[0]) ||
	    (kind->needs & CERT_NEEDS_DEVICE && run->virtual))
		return false;
	for (const char *at = run->only; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, kind->name, length) == 0 && (!at[length] || at[length] == ','))
			return true;
	return !run->only;
}

static const struct cert_kind *plan_kind(unsigned int index)
{
	const struct {
		const struct cert_kind *kinds;
		unsigned int count;
	} groups[] = { { cert_host_kinds, cert_host_kind_count },
		       { cert_pnp_kinds, cert_pnp_kind_count },
		       { cert_power_kinds, cert_power_kind_count },
		       { cert_inject_kinds, cert_inject_kind_count } };

	for (unsigned int i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		if (index < groups[i].count)
			return &groups[i].kinds[index];
		index -= groups[i].count;
	}
	return NULL;
}

static unsigned int plan_kinds(const struct cert_run *run, const struct cert_kind **kinds)
{
	const struct cert_kind *kind;
	unsigned int count = 0;

	for (unsigned int i = 0; (kind = plan_kind(i)); i++)
		if (count < PLAN_KINDS && plan_applies(run, kind))
			kinds[count++] = kind;
	return count;
}

void cert_list(void)
{
	const struct cert_kind *kind;

	for (unsigned int i = 0; (kind = plan_kind(i)); i++)
		printf("%s\n", kind->name);
}

/* The order of a round. */
static void plan_shuffle(const struct cert_run *run, unsigned int round,
			 const struct cert_kind **kinds, unsigned int count)
{
	uint64_t random = plan_mix(run->seed ^ plan_mix(run->place + 1) ^ (uint64_t)round << 32);

	for (unsigned int i = count; i > 1; i--) {
		const struct cert_kind *kind = kinds[i - 1];
		unsigned int j;

		random = plan_mix(random);
		j = (unsigned int)(random % i);
		kinds[i - 1] = kinds[j];
		kinds[j] = kind;
	}
}

/* ------------------------------------------------------------------------ a step */

static void plan_blame_for(struct cert_run *run, json_t *info)
{
	json_t *deaths = json_object_get(info, "deaths");

	for (unsigned int i = 0; i < sizeof(plan_blame) / sizeof(plan_blame[0]); i++) {
		const char *name = plan_blame[i], *text = "";
		json_int_t before = json_integer_value(json_object_get(run->deaths, name));
		json_int_t now = json_integer_value(json_object_get(deaths, name));
		json_t *crash;

		if (now <= before)
			continue;
		crash = cert_call(run, "GET", "/crash", NULL);
		if (crash && json_object_get(crash, "text"))
			text = json_string_value(json_object_get(crash, "text"));
		cert_fail(run, strcmp(name, "hang") ? "crash" : "hang",
			  "the driver's host died %lld time%s (%s): %s", (long long)(now - before),
			  now - before == 1 ? "" : "s", name, text);
		json_decref(crash);
	}
	if (deaths) {
		json_decref(run->deaths);
		run->deaths = json_incref(deaths);
	}
}

void cert_blame(struct cert_run *run)
{
	json_t *info = cert_info(run);

	plan_blame_for(run, info);
	json_decref(info);
}

/* How is the device after a step? */
static void plan_look(struct cert_run *run)
{
	json_t *info = cert_info(run), *host = json_object_get(info, "host");
	const char *state = json_string_value(json_object_get(info, "state"));
	long long overdue = json_integer_value(json_object_get(host, "overdue_ms"));

	plan_blame_for(run, info);
	if (!info)
		cert_fail(run, "state", "the manager does not say how the device is");
	else if (!state || strcmp(state, "running") != 0)
		cert_fail(run, "state", "the device is %s after the step, and not running: %s",
			  state ? state : "unknown",
			  json_string_value(json_object_get(info, "reason")));
	else if (json_is_false(json_object_get(host, "lane_answers")))
		cert_fail(run, "hang", "the driver's lane does not answer");
	else if (overdue > 0)
		cert_fail(run, "overdue",
			  "the driver holds a request that was cancelled %lld ms ago", overdue);
	json_decref(info);
}

/* All of it once more from the start: what is there now is not to be relied on. */
static void plan_mend(struct cert_run *run)
{
	cert_crew_end(run, false);
	snprintf(run->verify, sizeof(run->verify), "rules");
	if (run->place == CERT_PROCESS && run->own) {
		json_decref(cert_call(run, "DELETE", "?force=1", NULL));
		if (cert_info(run) || !cert_attach(run)) {
			cert_manager_stop(run, SIGKILL);
			run->broken = !cert_manager_start(run) || !cert_attach(run);
		}
	}
	if (!run->broken && (!cert_crew_begin(run) || !cert_progress(run)))
		run->broken = true;
}

static void plan_step(struct cert_run *run, const struct cert_kind *kind, unsigned int number)
{
	struct cert_step step = {
		.number = number,
		.kind = kind,
		.random = plan_mix(run->seed ^ plan_mix(number) ^ plan_mix(run->place + 17)),
		.failures = json_array(),
	};
	double start = cert_seconds();

	run->step = &step;
	cert_tell(run, NULL, "mark", 0);
	kind->run(run, &step);
	cert_tell(run, NULL, "cancel", 0);
	cert_tell(run, NULL, "timeout", 0);
	if (cert_progress(run))
		cert_quiet(run);
	cert_tell(run, NULL, "gone", 0);
	if (run->place == CERT_PROCESS)
		plan_look(run);
	cert_crew_look(run);
	cert_log_look(run);
	step.took_s = cert_seconds() - start;
	cert_report_step(run, &step);
	if (json_array_size(step.failures))
		plan_mend(run);
	else
		cert_tell(run, NULL, "pause", 0);
	/* What mending meets is of the same failure. */
	json_decref(step.failures);
	step.failures = json_array();
	cert_log_look(run);
	json_decref(step.failures);
	run->step = NULL;
}

/* --------------------------------------------------------------------- placement */

/* Is there what there must be, and will anything be overwritten? */
static bool plan_probe(struct cert_run *run)
{
	json_t *found = cert_probe(run, 0);
	bool ok = found != NULL;

	if (!found)
		return false;
	if (!run->class[0] || run->place != CERT_PROCESS)
		snprintf(run->class, sizeof(run->class), "%s",
			 json_string_value(json_object_get(found, "class")));
	if (!run->overwrite && json_is_false(json_object_get(found, "blank"))) {
		cert_fail(run, "refused",
			  "the disk has something on it, which would be overwritten: say "
			  "--overwrite");
		ok = false;
	}
	if (json_is_false(json_object_get(found, "echo")) && strcmp(run->class, "serial") == 0) {
		snprintf(run->step->what, sizeof(run->step->what),
			 "the line has no other end that echoes: what comes in is not looked at");
		run->no_data = true;
	}
	json_decref(found);
	return ok;
}

/* Descriptors of our manager; 0 where there is none of ours. */
static unsigned int plan_descriptors(const struct cert_run *run)
{
	unsigned int count = 0;
	char path[40];
	DIR *dir;

	if (!run->own || run->place != CERT_PROCESS)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)run->manager);
	dir = opendir(path);
	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static bool plan_begin(struct cert_run *run)
{
	run->broken = false;
	snprintf(run->verify, sizeof(run->verify), "rules");
	/* Once for nothing: what a manager has after its first device it keeps. */
	if (run->place == CERT_PROCESS && run->own) {
		if (!cert_attach(run) || !cert_detach(run))
			return false;
		usleep(PLAN_REST_MS * 1000);
		run->descriptors = plan_descriptors(run);
	}
	if (run->place == CERT_PROCESS && run->own && !cert_attach(run))
		return false;
	if (run->place != CERT_PROCESS)
		snprintf(run->units[0], sizeof(run->units[0]), "%s", run->driver);
	if (!plan_probe(run) || !cert_crew_begin(run) || !cert_progress(run))
		return false;
	if (run->place == CERT_PROCESS && !run->own) {
		json_t *info = cert_info(run);

		/* What it has died of before is nobody's business here. */
		json_decref(run->deaths);
		run->deaths = json_incref(json_object_get(info, "deaths"));
		json_decref(info);
	}
	return true;
}

/* The manager has what it had before. */
static void plan_leaks(struct cert_run *run)
{
	double end = cert_seconds() + 5;
	unsigned int now;

	do {
		usleep(PLAN_REST_MS * 1000);
		now = plan_descriptors(run);
	} while (now > run->descriptors + PLAN_SPARE && cert_seconds() < end);
	if (now > run->descriptors + PLAN_SPARE)
		cert_fail(run, "leak",
			  "the manager had %u descriptors before the first step, and "
			  "has %u after the last",
			  run->descriptors, now);
}

/* Nothing is left of those who were there. */
static void plan_end(struct cert_run *run)
{
	double end = cert_seconds() + 5;
	json_t *info = NULL;

	cert_crew_end(run, !run->broken);
	if (run->place == CERT_PROCESS && !run->broken) {
		json_int_t clients = 0, channels = 0;

		do {
			json_decref(info);
			info = cert_info(run);
			clients = json_integer_value(json_object_get(info, "clients"));
			channels = (json_int_t)json_array_size(
				json_object_get(json_object_get(info, "host"), "channels"));
			if (clients || channels)
				usleep(20000);
		} while (run->own && (clients || channels) && cert_seconds() < end);
		if (run->own && (clients || channels))
			cert_fail(run, "leak",
				  "all have closed it, and there are %lld clients and "
				  "%lld channels",
				  (long long)clients, (long long)channels);
		json_decref(info);
		if (run->own && cert_detach(run))
			plan_leaks(run);
	}
	cert_log_look(run);
}

void cert_placement(struct cert_run *run)
{
	const struct cert_kind *kinds[PLAN_KINDS];
	struct cert_step edge = { .failures = json_array() };
	unsigned int count = plan_kinds(run, kinds), number = 0;
	double end = cert_seconds() + run->seconds;
	bool begun;

	signal(SIGINT, plan_stop);
	signal(SIGTERM, plan_stop);
	cert_report_place(run);
	run->step = &edge;
	begun = plan_begin(run);
	if (!begun || json_array_size(edge.failures) || edge.what[0])
		cert_report_step(run, &edge);
	for (unsigned int round = 0; begun && !run->broken && !plan_stopped && count; round++) {
		/* Each round begins with the order in the source, so that it is the same for
		 * everybody who asks for it. */
		plan_kinds(run, kinds);
		plan_shuffle(run, round, kinds, count);
		for (unsigned int i = 0; i < count && !run->broken && !plan_stopped; i++) {
			number++;
			if (number < run->first || number > run->last)
				continue;
			if (round && cert_seconds() >= end && run->last == UINT32_MAX)
				break;
			plan_step(run, kinds[i], number);
		}
		if ((run->last == UINT32_MAX && cert_seconds() >= end) || number >= run->last)
			break;
	}
	json_decref(edge.failures);
	edge = (struct cert_step){ .number = number, .failures = json_array() };
	run->step = &edge;
	plan_end(run);
	if (json_array_size(edge.failures)) {
		snprintf(edge.what, sizeof(edge.what), "at the end");
		cert_report_step(run, &edge);
	}
	json_decref(edge.failures);
	run->step = NULL;
}
